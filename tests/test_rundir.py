"""The run folder: atomic steps, journals that survive a kill, one process at a time."""

import json
from pathlib import Path

import pytest

from evalkit.errors import PrerequisiteError
from evalkit.fingerprint import differences, fingerprint
from evalkit.journal import Journal
from evalkit.records import dumps
from evalkit.rundir import Receipt, RunDir


def _finished(run: RunDir) -> list[str]:
    names = ("one", "cards")
    return [name for name in names if run.receipt(name) is not None]


def _finish(run: RunDir, name: str, mark: str = "f") -> None:
    folder = run.begin(name, mark)
    (folder / "made.txt").write_text(mark)
    run.finish(name, Receipt(name, mark, {"a": 1}, {"digest": mark}))


def test_a_step_exists_only_when_finished(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    folder = run.begin("one", "f")
    (folder / "half").write_text("")
    assert run.receipt("one") is None
    assert _finished(run) == []
    run.finish("one", Receipt("one", "f", {}, {}))
    assert run.receipt("one") == Receipt("one", "f", {}, {})
    assert _finished(run) == ["one"]


def test_a_cut_off_attempt_goes_on_only_with_the_same_fingerprint(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    (run.begin("one", "f") / "journal").write_text("kept")
    assert (run.begin("one", "f") / "journal").read_text() == "kept"
    assert not (run.begin("one", "other") / "journal").exists()


def test_a_step_cut_off_after_its_receipt_is_recovered_not_redone(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    receipt = Receipt("one", "f", {}, {})
    folder = run.begin("one", "f")
    (folder / "made.txt").write_text("kept")
    (folder / "receipt.json").write_text(dumps(receipt))
    assert _finished(run) == []
    assert run.recover("one", "other") is None
    assert run.recover("one", "f") == receipt
    assert (run.folder("one") / "made.txt").read_text() == "kept"


def test_rebuilding_replaces_the_finished_step(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    _finish(run, "cards", "old")
    _finish(run, "cards", "new")
    assert (run.folder("cards") / "made.txt").read_text() == "new"
    assert sorted(file.name for file in run.steps.iterdir()) == ["cards"]


def test_forgetting_removes_finished_and_partial(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    _finish(run, "one")
    run.begin("one", "g")
    run.forget("one")
    assert list(run.steps.iterdir()) == []


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with RunDir(tmp_path).locked(), pytest.raises(PrerequisiteError, match="another"):  # noqa: SIM117
        with RunDir(tmp_path).locked():
            pass


def test_a_journal_drops_the_line_that_a_kill_cut_off(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    journal = Journal(file)
    first, second = journal.key(["a"]), journal.key(["b"])
    journal.put(first, [1, 2])
    journal.put(second, {"x": None})
    file.write_bytes(file.read_bytes()[:-3])
    again = Journal(file)
    assert again.get(first) == [1, 2]
    assert again.get(second) is None
    again.put(second, "redone")
    assert Journal(file).get(second) == "redone"
    assert all(json.loads(line) for line in file.read_text().splitlines())


def test_fingerprints_see_every_leaf() -> None:
    old = {"a": {"b": [1, 2]}, "c": 1}
    new = {"a": {"b": [1, 3]}, "d": 1}
    assert fingerprint(old) == fingerprint({"c": 1, "a": {"b": [1, 2]}})
    assert fingerprint(old) != fingerprint(new)
    assert differences(old, new) == ["a.b.1: 2 -> 3", "c: 1 -> None", "d: None -> 1"]
