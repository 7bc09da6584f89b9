"""Models of which only results of other tools are known, as families for leaderboards.

No recipe, no weights, no torch: what is not in the files is unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evalkit import __version__
from evalkit.cards.links import PUBLIC_HUB
from evalkit.family import Family, ImportFacts, Member
from evalkit.pipeline.model_facts import UNKNOWN
from evalkit.pipeline.result_files import Reading, combined, read
from evalkit.records import Checkpoint, ResultSet


def families(paths: Sequence[Path]) -> list[Family]:
    """One family of one member for each model in the files, by name."""
    by_model: dict[str, list[Reading]] = {}
    for one in read(paths):
        by_model.setdefault(one.imported.model, []).append(one)
    return [_unseen(name, combined(name, found)) for name, found in sorted(by_model.items())]


def _unseen(name: str, results: tuple[ResultSet, ...]) -> Family:
    """A model as its files name it; of a path on somebody's machine, the last part."""
    is_path = name.startswith(("/", "~", ".")) or "\\" in name
    title = name.replace("\\", "/").rstrip("/").rpartition("/")[2] if is_path else name
    member = Member(
        checkpoint=Checkpoint(title, "", "", ""),
        kind="imported",
        title=title,
        repo_id=None,
        model=UNKNOWN,
        results=results,
        imported=ImportFacts(None, ""),
    )
    return Family(
        name=title,
        members=(member,),
        comparisons=(),
        card={},
        recipe={"publish": {"endpoint": PUBLIC_HUB}},
        base_source=None,
        versions={"evalkit": __version__},
        published=False,
    )
