"""Run folders, cards and leaderboards that are damaged, stale, or not what they are taken for."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

from error_cases import Case, Desk

from evalkit.cli import main
from evalkit.pipeline.carding import FAMILY, NAME
from evalkit.rundir import Receipt, RunDir

Prepare = Callable[[Desk], None]
RUN = "train mine.yaml --out run"


def _typed(words: str) -> None:
    with contextlib.suppress(SystemExit):
        main(words.split())


def _begun(desk: Desk) -> None:
    """A real run whose base is there."""
    _typed(f"{RUN} --until base")
    assert (desk.path / "run/steps/base/receipt.json").is_file()


def _damaged(file: str) -> Prepare:
    def prepare(desk: Desk) -> None:
        _begun(desk)
        content = (desk.path / "run" / file).read_bytes()
        desk.write(f"run/{file}", content[:20])

    return prepare


def _of_another_version(desk: Desk) -> None:
    _begun(desk)
    file = desk.path / "run/steps/base/receipt.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"signature": "x"}))


def _other_seed(desk: Desk) -> None:
    """A run whose responses are there, and were drawn with another seed."""
    _typed(f"{RUN} --until iter1-responses")
    assert (desk.path / "run/steps/iter1-responses/receipt.json").is_file()
    desk.recipe(**{"seed: 3": "seed: 4"})


def _carded(text: str) -> Prepare:
    """A run whose finished cards say `text`."""

    def prepare(desk: Desk) -> None:
        _begun(desk)
        run = RunDir(desk.path / "run")
        (run.begin(NAME, "x") / FAMILY).write_text(text)
        run.finish(NAME, Receipt(NAME, "x", {"needs": {}}, {}))

    return prepare


def _file(name: str, content: str | bytes) -> Prepare:
    return lambda desk: desk.write(name, content) and None


EMPTY_FAMILY = json.dumps(
    {
        "name": "Plain", "members": [], "comparisons": [], "card": {}, "recipe": {},
        "base_source": None, "versions": {}, "published": False,
    }
)  # fmt: skip
COLUMN = "{benchmark: mt_bench, task: a, metric: b, label: A}"


def _definition(name: str, text: str) -> Case:
    def prepare(desk: Desk) -> None:
        _carded(EMPTY_FAMILY)(desk)
        desk.write("board.yaml", text)

    return Case(
        name, "leaderboard export run --out tables --definition board.yaml", prepare=prepare
    )


STEPS = [
    Case("receipt-damaged", RUN, prepare=_damaged("steps/base/receipt.json")),
    Case("receipt-of-another-version", RUN, prepare=_of_another_version),
    Case("plan-damaged", "show run", prepare=_damaged("plan.json")),
    Case("facts-damaged", "show run", prepare=_damaged("run_facts.json")),
    Case("step-is-stale", RUN, prepare=_other_seed),
    Case("show-no-run", "show base"),
    Case("show-nothing", "show nowhere", code=2),
    Case("show-a-file", "show mine.yaml", code=2),
    Case("family-damaged", "show run", prepare=_carded('{"name": "Plain", "members": [')),
    Case("family-of-another-version", "show run", prepare=_carded('{"name": "Plain", "owner": 1}')),
]
BOARDS = [
    Case("export-without-cards", "leaderboard export run --out tables", prepare=_begun),
    Case("export-of-no-run", "leaderboard export base --out tables"),
    Case("export-of-nothing", "leaderboard export --out tables", code=2),
    Case(
        "unknown-leaderboard",
        "leaderboard export run --out tables --definition open_llm_v3",
        prepare=_carded(EMPTY_FAMILY),
    ),
    Case(
        "leaderboard-file-missing",
        "leaderboard export run --out tables --definition mine/board.yaml",
        prepare=_carded(EMPTY_FAMILY),
    ),
    _definition("leaderboard-no-yaml", "name: [x\n"),
    _definition("leaderboard-empty", ""),
    _definition("leaderboard-unknown-key", f"name: x\ntitle: X\ncolums: [{COLUMN}]\n"),
    _definition(
        "leaderboard-sorted-by-nothing", f"name: x\ntitle: X\nsort_by: B\ncolumns: [{COLUMN}]\n"
    ),
    _definition("leaderboard-label-twice", f"name: x\ntitle: X\ncolumns: [{COLUMN}, {COLUMN}]\n"),
]
CARDS = [
    Case("lint-nothing", "card lint", code=2),
    Case("lint-missing-file", "card lint README.md"),
    Case("lint-folder-without-card", "card lint base"),
    Case("lint-no-text", "card lint README.md", prepare=_file("README.md", b"\xff\xfe\x00")),
]
CASES = [*STEPS, *BOARDS, *CARDS]
