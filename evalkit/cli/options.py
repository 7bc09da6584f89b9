"""Options that several commands share, shown in help under headings of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from evalkit.cli.app import FOLDER
from evalkit.pipeline.tracking import TRACKERS

OPTIONS = "Options"
HOW = "How to go about it"
MODEL = "For a MODEL, in place of a recipe"
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Option(click.Option):
    """An option with the heading it is shown under."""

    def __init__(self, *words: Any, heading: str = OPTIONS, **rest: Any) -> None:
        super().__init__(*words, **rest)
        self.heading = heading


class Command(click.Command):
    """A command whose help groups options by heading, and keeps its examples as written."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes one list of options for each heading, those without one last."""
        headings: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                heading = getattr(parameter, "heading", OPTIONS)
                headings.setdefault(heading, []).append(record)
        plain = headings.pop(OPTIONS, [])
        for heading, records in [*headings.items(), (OPTIONS, plain)]:
            with formatter.section(heading):
                formatter.write_dl(records)


def all_of(decorators: Iterable[Decorator]) -> Decorator:
    """Several decorators as one, the first of them shown first."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(list(decorators)):
            command = decorator(command)
        return command

    return decorate


def option(*words: str, heading: str = OPTIONS, **rest: Any) -> Decorator:
    """`click.option` under a heading."""
    return click.option(*words, cls=Option, heading=heading, **rest)


json_flag = option("--json", "as_json", is_flag=True, help="Print JSON.")

# How a plan is run; by the names of the parameters that they set.
RUN_FLAGS: dict[str, Decorator] = {
    "overrides": option("--set", "overrides", multiple=True, metavar="KEY=VALUE", heading=HOW,
                        help="Change a recipe key, e.g. stages.0.training.schedule_epochs=1."),
    "dry_run": option("--dry-run", is_flag=True, heading=HOW,
                      help="Check everything and print the plan."),
    "out": option("--out", type=FOLDER, heading=HOW,
                  help="Folder of the run.  [default: runs/NAME]"),
    "until": option("--until", metavar="STEP", heading=HOW, help="Stop after this step."),
    "redo": option("--redo", multiple=True, metavar="STEP", heading=HOW,
                   help="Make this step, and what depends on it, again."),
    "hub_root": option("--hub-root", type=FOLDER, default=Path("hub"), show_default=True,
                       help="Folder of the Hub served here for 'publish.endpoint: local'.",
                       heading=HOW),
    "replace": option("--replace", is_flag=True, heading=HOW,
                      help="Publish into repositories that evalkit did not make."),
    "children": option("--children", type=click.Choice(["auto", "always", "never"]),
                       default="auto", show_default=True, heading=HOW,
                       help="Run expensive steps in child processes (auto: with a GPU)."),
    "report_to": option("--report-to", multiple=True, type=click.Choice(TRACKERS), heading=HOW,
                        help="Show training's metrics there too; event files go to RUN/logs."),
    "launch": option("--launch", metavar="CONFIG", heading=HOW,
                     help="Train in several processes: ddp, fsdp2, deepspeed_zero3, or the path"
                          " of an accelerate config."),
    "processes": option("--processes", type=click.IntRange(min=1), metavar="N", heading=HOW,
                        help="How many --launch starts.  [default: as its config says]"),
    "as_json": json_flag,
}  # fmt: skip


def run_flags(*names: str) -> Decorator:
    """Flags of how a plan is run: those of these names, or all."""
    return all_of(RUN_FLAGS[name] for name in names or RUN_FLAGS)


# What stands for a recipe when a model is given; each command takes those that it can use.
MODEL_FLAGS: dict[str, Decorator] = {
    "benchmark": option("--benchmark", multiple=True, metavar="NAME[:OPTION=VALUE,...]",
                        help="Measure with this benchmark; see 'evalkit list benchmarks'.",
                        heading=MODEL),
    "judge": option("--judge", metavar="NAME[:...]", heading=MODEL,
                    help="Who judges, for the benchmarks that need one."),
    "scheme": option("--scheme", multiple=True, metavar="NAME[:...]", heading=MODEL,
                     help="Make this variant; see 'evalkit list schemes'."),
    "calibration": option("--calibration", metavar="FILE", heading=MODEL,
                          help="Prompts with responses, for schemes that are calibrated."),
    "engine": option("--engine", metavar="NAME[:...]", heading=MODEL,
                     help="What generates text.  [default: transformers]"),
    "revision": option("--revision", metavar="REV", heading=MODEL,
                       help="Commit, tag or branch of a Hub id; also MODEL@REV."),
    "license": option("--license", metavar="ID", heading=MODEL,
                      help="The Hub's name of its licence, e.g. apache-2.0."),
    "title": option("--title", metavar="TEXT", heading=MODEL,
                    help="Title of its cards.  [default: its name]"),
    "namespace": option("--namespace", metavar="NAME", heading=MODEL,
                        help="User or organisation to publish under."),
    "endpoint": option("--endpoint", metavar="URL", heading=MODEL,
                       help="The Hub, or 'local'.  [default: local]"),
}  # fmt: skip
MEASURING = ("benchmark", "judge", "engine", "revision")
QUANTIZING = ("scheme", "calibration")


def model_flags(names: Iterable[str]) -> Decorator:
    """The flags of those names that stand for a recipe."""
    return all_of(MODEL_FLAGS[name] for name in names)
