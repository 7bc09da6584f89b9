"""What a person reads on stdout: the plan, a run's contents, and the closing summary."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from evalkit.cards import CARD_FILE
from evalkit.console import no_progress
from evalkit.durable import read_json
from evalkit.errors import RecipeError
from evalkit.family import Family
from evalkit.markdown import printable
from evalkit.pipeline import (
    carding,
    comparison,
    evaluation,
    judging_cost,
    lineage,
    publication,
    publishing,
    runner,
)
from evalkit.pipeline.checkpoints import FOLDER as CHECKPOINT
from evalkit.pipeline.family import gather
from evalkit.pipeline.step import Plan, RunOptions, StepContext
from evalkit.recipe import LOCAL_HUB
from evalkit.records import Release, Score, from_json, to_json
from evalkit.rundir import PLAN, RunDir
from evalkit.standings import decimals_of, with_interval
from evalkit.tables import family_table


def describe_plan(
    plan: Plan, run: RunDir, options: RunOptions, redo: Sequence[str]
) -> dict[str, Any]:
    """Every step with its state, cost and all that decides it, and what would be pushed where."""
    again = {name for step in redo for name in plan.dependents(step)}
    waiting = to_do(plan, run, options, again)
    return {
        "run": str(run.path),
        "steps": [
            {
                "step": step.name,
                "kind": step.kind,
                "state": "to do" if step.name in again else runner.state(step, run, options),
                "title": step.title,
                "cost": step.cost,
                "needs": list(step.needs),
                "after": list(step.after),
                "settings": to_json(step.settings),
            }
            for step in plan.steps
        ],
        "intentions": publishing.intentions(plan, options),
        "publication": _publication(plan, run, options, waiting),
        "judging": judging_cost.describe_estimates(
            judging_cost.estimates(plan, waiting, judging_cost.accounts(run))
        ),
    }


def to_do(plan: Plan, run: RunDir, options: RunOptions, again: Collection[str] = ()) -> list[str]:
    """Names of the steps that are not finished, or that are in `again`."""
    states = {step.name: runner.state(step, run, options) for step in plan.steps}
    return [name for name, state in states.items() if state != "done" or name in again]


def _publication(
    plan: Plan, run: RunDir, options: RunOptions, waiting: Collection[str]
) -> list[dict[str, Any]] | None:
    """What would be pushed, file by file; None while anything but publishing is to be done."""
    settings = plan.recipe.publish
    if settings is None or publishing.NAME not in plan.by_name or set(waiting) - {publishing.NAME}:
        return None
    seen = publication.preview(publication.Publication(plan.recipe, run, options))
    return None if seen is None else publication.preview_rows(seen, settings.tag)


def print_plan(description: Mapping[str, Any]) -> None:
    """Prints what `describe_plan` found, without the settings."""
    rows = [["step", "state", "what"]]
    for step in description["steps"]:
        what = f"{step['title']} ({step['cost']})" if step["cost"] else step["title"]
        rows.append([step["step"], step["state"], what])
    print_columns(rows)
    files = publication.preview_lines(description["publication"] or [])
    for line in [
        *description["intentions"],
        *files,
        *judging_cost.lines_of(description["judging"]),
    ]:
        click.echo(line)
    click.echo(f"run folder: {description['run']}")


def describe_run(path: Path) -> dict[str, Any]:
    """Steps, scores, cards and releases of a run folder as they lie there, as JSON values.

    Reads no data and asks nothing of plug-ins: `--dry-run` says what a recipe would do to it.

    Raises:
        RecipeError: the folder is not a run.
    """
    if not (path / PLAN).is_file():
        raise RecipeError(f"{path} is not a run: it has no {PLAN}", "runs lie under runs/")
    run = RunDir(path)
    facts = runner.read_facts(run).get("steps", {})
    plan = read_json(path / PLAN, hint="run its recipe again: that writes it anew")
    planned = [step["step"] for step in plan]
    # What an earlier form of the recipe made, or another command on the same model, lies here too.
    names = [*planned, *(name for name in run.finished() if name not in planned)]
    steps = [
        {
            "step": name,
            "planned": name in planned,
            "finished": run.receipt(name) is not None,
            "seconds": facts.get(name, {}).get("seconds"),
            "result": _short_result(run, name),
        }
        for name in names
    ]
    family = _family(run)
    finished = [step["step"] for step in steps if step["finished"]]
    return {
        "run": str(path),
        "steps": steps,
        "checkpoints": _checkpoints(run, finished),
        "scores": _scores(run, finished),
        "comparisons": _comparisons(run, finished),
        "lineage": lineage.read(run),
        "family": to_json(family) if family else None,
        "cards": _cards(run, family),
        "releases": to_json(publishing.read_releases(run)),
        "spent": judging_cost.spent(run),
    }


def print_run(description: Mapping[str, Any]) -> None:
    """Prints what `describe_run` found as tables."""
    rows = [["step", "", "seconds", "made"]]
    for step in description["steps"]:
        seconds = "" if step["seconds"] is None else f"{step['seconds']:.1f}"
        state = "done" if step["finished"] else "to do"
        state = state if step["planned"] else "earlier"
        rows.append([step["step"], state, seconds, step["result"]])
    print_columns(rows)
    origins = lineage.rows(description["lineage"]) if description["lineage"] else []
    if origins:
        click.echo()
        print_columns(origins)
    if description["family"]:
        click.echo()
        _print_family(from_json(Family, description["family"]))
    elif description["scores"]:
        click.echo()
        _print_scores(description["scores"])
    for line in judging_cost.spent_lines(description["spent"]):
        click.echo(line)
    for release in description["releases"]:
        click.echo(f"{release['repo_id']}  {release['commit'][:12]}  {release['url']}")


def print_summary(plan: Plan, run: RunDir, options: RunOptions) -> None:
    """Prints the family's table with intervals, where the cards are, and what to type next."""
    family = _measured(plan, run, options)
    if family is None:
        click.echo(f"finished {len(plan.steps)} steps in {run.path}; see: evalkit show {run.path}")
        for name, folder in _checkpoints(run, list(plan.by_name)).items():
            click.echo(f"  {name}: {folder}")
        return
    _print_family(family)
    if carding.NAME in plan.by_name:
        click.echo(f"\ncards:       {run.folder(carding.NAME)}/*/README.md")
        click.echo(f"leaderboard: {run.folder(carding.NAME) / carding.LEADERBOARD}")
    releases = publishing.read_releases(run) if publishing.NAME in plan.by_name else []
    if releases:
        click.echo(f"published:   {len(releases)} repositories on {_place(releases[0], options)}")
        for release in releases:
            click.echo(f"  {release.repo_id} @ {release.commit[:12]}")
    click.echo("\nnext:")
    click.echo(f"  evalkit show {run.path}")
    if releases and publishing.is_local(plan.recipe):
        click.echo(f"  evalkit hub serve --root {_relative(options.hub_root)}")


def _place(release: Release, options: RunOptions) -> str:
    local = release.endpoint == LOCAL_HUB
    return f"the Hub in {_relative(options.hub_root)}/" if local else release.endpoint


def _relative(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _print_family(family: Family) -> None:
    standings = family_table(family)
    columns = [_column(*cells) for cells in zip(standings.columns, *standings.rows, strict=True)]
    height = max(len(lines) for lines in columns)
    click.echo(f"{family.name}, with 95 % intervals\n")
    padded = [[""] * (height - len(lines)) + lines for lines in columns]
    widths = [max(map(len, lines)) for lines in padded]
    for name, *numbers in zip(*padded, strict=True):
        cells = (cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=True))
        click.echo("   ".join((name.ljust(widths[0]), *cells)).rstrip())
    click.echo()
    for note in standings.notes:
        click.echo(note)


def _column(heading: str, *cells: str) -> list[str]:
    """The lines of a column, its heading wrapped to the width that its cells and words need."""
    width = max(len(word) for word in (*cells, *heading.split()))
    return [*textwrap.wrap(heading, width), "-" * width, *cells]


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Prints rows as columns, each as wide as its widest cell; no cell steers the terminal."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _short_result(run: RunDir, step: str) -> str:
    receipt = run.receipt(step)
    if receipt is None:
        return ""
    shown = {k: v for k, v in receipt.result.items() if isinstance(v, int | float)}
    words = [f"{key} {value}" for key, value in sorted(shown.items())]
    digest = receipt.result.get("digest")
    return " ".join([*words, f"sha256 {digest[:12]}" if digest else ""]).strip()


def _family(run: RunDir) -> Family | None:
    """The family as its cards last told it, None before they are written."""
    if run.receipt(carding.NAME) is None:
        return None
    return carding.read_family(run.folder(carding.NAME))


def _checkpoints(run: RunDir, steps: Sequence[str]) -> dict[str, str]:
    """Where the checkpoints lie that finished steps made or found, by the step's name."""
    found = {}
    for step in steps:
        receipt = run.receipt(step)
        made = run.folder(step) / CHECKPOINT
        if receipt is not None and (made.is_dir() or receipt.result.get("path")):
            found[step] = str(receipt.result.get("path") or made)
    return found


def _scores(run: RunDir, steps: Sequence[str]) -> list[dict[str, Any]]:
    """Every score of the finished evaluations, with the checkpoint it was measured on."""
    results = [
        evaluation.read_result(run.folder(step))
        for step in steps
        if (run.folder(step) / evaluation.RESULT).is_file()
    ]
    return [
        {"checkpoint": result.checkpoint, "benchmark": result.benchmark, **to_json(score)}
        for result in results
        for score in result.scores
    ]


def _comparisons(run: RunDir, steps: Sequence[str]) -> list[Any]:
    if comparison.NAME not in steps:
        return []
    found: list[Any] = to_json(comparison.read_comparisons(run.folder(comparison.NAME)))
    return found


def _print_scores(scores: Sequence[Mapping[str, Any]]) -> None:
    rows = [["checkpoint", "benchmark", "task: metric", "value [95 %]", "n"]]
    for row in scores:
        score = from_json(Score, {field.name: row[field.name] for field in fields(Score)})
        value = with_interval(score.value, score.ci_low, score.ci_high, decimals_of(score))
        rows.append([
            row["checkpoint"], row["benchmark"], f"{score.task}: {score.metric}", value,
            str(score.n),
        ])  # fmt: skip
    print_columns(rows)


def _measured(plan: Plan, run: RunDir, options: RunOptions) -> Family | None:
    """The family as this plan measured it, None before all of it is compared."""
    step = plan.by_name.get(comparison.NAME)
    if step is None or runner.state(step, run, options) != "done":
        return None
    return gather(StepContext(plan.recipe, run, run.path, options, no_progress))


def _cards(run: RunDir, family: Family | None) -> dict[str, str]:
    if family is None:
        return {}
    folder = run.folder(carding.NAME)
    return {m.title: str(folder / m.title / CARD_FILE) for m in family.members if m.is_ours}
