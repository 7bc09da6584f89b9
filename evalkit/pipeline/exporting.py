"""The families of a leaderboard: of finished runs, and of result files that other tools wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evalkit.baselines import rows_of
from evalkit.errors import RecipeError
from evalkit.family import Family
from evalkit.pipeline import carding, imported
from evalkit.rundir import PLAN, RunDir


def families_of(sources: Sequence[Path], baselines: Sequence[str] = ()) -> list[Family]:
    """The families of runs in the order given, then one for each model in the other sources.

    baselines: families of reported figures that tables are to show beside them.

    Raises:
        RecipeError: a run holds no family yet, a file no results, or there are no such figures.
    """
    rows = rows_of(baselines)
    runs = [source for source in sources if (source / PLAN).is_file()]
    others = [source for source in sources if source not in runs]
    found = [_of_run(run) for run in runs] + (imported.families(others) if others else [])
    if rows and found:
        found[0] = replace(found[0], baselines=(*found[0].baselines, *rows))
    return found


def _of_run(path: Path) -> Family:
    folder = RunDir(path).folder(carding.NAME)
    if not (folder / carding.FAMILY).is_file():
        raise RecipeError(f"{path} has no cards yet", "finish it: evalkit card build RECIPE")
    return carding.read_family(folder)
