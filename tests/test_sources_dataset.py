"""Hub datasets, over real HTTP from the embedded Hub: by branch, by commit, from the cache."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import own_data
import pytest

from evalkit.errors import PrerequisiteError, RecipeError
from evalkit.hub.client import open_api
from evalkit.hub.serve import running
from evalkit.pipeline.plugins import settings
from evalkit.roles import PluginRef

pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's
ROOT = Path(__file__).parent.parent
NAME = "evalkit/chats"
CARD = b"""---
configs:
- config_name: default
  data_files:
  - {split: train_sft, path: data/train_sft-*}
  - {split: test_sft, path: data/test_sft-*}
---
# Chats
"""


def _rows(*texts: str) -> list[dict[str, Any]]:
    return [
        {
            "prompt": text,
            "messages": [
                {"role": "user", "content": text},
                {"role": "assistant", "content": "ok"},
            ],
        }
        for text in texts
    ]


class Desk:
    """A Hub in a folder, which can be served or not, and the cache of one user."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.cache = folder / "hub", folder / "cache"
        self._patch = monkeypatch
        self._patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(self.cache))

    def address(self, endpoint: str) -> None:
        """What HF_ENDPOINT does when it is set before the client is imported."""
        constants = "huggingface_hub.constants."
        self._patch.setattr(constants + "ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        self._patch.setattr(constants + "HUGGINGFACE_CO_URL_TEMPLATE", template)
        _forget()

    def upload(self, server: Any, files: dict[str, bytes]) -> str:
        """Commits files with an unmodified huggingface_hub; gives the commit."""
        folder = self.root.with_name("files")
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        with open_api(server.target()) as api:
            api.create_repo(NAME, repo_type="dataset", exist_ok=True)
            made = api.upload_folder(repo_id=NAME, repo_type="dataset", folder_path=folder)
            return str(made.oid)


def _forget() -> None:
    """What is remembered within one process."""
    from evalkit.sources import hub_snapshot

    hub_snapshot._resolve.cache_clear()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    yield Desk(tmp_path, monkeypatch)
    _forget()


def _files() -> dict[str, bytes]:
    shards = {
        "train_sft-00000-of-00002-abc": _rows("a", "b"),
        "train_sft-00001-of-00002-abc": _rows("c"),
        "test_sft-00000-of-00001-abc": _rows("d"),
    }
    data = {f"data/{n}.parquet": own_data.encoded(r, "parquet") for n, r in shards.items()}
    return {"README.md": CARD, **data}


def _said(**options: Any) -> list[str]:
    prompts = own_data.source("dataset", **{"dataset": NAME, **options}).prompts()
    return [prompt.messages[0].content for prompt in prompts]


def _described(**options: Any) -> dict[str, str]:
    return dict(own_data.source("dataset", **{"dataset": NAME, **options}).description())


def test_by_branch_and_by_commit(desk: Desk) -> None:
    with running(desk.root) as server:
        desk.address(server.endpoint)
        commit = desk.upload(server, _files())
        assert _said(split="train_sft") == ["a", "b", "c"]
        assert _said(split="test_sft", revision=commit) == ["d"]
        branch, pinned = _described(split="test_sft"), _described(split="test_sft", revision=commit)
        assert branch == pinned
        assert branch["dataset"] == NAME
        assert branch["revision"] == commit
        assert branch["name"] == "evalkit/chats (test_sft)"
        assert branch["digest"] != _described(split="train_sft")["digest"]


def test_a_run_goes_on_when_its_branch_is_given_as_the_commit() -> None:
    by_branch, by_commit = (
        settings("sources", PluginRef(name="dataset", dataset=NAME, revision=revision))
        for revision in ("main", "a" * 40)
    )
    assert by_branch == by_commit


def test_only_what_is_needed_is_fetched(desk: Desk) -> None:
    with running(desk.root) as server:
        desk.address(server.endpoint)
        desk.upload(server, _files())
        _said(split="test_sft")
    fetched = {path.name for path in desk.cache.rglob("snapshots/*/**/*") if path.is_file()}
    assert fetched == {"README.md", "test_sft-00000-of-00001-abc.parquet"}


def test_a_branch_that_moves_is_another_run(desk: Desk) -> None:
    with running(desk.root) as server:
        desk.address(server.endpoint)
        first = desk.upload(server, _files())
        old = _described(split="test_sft")
        desk.upload(server, {"data/test_sft-00000-of-00001-abc.parquet":
                             own_data.encoded(_rows("new"), "parquet")})  # fmt: skip
        assert _described(split="test_sft") == old, "one process keeps to one commit"
        _forget()
        assert _described(split="test_sft")["digest"] != old["digest"]
        assert _said(split="test_sft") == ["new"]
        assert _said(split="test_sft", revision=first) == ["d"]


def test_from_the_cache_when_the_hub_is_gone(desk: Desk) -> None:
    with running(desk.root) as server:
        desk.address(server.endpoint)
        commit = desk.upload(server, _files())
        _said(split="train_sft")
        there = _described(split="train_sft")
    _forget()
    assert _said(split="train_sft") == ["a", "b", "c"]
    assert _described(split="train_sft") == there
    # The other split was never fetched: it is missing here, and not a split that is not there.
    for revision in ("main", commit):
        with pytest.raises(PrerequisiteError, match="is not in this machine's cache"):
            _said(split="test_sft", revision=revision)
    with pytest.raises(RecipeError, match="has no split 'tset_sft'"):
        _said(split="tset_sft")


def test_a_cache_that_an_older_client_left(desk: Desk) -> None:
    """It keeps no listing of a commit, so that a folder may look whole when it is not."""
    with running(desk.root) as server:
        desk.address(server.endpoint)
        desk.upload(server, _files())
        _said(split="train_sft")
        _forget_listings(desk.cache)
        assert _said(split="test_sft") == ["d"], "fetched, though a snapshot folder is there"
    _forget_listings(desk.cache)
    with pytest.raises(PrerequisiteError, match="is not in this machine's cache"):
        _said(split="train_sft")


def test_a_cache_that_cannot_be_written(desk: Desk) -> None:
    with running(desk.root) as server:
        desk.address(server.endpoint)
        commit = desk.upload(server, _files())
        desk.cache.write_text("a file where the folder should be")
        assert _described(split="train_sft")["revision"] == commit


def _forget_listings(cache: Path) -> None:
    for listing in cache.rglob("trees/*.json"):
        listing.unlink()
    tree_cache = pytest.importorskip("huggingface_hub._tree_cache")
    tree_cache._IN_MEMORY_TREE_CACHE.clear()


def test_without_hub_and_cache_there_is_still_a_digest(desk: Desk) -> None:
    with running(desk.root) as server:
        desk.address(server.endpoint)
    source = own_data.source("dataset", dataset=NAME, split="train_sft")
    assert source.check() == []
    with pytest.raises(PrerequisiteError) as caught:
        source.prompts()
    assert caught.value.message == (
        f"the dataset {NAME} is not in this machine's cache, and {server.endpoint} cannot be"
        " reached"
    )
    assert (
        caught.value.hint == f"connect, or bring it along: hf download --repo-type dataset {NAME}"
    )
    described = dict(source.description())
    assert described["revision"] == "main (unresolved)"
    assert described == _described(split="train_sft")
    digests = {
        _described(split="train_sft", **options)["digest"]
        for options in (
            {},
            {"revision": "v1"},
            {"config": "x"},
            {"count": 1},
            {"revision": "0" * 40},
        )
    }
    assert len(digests) == 5


def test_checking_asks_no_hub(desk: Desk) -> None:
    """No address at all: any request would fail."""
    desk.address("http://127.0.0.1:1")
    assert own_data.source("dataset", dataset=NAME, split="nope").check() == []


def test_several_configurations_and_files(desk: Desk) -> None:
    files = {f"{n}.jsonl": own_data.encoded(_rows(n), "jsonl") for n in ("one", "two")}
    files |= {"README.md": b"---\nconfigs: [{config_name: a, data_files: one.jsonl},"
                           b" {config_name: b, data_files: two.jsonl}]\n---\n"}  # fmt: skip
    with running(desk.root) as server:
        desk.address(server.endpoint)
        desk.upload(server, files)
        assert _said(config="b") == ["two"]
        assert _said(files="o*.jsonl") == ["one"]
        for options, message, hint in (
            ({}, "has several configurations", "name one of a, b"),
            ({"config": "c"}, "has no configuration 'c'", "known: a, b"),
            ({"config": "a", "split": "dev"}, "has no split 'dev'", "known: train"),
            ({"files": "thre.jsonl"}, "has no file 'thre.jsonl'", "it has one.jsonl, two.jsonl"),
        ):
            with pytest.raises(RecipeError, match=message) as caught:
                _said(**options)
            assert hint in caught.value.hint


def test_rows_that_are_wrong_name_the_file_in_the_dataset(desk: Desk) -> None:
    with running(desk.root) as server:
        desk.address(server.endpoint)
        desk.upload(server, {"train.jsonl": b'{"prompt": "a"}\n{"prompt": ""}\n'})
        with pytest.raises(RecipeError) as caught:
            _said()
    assert caught.value.message == f"{NAME}/train.jsonl:2  column 'prompt' is empty"


def test_a_dataset_of_no_data(desk: Desk) -> None:
    with running(desk.root) as server:
        desk.address(server.endpoint)
        desk.upload(server, {"loader.py": b"pass\n"})
        with pytest.raises(RecipeError, match="has no JSONL, JSON, CSV, TSV or Parquet file") as e:
            _said()
    assert "refs/convert/parquet" in e.value.hint


def test_what_is_not_there(desk: Desk) -> None:
    with running(desk.root) as server:
        desk.address(server.endpoint)
        desk.upload(server, _files())
        with pytest.raises(RecipeError) as missing:
            _said(dataset="evalkit/chatts")
        with pytest.raises(RecipeError) as revision:
            _said(revision="v2")
    assert missing.value.message == (
        f"{server.endpoint} has no dataset 'evalkit/chatts', or it is private and this machine has"
        " no token"
    )
    assert missing.value.hint == "did you mean 'evalkit/chats'?"
    assert revision.value.message == f"the dataset {NAME} has no revision 'v2'"
    assert revision.value.hint == "it has main"


def test_a_gated_dataset(desk: Desk) -> None:
    with running(desk.root) as server:
        desk.address(server.endpoint)
        desk.upload(server, _files())
        with open_api(server.target()) as api:
            api.update_repo_settings(NAME, repo_type="dataset", gated="manual", private=False)
        with pytest.raises(PrerequisiteError) as caught:
            _said(split="train_sft")
    assert caught.value.message == (
        f"the dataset {NAME} is gated, and this machine has no access to it"
    )
    assert caught.value.hint == (
        f"ask for access at {server.endpoint}/datasets/{NAME}, then run `hf auth login`"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a/b/c", "'a/b/c' is no id of a dataset"),
        ("my data", "'my data' is no id of a dataset"),
        ("./mine.jsonl", "./mine.jsonl is a path, not a dataset of the Hub"),
    ],
)
def test_ids_that_can_be_none(name: str, message: str) -> None:
    (problem,) = own_data.source("dataset", dataset=name).check()
    assert (problem.where, problem.message) == ("dataset", message)


def test_the_environment_alone_addresses_a_hub(desk: Desk, tmp_path: Path) -> None:
    """A process of its own with HF_ENDPOINT, as a user has it; then with the Hub gone."""
    words = [sys.executable, "-m", "evalkit.cli", "data", "check", NAME, "--split", "train_sft"]

    def check(endpoint: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home")}
        return subprocess.run(
            words, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=60
        )

    with running(desk.root) as server:
        desk.upload(server, _files())
        online = check(server.endpoint)
    assert online.returncode == 0, online.stderr
    assert "recognised: conversations (messages)" in online.stdout
    assert "3 rows in 2 files" in online.stdout
    offline = check(server.endpoint)
    assert (offline.returncode, offline.stdout) == (0, online.stdout)
