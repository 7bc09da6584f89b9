"""How long it takes to look for the six tasks of Open LLM Leaderboard v1 in 60,000 prompts.

The tasks' items are the real ones (a folder of JSONL files, as in `shared/benchdata`); prompts and
responses are drawn word by word from the items' own words, so that nearly every word is known and
little is skipped, and some hold a stretch of an item, all of which must be found. The peer is the
harness's own Janitor (lm_eval.decontamination, pure Python), on a part of the same prompts.

    python perf/contamination.py [--data ../shared/benchdata]
"""

import argparse
import contextlib
import io
import json
import os
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measuring import record

from evalkit.console import no_progress
from evalkit.contamination.overlap import find_overlap
from evalkit.contamination.words import words as words_of
from evalkit.pipeline import plugins, training_texts
from evalkit.roles import EvaluationItem, PluginRef

ROOT = Path(__file__).parent.parent
CLAIMED_S = 120.0
PROMPTS, PEER_PROMPTS, PLANTED = 60_000, 1_000, 300
PROMPT_WORDS, RESPONSE_WORDS = 120, 220  # about UltraFeedback's
NGRAM, STRETCH = 13, 20


def main() -> None:
    """Measures, prints the table, and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared/benchdata")
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--json", type=Path, default=ROOT / "perf/results/contamination.json")
    arguments = parser.parse_args()
    items = list(items_of(arguments.data))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.jsonl"
        planted = write_prompts(file, items, arguments.prompts)
        found, seconds, cpu_s = measured(file, items)
        peer_words, peer_s = janitor(file, items)
    missed = planted - {(hit.task, hit.id) for hit in found.hits}
    assert not missed, f"planted and not found: {sorted(missed)[:5]}"
    rates = {"evalkit": found.words / cpu_s, "Janitor": peer_words / peer_s}
    report = {
        "load": [round(one, 1) for one in os.getloadavg()],
        "items": len(items),
        "prompts": found.documents,
        "words": found.words,
        "planted": len(planted),
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_s, 1),
        "claimed_seconds": CLAIMED_S,
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
        "words_per_cpu_second": {name: round(rate) for name, rate in rates.items()},
        "ratio": round(rates["evalkit"] / rates["Janitor"], 1),
    }
    for key in (
        "items",
        "prompts",
        "words",
        "planted",
        "seconds",
        "cpu_seconds",
        "peak_memory_gb",
        "ratio",
    ):
        print(f"{key:<16} {report[key]:>14,}")
    record.keep(arguments.json, report)


def measured(file: Path, items: list[EvaluationItem]) -> tuple[Any, float, float]:
    """What is found, and the seconds for reading the prompts and looking for all items.

    Those of a clock, and those of one CPU core, which other work on the machine does not change.
    """
    started, cpu = time.perf_counter(), time.process_time()
    source = plugins.make("sources", PluginRef.model_validate({"name": "file", "path": str(file)}))
    found = find_overlap(items, training_texts.of_source(source), NGRAM, no_progress)
    return found, time.perf_counter() - started, time.process_time() - cpu


def janitor(file: Path, items: list[EvaluationItem]) -> tuple[int, float]:
    """Words of a part of the prompts, and the CPU seconds that the harness's own tool takes."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        from lm_eval.decontamination.janitor import Janitor
    peer = Janitor(ngram_n=NGRAM)
    for item in items:
        for text in item.texts:
            peer.register_contaminant_python(text)
    with file.open(encoding="utf-8") as stream:
        rows = [json.loads(next(stream)) for _ in range(PEER_PROMPTS)]
    texts = [text for row in rows for text in row.values()]
    started = time.process_time()
    for text in texts:
        peer.clean_python(text)
    return sum(len(text.split()) for text in texts), time.process_time() - started


def write_prompts(file: Path, items: list[EvaluationItem], count: int) -> set[tuple[str, str]]:
    """Writes prompts with two responses each; returns task and id of the items that some hold."""
    rng = random.Random(0)
    words = " ".join(item.texts[0] for item in items).split()
    long = [item for item in items if len(words_of(item.texts[0])) > 2 * STRETCH]
    planted = dict(zip(rng.sample(range(count), PLANTED), rng.sample(long, PLANTED), strict=True))
    with file.open("w", encoding="utf-8") as stream:
        for number in range(count):
            row = {
                "prompt": rng.choices(words, k=PROMPT_WORDS),
                "chosen": rng.choices(words, k=RESPONSE_WORDS),
                "rejected": rng.choices(words, k=RESPONSE_WORDS),
            }
            if number in planted:
                text = words_of(planted[number].texts[0])
                start = rng.randrange(len(text) - STRETCH)
                row["chosen"][100:100] = text[start : start + STRETCH]
            stream.write(json.dumps({key: " ".join(row[key]) for key in row}) + "\n")
    return {(item.task, item.id) for item in planted.values()}


def items_of(folder: Path) -> Iterator[EvaluationItem]:
    """Every item of the six tasks: the question with each of its choices, or with its answer."""
    forms = {
        "arc_challenge": lambda r: [f"{r['question']} {c}" for c in r["choices"]["text"]],
        "hellaswag": lambda r: [f"{r['query']} {c}" for c in r["endings"]],
        "mmlu": lambda r: [" ".join([r["question"], *map(str, r["choices"])])],
        "truthfulqa_mc": lambda r: [f"{r['question']} {c}" for c in r["mc2_targets"]["choices"]],
        "winogrande": lambda r: [r["sentence"].replace("_", r[f"option{i}"]) for i in (1, 2)],
        "gsm8k": lambda r: [f"{r['question']} {r['answer']}"],
    }
    for task, form in forms.items():
        with (folder / f"{task}.jsonl").open(encoding="utf-8") as stream:
            for number, line in enumerate(stream):
                yield EvaluationItem(str(number), task, tuple(form(json.loads(line))))


if __name__ == "__main__":
    main()
