"""What scoring is measured on: real documents under the harness's own templates, a random Llama.

The tokenizer is learned from the documents themselves. HellaSwag's file is a text dump without a
train split: its shots are drawn from the validation file, and its lines are labelled so.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from training_vs_trl_arms.world import SHAPES, write_model

VOCABULARY = 16_000
# Documents of a task that are measured unless told otherwise; of MMLU, in each of two subjects.
DOCUMENTS = {"arc_challenge": 8, "hellaswag": 8, "truthfulqa_mc2": 24, "mmlu": 30}
SHOTS = {"arc_challenge": 25, "hellaswag": 10, "truthfulqa_mc2": 0, "mmlu": 5}
LABELS = {
    "arc_challenge": "ARC-Challenge, 25-shot",
    "hellaswag": "HellaSwag, 10-shot (shots from the validation file)",
    "truthfulqa_mc2": "TruthfulQA mc2",
    "mmlu": "MMLU, 5-shot",
}
SUBJECTS = ("anatomy", "high_school_geography")
TEXTS = ("arc_challenge", "hellaswag", "truthfulqa_mc", "mmlu", "mmlu_dev", "winogrande", "gsm8k")


class Asked(NamedTuple):
    """One request of the harness: a choice of a document."""

    document: str
    context: str
    continuation: str


def write_world(folder: Path, model: str, data: Path) -> None:
    """A random Llama of the named size, with a byte-level BPE tokenizer of the documents."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    assert SHAPES[model].vocabulary == VOCABULARY
    write_model(folder, model, "float32")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    learner = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(data), learner)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)


def requests_of(task: str, data: Path, work: Path, documents: int) -> list[Asked]:
    """The requests of the first documents of a task, as the harness builds them."""
    from lm_eval.tasks import TaskManager

    work.mkdir(parents=True, exist_ok=True)
    for name, definition in _definitions(task, data, work).items():
        (work / f"{name}.yaml").write_text(json.dumps({"task": name, **definition}))
    manager = TaskManager(include_path=str(work), include_defaults=False)
    names = [f"mmlu_{subject}" for subject in SUBJECTS] if task == "mmlu" else [task]
    asked: list[Asked] = []
    for name, loaded in manager.load(names)["tasks"].items():
        loaded.set_config(key="num_fewshot", value=SHOTS[task])
        loaded.set_fewshot_seed(seed=1234)
        loaded.build_all_requests(limit=documents)
        asked += [Asked(f"{name}/{one.doc_id}", *one.args) for one in loaded.instances]
    return asked


def _definitions(task: str, data: Path, work: Path) -> dict[str, dict[str, Any]]:
    """Definitions that include the packaged ones and replace their data alone."""
    import lm_eval

    home = Path(lm_eval.__file__).parent / "tasks"

    def local(stock: str, **files: Path) -> dict[str, Any]:
        named = {split: str(file.absolute()) for split, file in files.items()}
        return {
            "include": str(home / stock),
            "dataset_path": "json",
            "dataset_name": None,
            "dataset_kwargs": {"data_files": named},
        }

    if task == "arc_challenge":
        train, test = data / "arc_challenge_train.jsonl", data / "arc_challenge.jsonl"
        return {task: local("arc/arc_challenge.yaml", train=train, test=test)}
    if task == "hellaswag":
        definition = local("hellaswag/hellaswag.yaml", validation=data / "hellaswag.jsonl")
        # The file holds query and endings already processed.
        changes = {"training_split": None, "process_docs": None, "doc_to_choice": "{{endings}}"}
        return {task: {**definition, **changes}}
    if task == "truthfulqa_mc2":
        file = data / "truthfulqa_mc.jsonl"
        return {task: local("truthfulqa/truthfulqa_mc2.yaml", validation=file)}
    found = {}
    for subject in SUBJECTS:
        files = {
            split: _of_subject(data / name, subject, work / f"{subject}_{name}")
            for split, name in (("test", "mmlu.jsonl"), ("dev", "mmlu_dev.jsonl"))
        }
        found[f"mmlu_{subject}"] = local(f"mmlu/default/mmlu_{subject}.yaml", **files)
    return found


def _of_subject(file: Path, subject: str, target: Path) -> Path:
    kept = [line for line in _lines(file) if json.loads(line)["subject"] == subject]
    target.write_text("\n".join(kept) + "\n", "utf-8")
    return target


def _texts(data: Path) -> Iterator[str]:
    for name in TEXTS:
        for line in _lines(data / f"{name}.jsonl"):
            yield from _strings(json.loads(line))


def _lines(file: Path) -> list[str]:
    # Not `splitlines`, for which characters within a document end a line, too.
    return file.read_text("utf-8").rstrip("\n").split("\n")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _strings(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def written(asked: Sequence[Asked]) -> str:
    """Requests as JSON, for another process."""
    return json.dumps([list(one) for one in asked])
