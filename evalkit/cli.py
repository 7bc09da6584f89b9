"""The command line: each command parses, calls one function and prints its result.

stdout is the result, stderr everything else. Nothing heavy is imported before a command runs.
Exit codes: 0 done, 1 an error with a hint, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from evalkit import __version__
from evalkit.console import print_error
from evalkit.errors import EvalkitError, RecipeError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


class Commands(click.Group):
    """Commands in the order they are written here."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Commands, context_settings=CONTEXT)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="evalkit")
def cli(debug: bool) -> None:
    """From a recipe to a published family of aligned language models."""


def _recipe_command(group: click.Group, name: str, goal: str, help_text: str) -> None:
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
    _recipe_command(cli, _goal, _goal, _help)


@cli.group(cls=Commands)
def card() -> None:
    """Model cards: build them from a recipe, check anybody's."""


_recipe_command(card, "build", "card", "Everything but publishing: cards and the leaderboard.")


@card.command("lint")
@click.argument("cards", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def lint_cards(cards: tuple[Path, ...], as_json: bool) -> int:
    """Check cards (files or folders) offline; exit code 1 if one has an error."""
    from dataclasses import asdict

    from evalkit.cards.lint import lint_file

    found = {str(path): lint_file(path) for path in cards}
    if as_json:
        rows = {path: [asdict(one) for one in findings] for path, findings in found.items()}
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        for path, findings in found.items():
            for one in findings:
                hint = f"  ({one.hint})" if one.hint else ""
                click.echo(f"{path}:{one.line}: {one.severity}: {one.message}{hint}")
            click.echo(f"{path}: {len(findings)} findings")
    return int(any(one.severity == "error" for findings in found.values() for one in findings))


@cli.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(run: Path, as_json: bool) -> None:
    """Show what a run folder holds: steps, scores, cards, releases."""
    from evalkit.pipeline.summary import describe_run, print_run

    description = describe_run(run)
    if as_json:
        click.echo(json.dumps(description, indent=1, sort_keys=True, ensure_ascii=False))
    else:
        print_run(description)


@cli.command("list")
@click.argument("kind", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_plugins(kind: str | None, as_json: bool) -> None:
    """List plug-ins: methods, engines, judges, benchmarks, schemes, sources, builders."""
    from evalkit import registry
    from evalkit.errors import did_you_mean

    if kind is not None and kind not in registry.ROOMS:
        raise RecipeError(
            f"no kind of plug-in is called '{kind}'", did_you_mean(kind, registry.ROOMS)
        )
    kinds = [kind] if kind else list(registry.ROOMS)
    known = {k: {name: registry.summary(k, name) for name in registry.names(k)} for k in kinds}
    if as_json:
        click.echo(json.dumps(known, indent=1))
        return
    for each, plugins in known.items():
        click.echo(f"{each}:")
        for name, summary in plugins.items():
            click.echo(f"  {name:<18}{summary}")


@cli.group(cls=Commands)
def hub() -> None:
    """The folder-backed Hub that evalkit serves on this machine."""


@hub.command()
@click.option("--root", type=FOLDER, default=Path("hub"), show_default=True, help="Its folder.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port on 127.0.0.1.",
)
def serve(root: Path, port: int) -> None:
    """Serve a folder with the Hub's HTTP protocol, until interrupted."""
    from evalkit.hub.serve import Server
    from evalkit.hub.serve import serve as serve_hub

    def announce(server: Server) -> None:
        click.echo(f"serving {root} at {server.endpoint} (Ctrl-C ends it)")
        click.echo(f"  HF_ENDPOINT={server.endpoint}  is all that loading from it needs")

    serve_hub(root, port, ready=announce)


@hub.command()
@click.option("--root", type=FOLDER, default=Path("hub"), show_default=True, help="Its folder.")
@click.option("--user", default="evalkit", show_default=True, help="Whose token.")
def token(root: Path, user: str) -> None:
    """Print a token for uploading to a folder-backed Hub."""
    from evalkit.hub.serve import make_token

    click.echo(make_token(root, user))


@cli.group(cls=Commands)
def leaderboard() -> None:
    """Tables over one or more families."""


@leaderboard.command("export")
@click.argument("runs", nargs=-1, required=True,
                type=click.Path(exists=True, file_okay=False, path_type=Path))  # fmt: skip
@click.option("--out", type=FOLDER, required=True, help="Folder for the tables.")
@click.option("--definition", help="A leaderboard of evalkit, or a YAML file.")
def export(runs: tuple[Path, ...], out: Path, definition: str | None) -> None:
    """Write one leaderboard of several runs as Markdown, CSV and JSON."""
    from evalkit.pipeline.carding import export_runs

    for file in export_runs(runs, out, definition):
        click.echo(str(file))


def main(arguments: list[str] | None = None) -> None:
    """Entry point: runs a command and turns errors into messages and exit codes."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        code = cli.main(args=words, prog_name="evalkit", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        print(
            "\ninterrupted; go on with:\n  evalkit " + shlex.join(_without_redo(words)),
            file=sys.stderr,
        )
        sys.exit(130)
    except EvalkitError as error:
        if "--debug" in words:
            raise
        print_error(error)
        sys.exit(1)


def _without_redo(words: list[str]) -> list[str]:
    """The command that resumes: with its `--redo` it would make that step once more."""
    kept: list[str] = []
    for word, before in zip(words, ["", *words], strict=False):
        if word != "--redo" and before != "--redo" and not word.startswith("--redo="):
            kept.append(word)
    return kept


if __name__ == "__main__":
    main()
