"""Tiny tasks of every kind for the harness, a model of ours and requests to it."""

from pathlib import Path
from typing import Any

import benchmark_parts as parts
from lm_eval.api.instance import Instance

from evalkit.benchmarks.lm_eval_scoring import ScoringLM

WORDS = "apple river stone cloud sort list letters count".split()

CHOICE = """
task: tiny_choice
dataset_path: json
dataset_name: null
dataset_kwargs: {{data_files: {{train: {train}, test: {test}}}}}
output_type: multiple_choice
training_split: train
test_split: test
fewshot_split: train
num_fewshot: 2
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: 3.0}}
"""
EXACT = """
task: tiny_exact
dataset_path: json
dataset_name: null
dataset_kwargs: {{data_files: {{train: {train}, test: {test}}}}}
output_type: generate_until
training_split: train
test_split: test
num_fewshot: 0
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{target}}}}"
generation_kwargs: {{until: ["e"], max_gen_toks: 6, do_sample: {sample}, temperature: {degrees}}}
repeats: {repeats}
filter_list:
  - {{name: first, filter: [{{function: take_first}}]}}
  - {{name: upper, filter: [{{function: uppercase}}, {{function: take_first}}]}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""
ROLLING = """
task: tiny_rolling
dataset_path: json
dataset_name: null
dataset_kwargs: {{data_files: {{test: {test}}}}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{{{question}}}}"
metric_list:
  - {{metric: word_perplexity}}
metadata: {{version: 1.0}}
"""


def write_tasks(root: Path) -> Path:
    """Task definitions on local files, with everything awkward in their texts."""
    rows = [
        {
            "question": f"{WORDS[i % 8]} {WORDS[(3 * i) % 8]} ü{i}" + (" " * (i % 3)),
            "choices": [WORDS[(i + k) % 8] + " " * (k % 2) + "x" * k for k in range(3)],
            "answer": i % 3,
            "target": WORDS[i % 8],
        }
        for i in range(16)
    ]
    files = {
        "train": parts.write_lines(root / "train.jsonl", rows[:6]),
        "test": parts.write_lines(root / "test.jsonl", rows[6:]),
    }
    (root / "choice.yaml").write_text(CHOICE.format(**files))
    greedy = {"sample": "false", "degrees": 0.0, "repeats": 1}
    (root / "exact.yaml").write_text(EXACT.format(**files, **greedy))
    warm = EXACT.format(**files, sample="true", degrees=1.0, repeats=1)
    (root / "warm.yaml").write_text(warm.replace("task: tiny_exact", "task: tiny_warm"))
    (root / "rolling.yaml").write_text(ROLLING.format(**files))
    for name in ("tiny_more", "tiny_default"):
        text = CHOICE.format(**files).replace("task: tiny_choice", f"task: {name}")
        (root / f"{name}.yaml").write_text(text)
    average = "aggregate_metric_list: [{metric: acc_norm, weight_by_size: true}]\n"
    (root / "inner.yaml").write_text(
        f"group: tiny_inner\ntask: [tiny_more, tiny_choice]\n{average}"
    )
    (root / "outer.yaml").write_text(f"group: tiny_outer\ntask: [tiny_inner]\n{average}")
    (root / "group.yaml").write_text(
        "group: tiny_group\ntask: [tiny_choice, tiny_exact]\n"
        "aggregate_metric_list: [{metric: acc_norm, weight_by_size: true}]\n"
    )
    return root


def peer(tasks: list[str], folder: Path, loaded: Any, **options: Any) -> dict[str, Any]:
    """The same tasks through the harness's own `hf` model."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    model = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=1)
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return lm_eval.simple_evaluate(
        model=model, tasks=tasks, task_manager=manager, bootstrap_iters=2, **options
    )


def model(loaded: Any, max_length: int | None = None) -> ScoringLM:
    return ScoringLM(loaded, engine=parts.engine(loaded), max_length=max_length)


def ask(kind: str, *arguments: Any) -> list[Instance]:
    return [
        Instance(kind, {}, pair if isinstance(pair, tuple) else (pair,), i, ("t", i, 1))
        for i, pair in enumerate(arguments)
    ]
