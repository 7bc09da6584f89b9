"""Every mistake is told on one screen, with what to do, before any work; nothing is left behind."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import error_cases_data
import error_cases_machine
import error_cases_model
import error_cases_recipe
import error_cases_runs
import pytest
from error_cases import Case, Desk, desk_at

from evalkit.cli import main

SCREEN_LINES, SCREEN_COLUMNS = 24, 120
CASES = [
    *error_cases_recipe.CASES,
    *error_cases_model.CASES,
    *error_cases_data.CASES,
    *error_cases_machine.CASES,
    *error_cases_runs.CASES,
]


@pytest.fixture
def desk(tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    made = desk_at(tmp_path, tiny_llama, monkeypatch)
    with made.held:
        yield made


def _tree(folder: Path) -> dict[str, bytes]:
    """Every file and link below a folder, with its content or target."""
    return {
        str(path.relative_to(folder)): str(path.readlink()).encode()
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def _portable(text: str, desk: Desk) -> str:
    """What was said without what differs between machines: the desk's path, ports."""
    text = text.replace(str(desk.path), "DESK").replace(str(desk.checkpoint), "BASE")
    # How far a damaged file reaches follows from the paths and the host that stand in it.
    text = re.sub(r"line \d+ column \d+\s+\(char \d+\)", "line L column C", text)
    return re.sub(r"(127\.0\.0\.1|localhost):\d+", r"\1:PORT", text)


def test_every_case_has_a_name_of_its_own() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 80


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c.name, marks=[pytest.mark.slow] if c.slow else []) for c in CASES],
)
def test_a_mistake_is_told(
    case: Case,
    desk: Desk,
    capfd: pytest.CaptureFixture[str],
    golden: Callable[[str, str], None],
) -> None:
    desk.spoil(case.edits)
    if case.prepare:
        case.prepare(desk)
    before = _tree(desk.path)
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(os.path.expandvars(case.command)))
    printed, said = capfd.readouterr()
    said = _portable(said, desk)
    golden(f"errors/{case.name}.txt", f"$ evalkit {case.command}\n{said}exit {ended.value.code}\n")
    assert ended.value.code == case.code
    assert printed == ""
    _check_one_screen(said)
    left = {path for path, content in _tree(desk.path).items() if before.get(path) != content}
    strays = [path for path in left if not any(fnmatchcase(path, p) for p in case.may_leave)]
    assert strays == []
    assert before.keys() <= _tree(desk.path).keys()


def _check_one_screen(said: str) -> None:
    lines = said.splitlines()
    assert "Traceback" not in said
    assert "hint: " in said or "Usage: " in said
    assert len(lines) <= SCREEN_LINES
    # A path or a name is never broken, however long it is.
    breakable = [" ".join(word for word in line.split(" ") if len(word) < 60) for line in lines]
    assert [line for line in breakable if len(line) > SCREEN_COLUMNS] == []
