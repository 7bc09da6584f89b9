"""The pocket checkpoint as `llm` judge on a real vLLM that a run starts once, and ends.

Its judgments are nonsense: what cannot be read is counted as missing, and breaks nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import vllm_parts
import yaml
from test_judge_llm import FORMS, write_forms

pytestmark = pytest.mark.vllm
SAYS = ["m", "M", "[[3]]", "Rating: [[8]]", "It is [[5]]", "Good: [[9]]", "no idea"]


@pytest.fixture
def recipe(tmp_path: Path, pocket_base: Path) -> Path:
    """Two checkpoints, each measured by two benchmarks with one judge."""
    questions = tmp_path / "questions.jsonl"
    rows = [
        {"id": f"q{i}", "category": "writing", "turns": [f"Say {i} red.", "Say blue."]}
        for i in range(3)
    ]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    document = {
        "name": "Judged",
        "base": {"model": str(pocket_base), "own": True},
        "evaluation": {
            "judge": {
                "name": "llm",
                "serve": str(pocket_base),
                "engine": {"name": "vllm", **{k: str(v) for k, v in vllm_parts.how().items()}},
                "rating_prompts": str(write_forms(tmp_path / "judge_prompts.jsonl", FORMS)),
                "max_tokens": 16,
                # Left alone it gives no rating at all: so it draws one of these.
                "extra_body": {"structured_outputs": {"choice": SAYS}, "seed": 7},
                "temperature": 2.0,
                "annotator": str(_template(tmp_path)),
            },
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
        },
        "variants": ["w4a16_rtn"],
        "card": {"title": "Judged", "license": "apache-2.0"},
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def _template(folder: Path) -> Path:
    file = folder / "short.txt"
    turn = "m or M? {instruction} {output_1} {output_2}"
    file.write_text(f"<|im_start|>user\n{turn}<|im_end|>")
    return file


def _evaluate(recipe: Path, folder: Path, *flags: str) -> Any:
    words = [sys.executable, "-m", "evalkit.cli", "evaluate", str(recipe)]
    words += ["--out", str(folder / "run"), "--json", *flags]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("children", ["never", "always"])
def test_one_server_judges_both_benchmarks_of_all_checkpoints(
    recipe: Path, tmp_path: Path, pocket_base: Path, children: str
) -> None:
    """Also where every step is a process of its own; and the server ends with the run."""
    done = _evaluate(recipe, tmp_path, "--children", children)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("starting vLLM") == 1, done.stderr[-3000:]
    assert not vllm_parts.processes(f"--model {pocket_base}")
    files = sorted((tmp_path / "run" / "steps").glob("eval-*/result.json"))
    results = {file.parent.name: json.loads(file.read_text()) for file in files}
    assert len(results) == 4
    for name, result in results.items():
        judge = result["provenance"]["judge"]
        assert judge["endpoint"] == "served here"
        assert len(judge["weights"]) == 64
        assert judge["engine"]["engine"] == "vllm"
        audit = result["provenance"]["judge_audit"]
        first = result["scores"][0]
        assert audit["verdicts"] == 6, name
        assert audit["missing"] == 6 - first["n"] == first["missing"]
        assert audit["self_preference"], "base and judge are one model"
