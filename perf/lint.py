"""How long `evalkit card lint` takes, its start included: for one card, and for a thousand.

The cards are generated: sections, tables, numbers, links, code and licences are drawn by chance
from parts of the kinds that real cards have, so that no two are the same and all rules must look.
Beside each time stands Python's own start, and the mere reading of all cards' YAML.

    python perf/lint.py [--cards 1000]
"""

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from measuring import record

from evalkit import frontmatter

ROOT = Path(__file__).parent.parent
CLAIMED_ONE_S, CLAIMED_ALL_S = 1.0, 60.0
CARDS, STARTS = 1_000, 7
COMMAND = ("-m", "evalkit.cli", "card", "lint")
BASES = ("google/gemma-2-9b-it", "meta-llama/Meta-Llama-3-8B-Instruct", "mistralai/Mistral-7B-v0.1",
         "microsoft/phi-2", "Qwen/Qwen2.5-1.5B-Instruct", "owner/brook-7b")  # fmt: skip
LICENCES = ("apache-2.0", "mit", "gemma", "llama3", "cc-by-nc-4.0", "other", "Apache 2.0")
DATASETS = ("openbmb/UltraFeedback", "HuggingFaceH4/ultrachat_200k", "OpenAssistant/oasst1")
TASKS = ("ARC (25-shot)", "HellaSwag (10-shot)", "MMLU (5-shot)", "TruthfulQA (0-shot)",
         "Winogrande (5-shot)", "GSM8K (5-shot)")  # fmt: skip
WORDS = (
    "the model was trained on data of many kinds and answers questions in English with care while"
    " its limits remain those of its base which has seen text up to a certain year and no later"
).split()


def main() -> None:
    """Measures, prints the table, and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cards", type=int, default=CARDS)
    parser.add_argument("--json", type=Path, default=ROOT / "perf/results/lint.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = write_cards(Path(folder), arguments.cards)
        median = sorted(files, key=lambda file: file.stat().st_size)[len(files) // 2]
        one = starts(*COMMAND, str(median))
        python = starts("-c", "pass")
        seconds, findings = linted(files)
        yaml_s = read_yaml(files)
        size_kb = sum(file.stat().st_size for file in files) / 1e3
    report = {
        "load": [round(value, 1) for value in os.getloadavg()],
        "one_card_s": round(one.clock, 3),
        "one_card_cpu_s": round(one.cpu, 3),
        "one_card_claimed_s": CLAIMED_ONE_S,
        "python_alone_s": round(python.clock, 3),
        "cards": len(files),
        "cards_kb": round(size_kb),
        "findings": findings,
        "all_cards_s": round(seconds.clock, 1),
        "all_cards_cpu_s": round(seconds.cpu, 1),
        "all_cards_claimed_s": CLAIMED_ALL_S,
        "yaml_alone_s": round(yaml_s, 2),
        "ratio_to_yaml": round(seconds.cpu / yaml_s, 1),
    }
    for key, value in report.items():
        print(f"{key:<20} {value!s:>16}")
    record.keep(arguments.json, report, ("PyYAML", "pydantic"))


class Seconds(NamedTuple):
    """By the clock, and of CPU cores together, which other work on the machine does not change."""

    clock: float
    cpu: float


def cpu_seconds() -> float:
    """What the processes have used that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def starts(*words: str) -> Seconds:
    """Median seconds of a Python command line, its start included."""
    found = []
    for _ in range(STARTS):
        started, cpu = time.perf_counter(), cpu_seconds()
        subprocess.run([sys.executable, *words], check=False, capture_output=True)
        found.append((time.perf_counter() - started, cpu_seconds() - cpu))
    clock, cpu = (statistics.median(times) for times in zip(*found, strict=True))
    return Seconds(clock, cpu)


def linted(files: list[Path]) -> tuple[Seconds, int]:
    """Seconds of the command for all cards, and how many findings it tells."""
    started, cpu = time.perf_counter(), cpu_seconds()
    done = subprocess.run(
        [sys.executable, *COMMAND, "--json", *map(str, files)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    seconds = Seconds(time.perf_counter() - started, cpu_seconds() - cpu)
    cards = json.loads(done.stdout)["cards"]
    assert len(cards) == len(files)
    return seconds, sum(len(card["findings"]) for card in cards)


def read_yaml(files: list[Path]) -> float:
    """Seconds in which one process reads the metadata of all cards, and does nothing else."""
    texts = [frontmatter.split(file.read_text("utf-8"))[0] or "" for file in files]
    started = time.process_time()
    for text in texts:
        yaml.safe_load(text)
    return time.process_time() - started


def write_cards(folder: Path, count: int) -> list[Path]:
    """Writes generated cards, the same ones every time."""
    rng = random.Random(0)
    files = []
    for number in range(count):
        file = folder / f"{number:04}.md"
        file.write_text(card(rng, number), "utf-8")
        files.append(file)
    return files


def card(rng: random.Random, number: int) -> str:
    """One card: metadata, then parts in the order of their kind."""
    base, name = rng.choice(BASES), f"brook-{rng.choice((3, 7, 8, 9))}b-Iter{number % 4}"
    scores = [round(rng.uniform(20, 90), 2) for _ in TASKS]
    metadata: dict[str, Any] = {
        "license": rng.choice(LICENCES),
        "base_model": base,
        "language": rng.sample(["en", "de", "fr"], rng.randint(1, 3)),
        "datasets": rng.sample(DATASETS, rng.randint(0, 3)),
        "tags": ["sppo", "conversational"],
    }
    if rng.random() < 0.5:
        metadata["model-index"] = [{"name": name, "results": [result(*row) for row in
                                    zip(TASKS, scores, strict=True)]}]  # fmt: skip
    parts = [
        f"# {name}",
        f"A {rng.choice(('7B', '8B', '9 billion'))} parameter model fine-tuned from [{base}]"
        f"(https://huggingface.co/{base}) with {rng.choice(('SPPO', 'DPO', 'SPIN'))}."
        f" Context length: {rng.choice((2048, 8192, 16384))} tokens.",
        f"- License: {rng.choice(LICENCES)}\n- Language(s): {rng.choice(('English', 'German'))}",
    ]
    bodies = [part(rng, name, scores) for part in rng.choices(PARTS, k=rng.randint(4, 14))]
    return f"---\n{yaml.safe_dump(metadata)}---\n" + "\n\n".join(parts + bodies) + "\n"


def result(task: str, value: float) -> dict[str, Any]:
    """One result of `model-index`."""
    return {
        "task": {"type": "text-generation", "name": "Text Generation"},
        "dataset": {"name": task, "type": "gsm8k", "args": {"num_few_shot": 5}},
        "metrics": [{"type": "acc", "value": value, "name": "accuracy"}],
    }


def prose(rng: random.Random, name: str, scores: list[float]) -> str:
    """A section with sentences, some of which tell a score."""
    sentences = []
    for _ in range(rng.randint(2, 8)):
        sentence = " ".join(rng.choices(WORDS, k=rng.randint(6, 25))).capitalize()
        sentences.append(sentence + rng.choice(("", f", {name} with {rng.choice(scores)}")) + ".")
    title = rng.choice(("Usage", "Training", "Limitations", "Evaluation", "Notes"))
    return f"## {title}\n\n" + " ".join(sentences)


def table(rng: random.Random, name: str, scores: list[float]) -> str:
    """A leaderboard's table, the average right or not."""
    mean = round(sum(scores) / len(scores) + rng.choice((0, 0, 0, 0.4)), 2)
    rows = zip(("Avg.", *TASKS), (mean, *scores), strict=True)
    return "## Results\n\n| Metric | Value |\n|---|---:|\n" + "\n".join(
        f"|{k}|{v}|" for k, v in rows
    )


def family(rng: random.Random, name: str, scores: list[float]) -> str:
    """A table of models with links."""
    rows = [
        f"| [{name[:-1]}{n}](https://huggingface.co/owner/{name[:-1]}{n}) |"
        f" {rng.uniform(20, 60):.2f} | {rng.uniform(20, 60):.2f} | {rng.randint(900, 2200)} |"
        for n in range(rng.randint(1, 6))
    ]
    head = "| Model | LC. Win Rate | Win Rate | Avg. Length |\n|---|---|---|---|\n"
    return "## AlpacaEval\n\n" + head + "\n".join(rows)


def code(rng: random.Random, name: str, scores: list[float]) -> str:
    """A block of Python, sometimes without one of its imports."""
    imports = rng.sample(["import torch", "from transformers import AutoModelForCausalLM"], 2)
    body = f'model = AutoModelForCausalLM.from_pretrained("owner/{name}", dtype=torch.bfloat16)'
    return (
        "```python\n" + "\n".join([*imports[: rng.randint(1, 2)], body, "print(model)"]) + "\n```"
    )


def links(rng: random.Random, name: str, scores: list[float]) -> str:
    """A list of links to data sets, papers and mirrors."""
    places = [f"https://huggingface.co/datasets/{one}" for one in DATASETS]
    places += ["https://arxiv.org/abs/2405.00675", f"https://hf-mirror.com/{rng.choice(BASES)}"]
    return "\n".join(f"- [{place[8:30]}]({place})" for place in rng.sample(places, 3))


PARTS = (prose, prose, prose, table, family, code, links)

if __name__ == "__main__":
    main()
