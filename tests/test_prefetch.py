"""A recipe whose models and data lie on a Hub, prefetched, runs when that Hub is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_parts
import own_data
import pytest
import yaml

from evalkit.hub.client import HubTarget, open_api
from evalkit.pipeline.prefetching import MANIFEST

pytest.importorskip("huggingface_hub")
pytest.importorskip("starlette")
pytest.importorskip("lm_eval")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),  # the client's
]
STEP = "eval-base-lm_eval_tasks"
MODEL, CHATS, QUIZ = "evalkit/tiny", "evalkit/chats", "evalkit/quiz"
QUIZ_CARD = """---
configs:
- config_name: alpha
  data_files:
  - {split: train, path: alpha/train.jsonl}
  - {split: test, path: alpha/test.jsonl}
---
# Quiz
"""
TASK = f"""
task: quiz_alpha
dataset_path: {QUIZ}
dataset_name: alpha
output_type: multiple_choice
training_split: train
fewshot_split: train
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""
GROUP = "group: quiz\ntask: [quiz_alpha]\naggregate_metric_list: [{metric: acc}]\n"
# Thirteen words in a row always hold the number.
QUESTION = "Which of the two words stands first in list {} of all the words there are in {}?"


def _rows(part: str) -> bytes:
    rows = [
        {"question": QUESTION.format(i, part), "choices": [" a", " b"], "answer": i % 2}
        for i in range(6)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


class Hub:
    """A Hub in a process of its own with a model and two datasets; `close` ends it."""

    def __init__(self, root: Path, model: Path) -> None:
        self.process, self.endpoint, self._token = hub_parts.start_server(root)
        chats = [{"prompt": QUESTION.format(i, "test"), "chosen": "a"} for i in (1, 4)]
        quiz = {"README.md": QUIZ_CARD.encode(), "alpha/train.jsonl": _rows("train"),
                "alpha/test.jsonl": _rows("test")}  # fmt: skip
        self.commits = {
            MODEL: self.put(MODEL, "model", {f.name: f.read_bytes() for f in model.iterdir()}),
            CHATS: self.put(CHATS, "dataset", {"train.jsonl": own_data.encoded(chats, "jsonl")}),
            QUIZ: self.put(QUIZ, "dataset", quiz),
        }

    def put(self, name: str, kind: str, files: dict[str, bytes]) -> str:
        """Uploads files one by one; returns the last commit."""
        with open_api(HubTarget(self.endpoint, self._token, False)) as api:
            api.create_repo(name, repo_type=kind, private=False, exist_ok=True)
            for path, content in files.items():
                made = api.upload_file(
                    path_or_fileobj=content, path_in_repo=path, repo_id=name, repo_type=kind
                )
        return str(made.oid)

    def close(self) -> None:
        """What pulling the plug does."""
        with self.process:
            self.process.kill()


@pytest.fixture
def hub(tmp_path: Path, tiny_llama: Path) -> Iterator[Hub]:
    served = Hub(tmp_path / "hub-root", tiny_llama)
    yield served
    served.close()


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "quiz_alpha.yaml").write_text(TASK)
    (tmp_path / "tasks" / "quiz.yaml").write_text(GROUP)
    benchmark = {
        "name": "lm_eval_tasks",
        "tasks": ["quiz"],
        "include_path": str(tmp_path / "tasks"),
        "num_fewshot": 1,
    }
    chats = {"name": "dataset", "dataset": CHATS}
    content = {
        "name": "Quizzed",
        "base": {"model": MODEL},
        "evaluation": {"benchmarks": [benchmark], "contamination": {"sources": [chats]}},
        "card": {"title": "Quizzed", "license": "mit"},
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def _evalkit(*words: str, **surroundings: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own: where caches lie is read when libraries are imported."""
    taken = ("HF_HOME", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_DATASETS_CACHE")
    kept = {key: value for key, value in os.environ.items() if key not in taken}
    return subprocess.run(
        [sys.executable, "-m", "evalkit.cli", *words],
        env={**kept, **surroundings},
        capture_output=True,
        text=True,
        check=False,
    )


def test_prefetched_it_runs_with_the_network_off(hub: Hub, recipe: Path, tmp_path: Path) -> None:
    folder, home = tmp_path / "brought", str(tmp_path / "home")
    words = ("prefetch", str(recipe), "--to", str(folder), "--json")
    done = _evalkit(*words, HF_ENDPOINT=hub.endpoint, HF_HOME=home)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {one["repo"]: one["revision"] for one in told["brought"]} == hub.commits
    assert json.loads((folder / MANIFEST).read_text()) == sorted(
        told["brought"], key=lambda one: [one["kind"], one["repo"], one["what"]]
    )
    assert f"HF_HOME={folder} HF_HUB_OFFLINE=1 " in told["command"]
    hub.close()

    run = tmp_path / "run"
    words = ("evaluate", str(recipe), "--out", str(run), "--json")
    done = _evalkit(*words, HF_HOME=str(folder), HF_HUB_OFFLINE="1")
    assert done.returncode == 0, done.stderr
    (score,) = [one for one in json.loads(done.stdout)["scores"] if one["task"] == "quiz_alpha"]
    assert score["n"] == 6
    assert _provenance(run)["datasets"] == {QUIZ: hub.commits[QUIZ]}
    overlap = json.loads((run / "steps" / "contamination" / "overlap.json").read_text())
    assert {(hit["task"], hit["id"]) for hit in overlap["hits"]} == {
        ("quiz_alpha", "1"),
        ("quiz_alpha", "4"),
    }


def test_a_dataset_that_moves_on_is_read_as_it_was(hub: Hub, recipe: Path, tmp_path: Path) -> None:
    """What this machine has decides; without it the newest, or the commit that is asked for."""
    before, run = hub.commits[QUIZ], tmp_path / "run"
    words = ("evaluate", str(recipe), "--json", "--out")
    surroundings = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    assert _evalkit(*words, str(run), **surroundings).returncode == 0
    after = hub.put(QUIZ, "dataset", {"alpha/test.jsonl": _rows("test")[:-1] + b"  \n"})
    assert after != before
    again = _evalkit(*words, str(run), **surroundings)
    assert "nothing to do" in again.stderr
    assert _provenance(run)["datasets"] == {QUIZ: before}
    surroundings["HF_HOME"] = str(tmp_path / "elsewhere")
    assert _evalkit(*words, str(tmp_path / "new"), **surroundings).returncode == 0
    assert _provenance(tmp_path / "new")["datasets"] == {QUIZ: after}
    pin = f"evaluation.benchmarks.0.revisions={{{QUIZ}: {before}}}"
    done = _evalkit(*words, str(tmp_path / "old"), "--set", pin, **surroundings)
    assert done.returncode == 0, done.stderr
    assert _provenance(tmp_path / "old")["datasets"] == {QUIZ: before}


def _provenance(run: Path) -> Any:
    return json.loads((run / "steps" / STEP / "result.json").read_text())["provenance"]


def test_without_it_everything_that_is_missing_is_told_before_the_run(
    hub: Hub, recipe: Path, tmp_path: Path
) -> None:
    hub.close()
    words = ("evaluate", str(recipe), "--out", str(tmp_path / "run"), "--json")
    done = _evalkit(*words, HF_HOME=str(tmp_path / "empty"), HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    problems = json.loads(done.stderr.splitlines()[-1])["error"]["problems"]
    told = {next(name for name in hub.commits if name in one["message"]) for one in problems}
    assert told == set(hub.commits)
    assert all(one["prerequisite"] for one in problems)
    assert not (tmp_path / "run").exists()
    (quiz,) = [one for one in problems if QUIZ in one["message"]]
    assert "quiz_alpha" in quiz["message"]
    assert "evalkit prefetch" in quiz["hint"]


def test_what_cannot_be_had_is_told_and_the_rest_is_brought(
    hub: Hub, recipe: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "brought"
    words = ("prefetch", str(recipe), "--to", str(folder), "--json", "--set")
    done = _evalkit(*words, "base.model=evalkit/none", HF_ENDPOINT=hub.endpoint, HF_HOME="/tmp")
    assert done.returncode == 1
    problems = json.loads(done.stderr.splitlines()[-1])["error"]["problems"]
    assert [one["where"].split("  ")[1] for one in problems] == ["base.model"]
    brought = {one["repo"] for one in json.loads((folder / MANIFEST).read_text())}
    assert brought == {CHATS, QUIZ}
