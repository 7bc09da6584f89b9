"""Atomic writes: the old content or the new one, no leftovers, whatever ends the process."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from evalkit import durable

KILLED_BEFORE_THE_RENAME = """
import os, signal, sys
from pathlib import Path
from evalkit import durable
durable.move = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
durable.write_text(Path(sys.argv[1]), "new")
"""


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(file.name for file in folder.iterdir())


def test_each_kind_of_content_arrives(tmp_path: Path) -> None:
    durable.write_bytes(tmp_path / "deep" / "b", b"\0\1")
    durable.write_text(tmp_path / "t", "é\n")
    durable.write_json(tmp_path / "j", {"b": 1, "a": "é"}, mode=0o600)
    assert (tmp_path / "deep" / "b").read_bytes() == b"\0\1"
    assert (tmp_path / "t").read_bytes() == "é\n".encode()
    assert (tmp_path / "j").read_text("utf-8") == '{"a": "é", "b": 1}'
    assert stat.S_IMODE((tmp_path / "j").stat().st_mode) == 0o600
    assert names(tmp_path) == ["deep", "j", "t"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "j"
    durable.write_json(file, 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        durable.write_json(file, float("nan"))
    assert json.loads(file.read_text()) == 1
    assert names(tmp_path) == ["j"]


def test_a_killed_write_leaves_the_old_file_and_its_repetition_no_trace(tmp_path: Path) -> None:
    file = tmp_path / "t"
    durable.write_text(file, "old")
    code = [sys.executable, "-c", KILLED_BEFORE_THE_RENAME, str(file)]
    done = subprocess.run(code, check=False, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert done.returncode == -signal.SIGKILL
    assert file.read_text() == "old"
    assert len(names(tmp_path)) == 2  # the draft
    durable.write_text(file, "new")
    assert file.read_text() == "new"
    assert names(tmp_path) == ["t"]


def test_threads_do_not_share_a_draft(tmp_path: Path) -> None:
    file, failed = tmp_path / "t", []

    def write(letter: str) -> None:
        try:
            for _ in range(20):
                durable.write_text(file, letter * 10_000)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(set(file.read_text())) == 1
    assert names(tmp_path) == ["t"]


def test_the_folder_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(durable, "sync_folder", synced.append)
    durable.write_text(tmp_path / "t", "x")
    assert synced == [tmp_path]
