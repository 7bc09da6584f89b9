"""What tasks of the harness need beside a dataset is told before any work, and brought along."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")
pytest.importorskip("datasets")
pytest.importorskip("nltk")

import datasets.config
import nltk.data

from evalkit.benchmarks.lm_eval_needs import bring, problems_of
from evalkit.benchmarks.lm_eval_tasks import LmEvalTasks, _full_task_manager
from evalkit.errors import PrerequisiteError

PUNKT = "tokenizers/punkt_tab"
DEFINITION = "task: {}\ndataset_path: json\ndoc_to_text: x\nprocess_results: !function {}.score\n"


@pytest.fixture(scope="module")
def index() -> Any:
    return _full_task_manager(None).task_index


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of caches without anything in it, and no other data of NLTK."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "home" / "datasets")
    monkeypatch.setattr(nltk.data, "path", [])
    return tmp_path / "home"


def folder_index(folder: Path) -> Any:
    benchmark = LmEvalTasks(LmEvalTasks.Options(tasks=("mine",), include_path=str(folder)))
    return benchmark._task_manager().task_index


def write(folder: Path, helper: str, **files: str) -> Any:
    (folder / "mine.yaml").write_text(DEFINITION.format("mine", helper))
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder_index(folder)


def test_a_package_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Also where a sibling's import is re-raised in other words; not where it is got over."""
    index = write(
        tmp_path,
        "own_helper",
        own_helper="import json\nimport numpy\nimport no_such_package\n"
        "try:\n    import neither.this\nexcept ImportError:\n    raise ValueError from None\n"
        "try:\n    import optional_one\nexcept ImportError:\n    optional_one = None\n"
        "def score(doc, results):\n    import late_one\n",
    )
    problems = problems_of(index, ["mine"])
    told = [one.message for one in problems]
    assert told == [
        f"the Python package '{name}' is not installed, which mine imports"
        for name in ("no_such_package", "neither")
    ]
    assert all(one.prerequisite for one in problems)


def test_the_leaderboard_s_tasks_have_all_their_packages(index: Any, home: Path) -> None:
    """As `evalkit[eval]` installs them."""
    (home / "nltk_data" / PUNKT).mkdir(parents=True)
    assert problems_of(index, ["leaderboard", "openllm"]) == []


def test_data_of_nltk_that_is_neither_here_nor_in_reach(
    index: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = "http://127.0.0.1:1/index.xml"
    monkeypatch.setattr("nltk.downloader.Downloader.DEFAULT_URL", nowhere)
    (problem,) = problems_of(index, ["leaderboard_ifeval"])
    assert PUNKT in problem.message
    assert "leaderboard_ifeval reads" in problem.message
    assert problem.prerequisite
    assert "evalkit prefetch" in problem.hint
    with pytest.raises(PrerequisiteError, match="punkt_tab cannot be fetched"):
        bring(index, ["leaderboard_ifeval"])
    assert problems_of(index, ["leaderboard_gpqa"]) == []


def test_data_of_nltk_that_lies_beside_the_datasets_is_found(index: Any, home: Path) -> None:
    """Wherever that folder was carried: it is named by HF_HOME alone."""
    (home / "nltk_data" / PUNKT).mkdir(parents=True)
    assert problems_of(index, ["ifeval", "leaderboard_ifeval"]) == []


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """NLTK's server on this machine, which NLTK would not ask otherwise; it has a tiny punkt."""
    folder = tmp_path / "server"
    folder.mkdir()
    with zipfile.ZipFile(folder / "punkt_tab.zip", "w") as archive:
        archive.writestr("punkt_tab/english/abbrev_types.txt", "dr\n")
    content = (folder / "punkt_tab.zip").read_bytes()
    handler = partial(_Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        url = f"http://127.0.0.1:{running.server_port}"
        digest = hashlib.sha256(content).hexdigest()
        (folder / "index.xml").write_text(
            "<nltk_data><packages>"
            f'<package id="punkt_tab" name="Punkt" subdir="tokenizers" unzip="1"'
            f' size="{len(content)}" unzipped_size="3" url="{url}/punkt_tab.zip"'
            f' checksum="{hashlib.md5(content).hexdigest()}" sha256_checksum="{digest}"/>'
            "</packages><collections/></nltk_data>"
        )
        monkeypatch.setattr("nltk.pathsec.ENFORCE", False)
        monkeypatch.setattr("nltk.downloader.Downloader.DEFAULT_URL", f"{url}/index.xml")
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield digest
        running.shutdown()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.mark.filterwarnings("ignore")  # of NLTK, that it does not enforce
def test_it_is_brought_to_where_the_caches_lie(index: Any, home: Path, server: str) -> None:
    assert problems_of(index, ["leaderboard_ifeval"]) == []  # it is in reach
    (brought,) = bring(index, ["leaderboard_ifeval", "ifeval"])
    assert brought == ("nltk", "punkt_tab", server, "")
    assert (home / "nltk_data" / PUNKT / "english" / "abbrev_types.txt").read_text() == "dr\n"
    assert problems_of(index, ["leaderboard_ifeval"]) == []
