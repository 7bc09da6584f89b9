"""Commands that run a recipe's plan, as far as each asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from evalkit.cli.app import FILE, FOLDER, cli


def add_recipe_command(group: click.Group, name: str, goal: str, help_text: str) -> None:
    """Adds a command that runs a recipe's plan as far as `goal` asks for."""

    @group.command(name, help=help_text)
    @click.argument("recipe", type=FILE)
    @click.option("--out", type=FOLDER, help="Folder of the run.  [default: runs/NAME]")
    @click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE",
                  help="Change a recipe key, e.g. stages.0.training.epochs=1.")  # fmt: skip
    @click.option("--until", metavar="STEP", help="Stop after this step.")
    @click.option("--redo", multiple=True, metavar="STEP",
                  help="Make this step, and what depends on it, again.")  # fmt: skip
    @click.option("--dry-run", is_flag=True, help="Check everything and print the plan.")
    @click.option("--hub-root", type=FOLDER, default=Path("hub"), show_default=True,
                  help="Folder of the Hub served here for 'publish.endpoint: local'.")  # fmt: skip
    @click.option("--replace", is_flag=True,
                  help="Publish into repositories that evalkit did not make.")  # fmt: skip
    @click.option("--children", type=click.Choice(["auto", "always", "never"]), default="auto",
                  show_default=True,
                  help="Run expensive steps in child processes (auto: with a GPU).")  # fmt: skip
    def command(**flags: Any) -> None:
        from evalkit.pipeline.run import run_recipe

        run_recipe(goal=goal, flags=flags)


for _goal, _help in {
    "train-and-publish": "Train, quantize, measure, write up and publish a family.",
    "train": "Only train the recipe's checkpoints.",
    "quantize": "Train, and make the quantized variants.",
    "evaluate": "Train, quantize, measure and compare.",
    "publish": "The same as train-and-publish: publish what is not yet published.",
}.items():
    add_recipe_command(cli, _goal, _goal, _help)
