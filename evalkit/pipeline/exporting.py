"""The families of a leaderboard: of finished runs, and of result files that other tools wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evalkit.errors import RecipeError
from evalkit.family import Family
from evalkit.pipeline import carding, imported
from evalkit.rundir import PLAN, RunDir


def families_of(sources: Sequence[Path]) -> list[Family]:
    """The families of runs in the order given, then one for each model in the other sources.

    Raises:
        RecipeError: a run holds no family yet, or a file no results.
    """
    runs = [source for source in sources if (source / PLAN).is_file()]
    others = [source for source in sources if source not in runs]
    return [_of_run(run) for run in runs] + (imported.families(others) if others else [])


def _of_run(path: Path) -> Family:
    folder = RunDir(path).folder(carding.NAME)
    if not (folder / carding.FAMILY).is_file():
        raise RecipeError(f"{path} has no cards yet", "finish it: evalkit card build RECIPE")
    return carding.read_family(folder)
