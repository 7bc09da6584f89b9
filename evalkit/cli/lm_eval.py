"""`evalkit lm-eval`: lm-evaluation-harness's own command line, with evalkit's model registered."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from evalkit.cli.app import CONTEXT, cli, echo_json
from evalkit.cli.options import Command, json_flag

_OUTPUT = ("--output_path", "-o")


@cli.command(
    "lm-eval",
    cls=Command,
    context_settings={
        **CONTEXT,
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
    },
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@json_flag
def lm_eval(arguments: tuple[str, ...], as_json: bool) -> None:
    """Run lm-evaluation-harness's command line, with a fast model.

    All ARGUMENTS are the harness's own; 'evalkit lm-eval run --help' shows them. Its model
    'evalkit' answers as its model 'hf' does, from one tree of the prefixes that requests share:

    \b
      evalkit lm-eval --model evalkit --model_args pretrained=FOLDER --tasks arc_challenge

    --model_args also takes revision, dtype, device, token_budget (in place of --batch_size), cache
    (a folder of finished batches, kept apart by weights), engine, seed, max_length, add_bos_token
    and prefix_token_id. With --json, stdout is the harness's results file.
    """
    from evalkit.benchmarks.lm_eval_tasks import require_harness

    require_harness()
    from evalkit.benchmarks.lm_eval_scoring import register

    register()
    words = [word for word in arguments if word != "--json"]
    if not as_json and len(words) == len(arguments):
        _hand_over(words)
        return
    with tempfile.TemporaryDirectory() as folder:
        given = _given(words)
        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            _hand_over(words if given or words[:1] in (["ls"], ["validate"])
                       else [*words, "--output_path", folder])  # fmt: skip
        print(told.getvalue(), file=sys.stderr)
        results = _latest(Path(given or folder))
        echo_json({"output": told.getvalue()} if results is None else results)


def _hand_over(words: list[str]) -> None:
    from lm_eval.__main__ import cli_evaluate

    with _arguments(["lm-eval", *words]):
        cli_evaluate()


@contextlib.contextmanager
def _arguments(words: list[str]) -> Iterator[None]:
    """The harness reads them where the interpreter keeps its own."""
    before = sys.argv
    sys.argv = words
    try:
        yield
    finally:
        sys.argv = before


def _given(words: list[str]) -> str | None:
    """The folder in which results are to be written, where one is named."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in _OUTPUT:
            return following
        if word.startswith("--output_path="):
            return word.partition("=")[2]
    return None


def _latest(folder: Path) -> Any:
    files = sorted(folder.rglob("results_*.json"), key=lambda file: file.stat().st_mtime_ns)
    return json.loads(files[-1].read_text("utf-8")) if files else None
