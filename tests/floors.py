"""The floors of evalkit, and who breaks them: which file may import which.

A file imports from lower floors and from its own room. Files on floors 1 and 2 may
import one another as long as no circle results. Used by `test_floors.py`.
"""

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FLOORS: dict[int, str] = {
    0: "__init__ errors",
    1: (
        "family field_errors fields fingerprint judging_stats preferences recipe recipe_document "
        "recipe_file records roles stages training_settings yaml_file"
    ),
    2: (
        "baselines card_reading card_schema chat_client checkpoint_files checkpoint_size console "
        "contamination durable fastchat fetching frontmatter journal journaled_models json_rows "
        "leaderboard leaderboard_column licences loading markdown memory metrics model_size pocket "
        "private_text registry rendering resources rules rundir score_records scoring standings "
        "stats student"
    ),
    3: (
        "benchmarks builders card_diff cards engines hub importers judges lint quantize report "
        "sources tables trainers verification"
    ),
    4: "pipeline",
    5: "cli __main__",
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms.split()}
DATA = {"templates", "leaderboards"}  # opened through resources, never imported
SOCIABLE = {1, 2}  # floors whose rooms may import one another


class Import(NamedTuple):
    """One import of evalkit's own code: the room it names, as written, and where."""

    room: str
    written: str
    line: int


def offenders(package: Path) -> list[str]:
    """Every break of the floors below the folder `evalkit`, as `file:line  what`."""
    found: list[str] = []
    edges: dict[str, set[str]] = {}
    for file in _files(package):
        path = file.relative_to(package)
        room = path.parts[0].removesuffix(".py")
        imports = list(_imports(file, path))
        for_types = _lines_for_types(file)
        found += _unknown_room(path, room) or [
            f"{path}:{one.line}  {fault}" for one in imports if (fault := _fault(room, one))
        ]
        edges.setdefault(room, set()).update(
            one.room
            for one in imports
            if _same_sociable_floor(room, one.room) and one.line not in for_types
        )
    return found + [f"a circle of imports: {' -> '.join(circle)}" for circle in _circles(edges)]


def _files(package: Path) -> Iterator[Path]:
    # os.walk, because Path.rglob does not go into linked folders such as evalkit/trainers.
    for folder, below, names in os.walk(package, followlinks=True):
        below[:] = sorted(name for name in below if name != "__pycache__")
        yield from (Path(folder) / name for name in sorted(names) if name.endswith(".py"))


def _unknown_room(path: Path, room: str) -> list[str]:
    if room in FLOOR_OF or room in DATA:
        return []
    return [f"{path}:1  '{room}' has no floor: give it one in tests/floors.py"]


def _fault(room: str, one: Import) -> str:
    if one.room.startswith("bare "):
        return f"'{one.written}' is evalkit.{one.written} once installed"
    if one.room == room or _same_sociable_floor(room, one.room):
        return ""
    if one.room in DATA:
        return f"imports {one.written}: data is opened through resources"
    if one.room not in FLOOR_OF:
        return f"imports {one.written}, which has no floor"
    here, there = FLOOR_OF[room], FLOOR_OF[one.room]
    if there < here:
        return ""
    kind = "a peer" if there == here else "a higher floor"
    return f"floor {here} imports {one.written} of floor {there}: {kind}"


def _same_sociable_floor(room: str, other: str) -> bool:
    floor = FLOOR_OF.get(room)
    return room != other and floor in SOCIABLE and FLOOR_OF.get(other) == floor


def _imports(file: Path, path: Path) -> Iterator[Import]:
    tree = ast.parse(file.read_text("utf-8"), str(file))
    package = ["evalkit", *path.parts[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _named(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            if module == "evalkit":
                # `from evalkit import records` names a room, `import __version__` does not.
                for alias in node.names:
                    known = alias.name in FLOOR_OF or alias.name in DATA
                    yield Import(
                        alias.name if known else "__init__", f"evalkit.{alias.name}", node.lineno
                    )
            else:
                yield from _named(module, node.lineno)


def _lines_for_types(file: Path) -> set[int]:
    """Lines under `if TYPE_CHECKING:`, which are not run and hence close no circle."""
    return {
        line
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in node.body
        for line in range(child.lineno, (child.end_lineno or child.lineno) + 1)
    }


def _named(module: str, line: int) -> Iterator[Import]:
    first, _, rest = module.partition(".")
    if first in DATA or first == "trainers":
        yield Import(f"bare {first}", first, line)
    elif first == "evalkit":
        yield Import(rest.partition(".")[0] or "__init__", module, line)


def _circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """One circle per group of rooms that import each other around."""
    circles: list[list[str]] = []
    done: set[str] = set()

    def visit(room: str, trail: list[str]) -> None:
        if room in trail:
            circles.append([*trail[trail.index(room) :], room])
        elif room not in done:
            for other in sorted(edges.get(room, ())):
                visit(other, [*trail, room])
            done.add(room)

    for room in sorted(edges):
        visit(room, [])
    return circles
