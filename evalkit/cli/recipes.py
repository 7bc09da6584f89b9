"""Commands that run a recipe's plan, as far as each asks for; a model may stand for the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from evalkit.cli.app import cli, echo_json
from evalkit.cli.options import (
    HOW,
    MEASURING,
    QUANTIZING,
    Command,
    all_of,
    model_flags,
    option,
    run_flags,
)
from evalkit.cli.publication import take_back

CARD = ("license", "title")
# What each goal takes beside a MODEL; goals that are not here take a recipe only.
TAKES: dict[str, tuple[str, ...]] = {
    "quantize": (*QUANTIZING, "revision"),
    "evaluate": (*MEASURING, *QUANTIZING),
    "card": (*MEASURING, *QUANTIZING, *CARD),
    "publish": (*MEASURING, *QUANTIZING, *CARD, "namespace", "endpoint"),
}
EXAMPLES = {
    "train-and-publish": ["train-and-publish recipe.yaml"],
    "train": ["train recipe.yaml --until iter1-train"],
    "quantize": ["quantize recipe.yaml", "quantize org/model --scheme w4a16_rtn"],
    "evaluate": [
        "evaluate recipe.yaml",
        "evaluate org/model --benchmark 'lm_eval_tasks:tasks=[arc_challenge],num_fewshot=25'",
    ],
    "card": [
        "card build recipe.yaml",
        "card build ./my-model --license mit --scheme fp8_dynamic",
        "card build --from results/ --model me/my-model --license mit",
    ],
    "publish": [
        "publish recipe.yaml",
        "publish recipe.yaml --dry-run",
        "publish recipe.yaml --rollback --dry-run",
        "publish ./my-model --license mit --namespace me",
    ],
}
ROLLBACK = option("--rollback", is_flag=True, heading=HOW,
                  help="Take back what was published from this run: delete the repositories that it"
                       " made, revert its commits to others.")  # fmt: skip
DESCRIPTIONS = {
    "quantize": "In place of a recipe, a model (a folder or a Hub id) with --scheme.",
    "evaluate": "In place of a recipe, a model (a folder or a Hub id) with --benchmark.",
    "card": "In place of a recipe, a model: your own, in a folder, gets a card, and each --scheme"
            " a variant with one.",
    "publish": "In place of a recipe, a model: your own, in a folder, gets a card and a repository,"
               " and each --scheme a variant with both. The folder itself is left as it is.",
}  # fmt: skip


def add_recipe_command(group: click.Group, name: str, goal: str, help_text: str) -> click.Command:
    """Adds a command that runs a recipe's plan as far as `goal` asks for."""
    takes = TAKES.get(goal, ())

    @group.command(name, cls=Command, help=_help(goal, help_text), short_help=help_text)
    @click.argument("recipe", metavar="RECIPE|MODEL" if takes else "RECIPE")
    @model_flags(takes)
    @run_flags()
    @all_of([ROLLBACK] if goal == "publish" else [])
    def command(recipe: str, as_json: bool, rollback: bool = False, **flags: Any) -> None:
        from evalkit.pipeline import composing, run
        from evalkit.rundir import RECIPE

        document = _document(goal, recipe, flags, takes)
        orders = orders_of(flags)
        if rollback:
            take_back(document, orders, as_json)
            return
        ready = run.run_recipe(goal, document, orders)
        if as_json:
            echo_json(run.describe_outcome(ready, orders))
            return
        run.print_outcome(ready, orders)
        if not orders.dry_run and not composing.is_recipe(recipe):
            click.echo(f"its recipe, to edit and use again: {ready.run.path / RECIPE}")

    assert isinstance(command, click.Command)
    return command


def orders_of(flags: dict[str, Any]) -> Any:
    """Takes the flags of `run_flags` out of all those of a command."""
    from evalkit.pipeline.run import Orders

    names = [name for name in Orders.__dataclass_fields__ if name in flags]
    return Orders(**{name: flags.pop(name) for name in names})


def _document(goal: str, text: str, flags: dict[str, Any], takes: tuple[str, ...]) -> Any:
    """The recipe that a command was given, or that its model and flags stand for."""
    from evalkit.pipeline import composing
    from evalkit.recipe_document import apply_overrides
    from evalkit.recipe_file import read_document

    overrides = flags.pop("overrides")
    wishes = composing.ModelFlags(**{name: flags.pop(name) for name in takes})
    if composing.is_recipe(text):
        if wishes.given():
            raise click.UsageError(
                f"{wishes.given()[0]} is for a model; change a recipe with --set KEY=VALUE"
            )
        return read_document(Path(text), overrides)
    if not takes:
        raise click.UsageError(
            f"{goal} takes a recipe (.yaml), and {text} is none;"
            f" 'evalkit new NAME --base {text}' writes one"
        )
    model = composing.read_model(text, wishes.revision)
    document = composing.compose(model, wishes, own=goal in ("card", "publish"))
    apply_overrides(document, overrides)
    _require(goal, document.data)
    return document


def _require(goal: str, data: dict[str, Any]) -> None:
    """Raises a UsageError if a model was given without what its command cannot do without."""
    from evalkit.pipeline import composing
    from evalkit.pipeline.offers import benchmark_lines, scheme_lines

    if goal == "evaluate" and not data.get("evaluation", {}).get("benchmarks"):
        lines = "\n  ".join(["a model needs --benchmark, once for each:", *benchmark_lines()])
        raise click.UsageError(lines)
    if goal == "quantize" and not data.get("variants"):
        raise click.UsageError("\n  ".join(["a model needs --scheme, once for each:",
                                            *scheme_lines()]))  # fmt: skip
    if goal == "publish" and not data.get("publish", {}).get("namespace"):
        raise click.UsageError("a model needs --namespace: the user or organisation to publish as")
    unknown = data["card"].get("license") == composing.UNKNOWN_LICENCE
    if goal in ("card", "publish") and unknown:
        raise click.UsageError(
            "a model needs --license (apache-2.0, say): its folder has no card that names one"
        )


def _help(goal: str, text: str) -> str:
    examples = "\n".join(f"  evalkit {words}" for words in EXAMPLES[goal])
    parts = [text, DESCRIPTIONS.get(goal, ""), f"\b\nExamples:\n{examples}"]
    return "\n\n".join(part for part in parts if part)


for _goal, _help_text in {
    "train-and-publish": "Train, quantize, measure, write up and publish a family.",
    "train": "Only train the recipe's checkpoints.",
    "quantize": "Train, and make the quantized variants.",
    "evaluate": "Train, quantize, measure and compare.",
    "publish": "The same as train-and-publish: publish what is not yet published.",
}.items():
    add_recipe_command(cli, _goal, _goal, _help_text)
