"""The floors picture of docs/architecture.md, from tests/floors.py and the tree."""

import ast
from collections.abc import Iterator
from pathlib import Path

from floors import DATA, FLOORS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "evalkit"
ABOUT = {
    5: "the command line",
    4: "recipe -> plan -> steps with receipts -> summary",
    3: "plug-ins, one file each; and what a run says of itself, and where it goes",
    2: "what several rooms need, each of one idea",
    1: "nouns, and the recipe",
    0: "errors",
}
BEGIN, END = "<!-- floors: begin -->", "<!-- floors: end -->"


def picture() -> str:
    """Floors from the highest down, with what each room is in one line."""
    return "\n".join(_lines())


def _lines() -> Iterator[str]:
    for floor, rooms in sorted(FLOORS.items(), reverse=True):
        there = [room for room in sorted(rooms.split()) if _file(room) is not None]
        yield f"### Floor {floor}: {ABOUT[floor]}"
        yield ""
        yield "| room | what it is |"
        yield "|---|---|"
        for room in there:
            yield f"| {_link(room)} | {_summary(room)} |"
        yield ""
    yield f"Beside the floors: {', '.join(f'`{name}/`' for name in sorted(DATA))}, data that is"
    yield "opened through `evalkit.resources` and never imported."


def _file(room: str) -> Path | None:
    """The file whose docstring speaks for a room; None for rooms that are only planned."""
    for file in (PACKAGE / f"{room}.py", PACKAGE / room / "__init__.py"):
        if file.is_file():
            return file
    return None


def _link(room: str) -> str:
    folder = (PACKAGE / room).is_dir()
    linked = (PACKAGE / room).is_symlink()
    place = f"{room}/" if linked else f"evalkit/{room}{'/' if folder else '.py'}"
    return f"[`{room}{'/' if folder else ''}`](../{place})"


def _summary(room: str) -> str:
    file = _file(room)
    assert file is not None
    text = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")
