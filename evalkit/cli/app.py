"""The `evalkit` command itself, and how it ends; the files beside it hold its commands.

stdout is the result, stderr everything else. Nothing heavy is imported before a command runs.
With --json, stdout is one JSON document, and an error one line of JSON at the end of stderr.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from evalkit import __version__
from evalkit.console import print_error
from evalkit.errors import EvalkitError, lacking

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
EPILOG = """\b
Exit codes:
    0  done
    1  an error, told with what to do about it; or a check that found one
    2  wrong usage of the command line
  130  interrupted (Ctrl-C); the same command goes on from there

With --json, which every command has, stdout is one JSON document, and an error is the last line
of stderr: {"error": {"message", "hint", "problems"}}.
"""


class Commands(click.Group):
    """Commands in the order they are written here."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Commands, context_settings=CONTEXT, epilog=EPILOG)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="evalkit")
def cli(debug: bool) -> None:
    """From a recipe to a published family of aligned language models."""


def echo_json(value: Any) -> None:
    """Prints a command's result as JSON."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))


def echo_line(value: Any) -> None:
    """Prints JSON on one line at once, for a program that waits for it."""
    click.echo(json.dumps(value, ensure_ascii=False, allow_nan=False))
    sys.stdout.flush()


def main(arguments: list[str] | None = None) -> None:
    """Entry point: runs a command and turns errors into messages and exit codes."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        code = cli.main(args=words, prog_name="evalkit", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.ClickException as error:
        if "--json" in words:
            _tell(words, EvalkitError(error.format_message()))
        else:
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
        _tell(words, error)
        sys.exit(1)
    except (OSError, MemoryError, RuntimeError) as error:
        lacks = lacking(error)
        if lacks is None or "--debug" in words:
            raise
        _tell(words, lacks)
        sys.exit(1)


def _tell(words: Sequence[str], error: EvalkitError) -> None:
    """Prints an error to stderr: for people, or with --json as one line for programs."""
    if "--json" not in words:
        print_error(error)
        return
    problems = [problem._asdict() for problem in getattr(error, "problems", ())]
    told = {"message": error.message, "hint": error.hint, "problems": problems}
    print(json.dumps({"error": told}, ensure_ascii=False), file=sys.stderr)


def _without_redo(words: list[str]) -> list[str]:
    """The command that resumes: with its `--redo` it would make that step once more."""
    kept: list[str] = []
    for word, before in zip(words, ["", *words], strict=False):
        if word != "--redo" and before != "--redo" and not word.startswith("--redo="):
            kept.append(word)
    return kept
