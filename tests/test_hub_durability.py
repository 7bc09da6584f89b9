"""The embedded Hub under kill, and under load: commits are whole or not there."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")
pytest.importorskip("starlette")

import hub_parts
from huggingface_hub import CommitOperationAdd, HfApi

from evalkit.hub.client import open_api, prepare_environment
from evalkit.hub.serve import Server, running
from evalkit.hub.store import Store

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO = "evalkit/durable"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path / "hub") as server:
        yield server


def operations(number: int) -> list[CommitOperationAdd]:
    """A commit that replaces every file: each says the same number."""
    return [
        CommitOperationAdd("README.md", f"---\nlicense: mit\n---\n{number}\n".encode()),
        CommitOperationAdd("a.txt", f"{number}".encode()),
        CommitOperationAdd("model.safetensors", hub_parts.safetensors_bytes(b"%d" % number)),
        CommitOperationAdd("deep/b.bin", b"\0%d" % number),
    ]


def commit_until_killed(endpoint: str, token: str, first: int, known: list[int]) -> None:
    """Commits one number after another; `known` is the last whose answer arrived."""
    api = HfApi(endpoint, token=token)
    try:
        while True:
            api.create_commit(REPO, operations(first), commit_message=f"{first}")
            known.append(first)
            first += 1
    except Exception:  # the server is gone
        return


def state_of(root: Path) -> int:
    """The number that every file of main's head says; reads the folder, without a server."""
    store = Store(root)
    repository = store.repository("model", REPO)
    history = repository.history("main")
    commit = history[0]
    texts = {path: store.read(entry) for path, entry in commit.tree.items()}
    for older in history:
        for path, entry in older.tree.items():
            content = store.read(entry)
            assert hashlib.sha256(content).hexdigest() == entry.sha256, f"{path} is damaged"
    number = int(texts["a.txt"])
    assert texts["README.md"].decode().split()[-1] == str(number)
    assert texts["model.safetensors"] == hub_parts.safetensors_bytes(b"%d" % number)
    assert texts["deep/b.bin"] == b"\0%d" % number
    assert [int(one.title) for one in history[:-1]] == list(range(number, 0, -1))
    return number


def kill_while_committing(root: Path, times: int, seed: int) -> None:
    chance = random.Random(seed)
    prepare_environment("http://127.0.0.1")
    number = 0
    for _ in range(times):
        process, endpoint, token = hub_parts.start_server(root)
        with process:
            if number == 0:
                HfApi(endpoint, token=token).create_repo(REPO)
                HfApi(endpoint, token=token).create_commit(REPO, operations(1), commit_message="1")
                number = 1
            known = [number]
            worker = threading.Thread(
                target=commit_until_killed, args=(endpoint, token, number + 1, known)
            )
            worker.start()
            time.sleep(chance.uniform(0.02, 0.5))
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            worker.join(60)
        number = state_of(root)
        assert known[-1] <= number <= known[-1] + 1, "a commit that was answered is lost"


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client does not wait for seconds for a server that is gone."""
    wait = time.sleep
    monkeypatch.setattr(
        "huggingface_hub.utils._http.time.sleep", lambda seconds: wait(min(seconds, 0.5))
    )


def test_a_killed_server_shows_whole_commits_only(tmp_path: Path) -> None:
    kill_while_committing(tmp_path / "hub", 2, seed=1)


@pytest.mark.slow
def test_a_server_killed_again_and_again_loses_no_answered_commit(tmp_path: Path) -> None:
    kill_while_committing(tmp_path / "hub", 25, seed=2)


@pytest.mark.slow
def test_a_thousand_files_in_one_commit(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    for number in range(1000):
        place = folder / f"{number % 10}" / f"{number}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"file {number}")
    with open_api(server.target()) as api:
        api.create_repo(REPO)
        done = api.upload_folder(repo_id=REPO, folder_path=folder)
        assert len(api.list_repo_files(REPO)) == 1001
        assert len(api.list_repo_commits(REPO)) == 2
        report = api.verify_repo_checksums(REPO, local_dir=folder, revision=done.oid)
        assert not report.mismatches
        copy = Path(api.snapshot_download(REPO, local_dir=tmp_path / "copy"))
        assert (copy / "7" / "997.txt").read_text() == "file 997"


UPLOAD = """
import os, sys
os.environ["HF_HUB_DISABLE_XET"] = "1"
from huggingface_hub import CommitOperationAdd, HfApi
api = HfApi(sys.argv[1], token=sys.argv[2])
api.create_repo(sys.argv[4])
api.create_commit(sys.argv[4], [CommitOperationAdd("big.safetensors", sys.argv[3])],
                  commit_message="big")
"""


@pytest.mark.slow
def test_two_gigabytes_go_through_in_constant_memory(tmp_path: Path) -> None:
    """The server's memory grows by less than 64 MB while 2 GB go in and come out."""
    big = tmp_path / "big.safetensors"
    size_bytes = 2 * 1024**3
    with big.open("wb") as stream:
        stream.truncate(size_bytes - 8)
        stream.seek(0, os.SEEK_END)
        stream.write(b"the end.")
    process, endpoint, token = hub_parts.start_server(tmp_path / "hub")
    with process:
        before = _most_memory_bytes(process.pid)
        words = [sys.executable, "-c", UPLOAD, endpoint, token, str(big), REPO]
        subprocess.run(words, check=True, capture_output=True)
        code = (
            "import hashlib, sys, urllib.request\n"
            "request = urllib.request.Request(sys.argv[1])\n"
            "request.add_header('Authorization', 'Bearer ' + sys.argv[2])\n"
            "total, seen = hashlib.sha256(), 0\n"
            "opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))\n"
            "with opener.open(request) as answer:\n"
            "    while piece := answer.read(1 << 20):\n"
            "        total.update(piece); seen += len(piece)\n"
            "print(seen, total.hexdigest())"
        )
        url = f"{endpoint}/{REPO}/resolve/main/big.safetensors"
        done = subprocess.run(
            [sys.executable, "-c", code, url, token], check=True, capture_output=True, text=True
        )
        grown = _most_memory_bytes(process.pid) - before
        process.kill()
    with big.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    assert done.stdout.split() == [str(size_bytes), digest]
    assert grown < 64 * 1024**2, f"{grown:,} bytes"


def _most_memory_bytes(pid: int) -> int:
    """The most memory that a process has had resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [line] = [line for line in lines if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
