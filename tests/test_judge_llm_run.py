"""Whole runs with the llm judge: self-play and both suites judged over HTTP, cut off, resumed."""

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import runs
import yaml
from judge_server import FAULTS, MODEL, JudgeServer, served
from test_judge_llm import FORMS, write_forms

from evalkit.fingerprint import fingerprint

pytestmark = pytest.mark.slow


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Eight prompts, two responses each: 8 x 2 judgements at most, then 6 pairs and 8 ratings."""
    questions = tmp_path / "questions.jsonl"
    rows = [
        {
            "id": f"q{i}",
            "category": "math" if i else "writing",
            "turns": [f"Say {i} red.", "Say blue."],
            "references": ["red", "blue"],
        }
        for i in range(4)
    ]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    document = yaml.safe_load((runs.RECIPES / "micro.yaml").read_text())
    judge = {
        "name": "llm",
        "endpoint": "http://127.0.0.1:1/v1",
        "model": MODEL,
        "rating_prompts": str(write_forms(tmp_path / "judge_prompts.jsonl", FORMS)),
        "backoff_s": 0.01,
        "concurrency": 2,
    }
    (stage,) = document["stages"]
    stage |= {"iterations": 1, "prompts_per_iteration": 8, "judge": judge}
    stage["prompts"]["count"] = 8
    document["evaluation"] = {
        "judge": judge,
        "audit": {"items": 3, "second": "rule"},
        "benchmarks": [
            {
                "name": "alpaca_eval",
                "instructions": {"name": "pocket", "split": "open", "count": 6},
                "max_new_tokens": 8,
            },
            {
                "name": "mt_bench",
                "questions": {"name": "file", "path": str(questions)},
                "max_new_tokens": 8,
            },
        ],
    }
    document |= {"variants": []}
    del document["publish"]
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def evaluate(recipe: Path, folder: Path, server: JudgeServer, *flags: str) -> Any:
    """Runs `evalkit evaluate` with the judge at the server's address, which is on another port
    every time."""
    words = runs.command(recipe, folder)
    words[words.index("train-and-publish")] = "evaluate"
    for place in ("stages.0.judge.endpoint", "evaluation.judge.endpoint"):
        words += ["--set", f"{place}={server.url}"]
    hub = words.index("--hub-root")
    del words[hub : hub + 2]
    words += flags
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)


def test_a_run_whose_judge_gives_out_pays_for_nothing_twice(recipe: Path, tmp_path: Path) -> None:
    """Credit ends twice, in training and in a suite; what comes out is an unbroken run's."""
    with served() as server:
        done = evaluate(recipe, tmp_path / "whole", server)
        assert done.returncode == 0, done.stderr
        paid = server.answered
    assert max(paid.values()) <= 2  # the two checkpoints may give equal answers
    answered: Counter[str] = Counter()
    for faults in ([None] * 5, [None] * 20):
        with served(faults=faults, always="quota") as server:
            stopped = evaluate(recipe, tmp_path / "broken", server)
            assert stopped.returncode == 1
            assert "has no credit left" in stopped.stderr
            assert sum(server.answered.values()) == len(faults)
            answered += server.answered
    with served() as server:
        done = evaluate(recipe, tmp_path / "broken", server)
        assert done.returncode == 0, done.stderr
        answered += server.answered
    assert answered == paid
    differing = runs.unlike(tmp_path / "whole" / "run", tmp_path / "broken" / "run")
    # The recipe as typed names the port, which is another one each time.
    assert [name for name in differing if name.startswith("steps/")] == []


def test_a_server_that_fails_in_every_way_changes_no_result(recipe: Path, tmp_path: Path) -> None:
    """Every fault again and again, in training and in both suites: nothing is lost or missing."""
    patient = [
        word
        for place in ("stages.0.judge", "evaluation.judge")
        for word in ("--set", f"{place}.timeout_s=0.5", "--set", f"{place}.attempts=20")
    ]
    with served() as server:
        done = evaluate(recipe, tmp_path / "whole", server)
        assert done.returncode == 0, done.stderr
        whole = server.answered
    faults = [what for fault in FAULTS * 3 for what in (None, fault)]
    with served(faults=faults) as server:
        done = evaluate(recipe, tmp_path / "troubled", server, *patient)
        assert done.returncode == 0, done.stderr
        assert server.faults == [], "not every fault has come to pass"
        assert not server.answered - whole, "something was asked twice"
        # A rating without log-probabilities is a whole answer: such a fault is none there.
        assert (whole - server.answered).total() <= faults.count("no logprobs")
    for file in sorted((tmp_path / "whole" / "run" / "steps").glob("eval-*/result.json")):
        result = json.loads(file.read_text())
        again = json.loads(
            (tmp_path / "troubled" / "run" / "steps" / file.parent.name / file.name).read_text()
        )
        assert again["scores"] == result["scores"]
        assert again["provenance"]["judge_audit"] == result["provenance"]["judge_audit"]
        _is_audited(file.parent, result)


def _is_audited(step: Path, result: Any) -> None:
    audit = result["provenance"]["judge_audit"]
    assert audit["missing"] == 0
    assert audit["answered_by"] == {MODEL: audit["verdicts"]}
    assert audit["second_judge"]["judge"]["name"] == "rule"
    if step.name.endswith("alpaca_eval"):
        swapped = audit["swapped"]
        assert swapped["pairs"] + swapped["missing"] == min(3, audit["verdicts"])
    digest = result["provenance"]["judge_digest"]
    assert digest == fingerprint(result["provenance"]["judge"])
    samples = [json.loads(line) for line in (step / "samples.jsonl").read_text().splitlines()]
    assert {sample["detail"]["judge_digest"] for sample in samples} == {digest}


def test_an_unreachable_judge_is_seen_before_anything_is_done(recipe: Path, tmp_path: Path) -> None:
    with served() as server:
        pass
    stopped = evaluate(recipe, tmp_path, server)
    assert stopped.returncode == 1
    assert stopped.stderr.count(f"the model server at {server.url} cannot be reached") == 2
    assert not (tmp_path / "run").exists()
