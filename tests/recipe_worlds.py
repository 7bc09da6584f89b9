"""Small worlds in which the recipes of `recipes/` run: a tiny base, local data, local tasks.

A world changes a recipe through `--set` alone, and only what points outside this machine (base,
prompts, PairRM, benchmark data, judge, Hub) or costs time (tokens, batches, samples).
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from recipe_bases import write_base

RECIPES = Path(__file__).parent.parent / "recipes"
PROMPTS = 4  # of an iteration
DOCUMENTS = 3  # of a task of the harness, an instruction set, a question set
SOURCE = "file"
WORDS = "river stone cloud apple field lamp ship house bread glass night road".split()
PLACES = "north of the old mill and the long grey wall beside our town".split()

# What each recipe's base is, and the shape of its prompts.
BASE_OF = {
    "mistral-7b-sppo": "mistral",
    "llama-3-8b-sppo": "llama-3",
    "gemma-2-9b-sppo": "gemma-2",
    "zephyr-7b-spin": "zephyr",
    "phi-2-spin": "phi-2",
    "phi-2-spin-sft-spin": "phi-2",
    "smollm2-135m-sppo": "smollm2",
}

CHOICE = """\
task: {task}
dataset_path: json
dataset_name: null
dataset_kwargs: {{data_files: {{train: {train}, test: {test}}}}}
output_type: multiple_choice
fewshot_split: train
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""
EXACT = """\
task: {task}
dataset_path: json
dataset_name: null
dataset_kwargs: {{data_files: {{train: {train}, test: {test}}}}}
output_type: generate_until
fewshot_split: train
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{target}}}}"
generation_kwargs: {{until: ["."], max_gen_toks: 4, do_sample: false}}
filter_list:
  - {{name: strict-match, filter: [{{function: take_first}}]}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""
GROUP = """\
group: mmlu
task: [mmlu_rivers]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
"""
# The forms of FastChat's judge_prompts.jsonl that single-answer grading takes.
FORMS = {
    "single-v1": "{question} {answer}",
    "single-math-v1": "{question} {ref_answer_1} {answer}",
    "single-v1-multi-turn": "{question_1} {answer_1} {question_2} {answer_2}",
    "single-math-v1-multi-turn": (
        "{question_1} {ref_answer_1} {question_2} {ref_answer_2} {answer_1} {answer_2}"
    ),
}
# Names of the leaderboard's tasks, so that the recipe's own lists and shots apply to them.
CHOICES = ("arc_challenge", "hellaswag", "mmlu_rivers", "truthfulqa_mc2", "winogrande")


def evalkit(*words: str) -> int:
    """Runs the command in this process, which saves a test the imports; its exit code."""
    from evalkit.cli import main

    try:
        main(list(words))
    except SystemExit as exit_:
        return int(exit_.code or 0)
    raise AssertionError("the command did not say how it ended")


class World(NamedTuple):
    """What one recipe needs to run here: the `--set` overrides that lead it to local data."""

    base: Path
    overrides: tuple[str, ...]

    def flags(self) -> list[str]:
        """The overrides as words of the command line."""
        return [word for override in self.overrides for word in ("--set", override)]


def make_world(recipe: str, folder: Path, pair_rm: Path, judge_url: str) -> World:
    """Writes base and data for a recipe of `recipes/` below `folder`.

    pair_rm: a tiny PairRM; judge_url: a server with the model `scripted-judge`.
    """
    plan = yaml.safe_load((RECIPES / f"{recipe}.yaml").read_text("utf-8"))
    base = write_base(BASE_OF[recipe], folder / "base")
    own = {key: plan["base"][key] for key in ("without_bos",) if key in plan["base"]}
    values: dict[str, Any] = {"base": {"model": str(base), **own}, "publish.endpoint": "local"}
    # No card may say that these are models of billions of parameters.
    values["name"] = values["card.title"] = sizeless(plan["name"])
    values["card.summary"] = values["card.limitations"] = "A tiny model that shows the road."
    values |= _judge(plan["evaluation"]["judge"]["name"], folder, pair_rm, judge_url)
    for number, stage in enumerate(plan["stages"]):
        values |= dict(_stage(recipe, number, stage, folder, pair_rm))
    for number, benchmark in enumerate(plan["evaluation"]["benchmarks"]):
        values |= dict(_benchmark(f"evaluation.benchmarks.{number}", benchmark, folder))
    return World(base, tuple(f"{key}={json.dumps(value)}" for key, value in values.items()))


def sizeless(name: str) -> str:
    """A family's name without the size of its models."""
    return re.sub(r"-?\d+(?:\.\d+)?[BMbm](?=-|$)", "", name)


def _judge(name: str, folder: Path, pair_rm: Path, url: str) -> dict[str, Any]:
    key = "evaluation.judge"
    if name == "pair_rm":
        return {f"{key}.model": str(pair_rm)}
    rows = [
        {"name": form, "system_prompt": "Rate.", "prompt_template": text,
         "output_format": "[[rating]]"}
        for form, text in FORMS.items()
    ]  # fmt: skip
    prompts = _write_rows(folder / "judge_prompts.jsonl", rows)
    return {
        f"{key}.endpoint": url,
        f"{key}.model": "scripted-judge",
        f"{key}.rating_prompts": str(prompts),
    }


def _stage(
    recipe: str, number: int, stage: Mapping[str, Any], folder: Path, pair_rm: Path
) -> Iterator[tuple[str, Any]]:
    key, takes_a_part = f"stages.{number}", "prompts_per_iteration" in stage
    count = PROMPTS * (stage["iterations"] if takes_a_part else 1)
    yield f"{key}.prompts", _source(recipe, 0, count, folder)
    for iteration, changes in enumerate(stage.get("per_iteration", ())):
        if "prompts" in changes:
            source = _source(recipe, iteration, count, folder)
            yield f"{key}.per_iteration.{iteration}.prompts", source
    if takes_a_part:
        yield f"{key}.prompts_per_iteration", PROMPTS
    if "judge" in stage:
        yield f"{key}.judge.model", str(pair_rm)
    if "sampling" in stage:
        yield f"{key}.sampling.max_new_tokens", 6
    # Several steps: the first of a warm-up has learning rate 0.
    yield f"{key}.training.batch_size", 2
    yield f"{key}.training.micro_batch_size", 2
    yield f"{key}.training.log_steps", 1


def _source(recipe: str, part: int, count: int, folder: Path) -> dict[str, str]:
    file = folder / f"prompts-{part}.jsonl"
    _write_rows(file, [_prompt(recipe, part, number) for number in range(count)])
    return {"name": SOURCE, "path": str(file)}


def _benchmark(key: str, options: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, Any]]:
    if options["name"] == "lm_eval_tasks":
        yield f"{key}.include_path", str(_write_tasks(folder / "tasks"))
        return
    yield f"{key}.max_new_tokens", 6
    if options["name"] == "alpaca_eval":
        file = _write_rows(folder / "instructions.jsonl", [_instruction(i) for i in range(4)])
        yield f"{key}.instructions", {"name": SOURCE, "path": str(file)}
    else:
        file = _write_rows(folder / "questions.jsonl", [_question(i) for i in range(DOCUMENTS)])
        yield f"{key}.questions", {"name": SOURCE, "path": str(file)}
        answers = [_reference_answer(i) for i in range(DOCUMENTS)]
        yield f"{key}.reference_answers", str(_write_rows(folder / "gpt-4.jsonl", answers))


def _prompt(recipe: str, part: int, number: int) -> dict[str, Any]:
    """A row in the shape that a recipe's data has, no two alike; `part` tells sets apart."""
    place = " ".join(PLACES[: 4 + number])
    ask = {"role": "user", "content": f"Say why the {WORDS[number]} {part} lies {place}."}
    answer = {"role": "assistant", "content": f"For the {WORDS[number - 1]} is there."}
    name = f"{part}-{number}"
    if recipe == "gemma-2-9b-sppo":  # whose template refuses a system role
        return {"id": name, "messages": [{"role": "system", "content": "Answer briefly."}, ask]}
    if recipe == "zephyr-7b-spin":
        more = {"role": "user", "content": f"And the {WORDS[number + 1]}?"}
        return {"id": name, "messages": [ask, answer, more, answer]}
    if "spin" in recipe:
        return {"id": name, "messages": [ask, answer]}
    return {"id": name, "prompt": ask["content"]}


def _instruction(number: int) -> dict[str, Any]:
    return {"instruction": f"Repeat {WORDS[number]}.", "output": WORDS[number]}


def _question(number: int) -> dict[str, Any]:
    turns = [f"What is a {WORDS[number]}?", "Say it in a word."]
    category = ("writing", "math", "stem")[number % 3]
    return {"id": f"q{number}", "category": category, "turns": turns}


def _reference_answer(number: int) -> dict[str, Any]:
    return {"question_id": f"q{number}", "choices": [{"turns": [WORDS[number]] * 2}]}


def _write_tasks(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    rows = [
        {
            "question": f"{WORDS[i % 12]} and {WORDS[5 * i % 12]}:",
            "choices": [f" {WORDS[(i + k) % 12]}" for k in range(3)],
            "answer": i % 3,
            "target": f" {WORDS[i % 12]}",
        }
        for i in range(26 + DOCUMENTS)  # ARC takes 25 shots
    ]
    files = {
        "train": _write_rows(folder / "train.jsonl", rows[:26]),
        "test": _write_rows(folder / "test.jsonl", rows[26:]),
    }
    for task in CHOICES:
        text = CHOICE.format(task=task, **files)
        if task == "truthfulqa_mc2":  # as the real one: always asked without examples
            text += "num_fewshot: 0\n"
        (folder / f"{task}.yaml").write_text(text, "utf-8")
    (folder / "mmlu.yaml").write_text(GROUP, "utf-8")
    (folder / "gsm8k.yaml").write_text(EXACT.format(task="gsm8k", **files), "utf-8")
    return folder


def _write_rows(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file
