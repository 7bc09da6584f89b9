"""Multiple-choice scoring of evalkit against lm-evaluation-harness's own `hf` model.

The same random Llama, the real documents of four tasks under the harness's own templates, one
process per arm and task, all arms in turn and again. Each task is compared with the quickest of
the `hf` model's batch sizes 1, 2 and 8. `tree` is how many tokens the requests have for one of
their prefix tree, single-token choices of one context counted once, as the `hf` model does, too.

    python perf/scoring_vs_lm_eval.py                                20m, fp32, on a CPU
    python perf/scoring_vs_lm_eval.py --model 85m                    whose head is little work
    python perf/scoring_vs_lm_eval.py --device cuda --dtype bfloat16 --model 1b
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from measuring import record
from scoring_vs_lm_eval_arms.world import (
    DOCUMENTS,
    LABELS,
    Asked,
    requests_of,
    write_world,
    written,
)
from training_vs_trl_arms.world import SHAPES

HERE = Path(__file__).parent
HF_ARMS = ("hf_1", "hf_2", "hf_8")
# At least so many times as fast as the best batch size (20m, fp32, CPU), and so near in nats.
TARGETS = {"arc_challenge": 4.0, "hellaswag": 4.5, "truthfulqa_mc2": 12.0, "mmlu": 4.0}
HEAD_LIGHT_SHARE = 0.85  # of the tree ratio, of the 85m model
MEMORY_TARGET = 8.0
TOLERANCE_NATS = {"float32": 1e-4}
TIE_NATS = 2e-4


class Line(NamedTuple):
    """One task. ratio, memory: of the best batch size to evalkit; memory_8: of batch size 8."""

    task: str
    documents: int
    best_batch_size: int
    hf_s: dict[str, float]
    evalkit_s: float
    ratio: float
    tree: float
    share_of_tree: float
    target: float
    max_difference_nats: float
    unequal_greedy: int
    unequal_predictions: int
    ties: int
    hf_peak_mb: float
    evalkit_peak_mb: float
    memory: float
    memory_8: float


def main() -> None:
    """Measures, prints a table, keeps it with hardware and command."""
    arguments = parsed()
    lines = []
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        write_world(folder / "model", arguments.model, arguments.data)
        for task in arguments.tasks:
            count = round(DOCUMENTS[task] * arguments.docs)
            asked = requests_of(task, arguments.data, folder / task, max(1, count))
            lines.append(measured(task, asked, folder, arguments))
            print_table([lines[-1]], arguments)
    print_table(lines, arguments)
    keep(lines, arguments)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="20m", choices=SHAPES)
    parser.add_argument("--tasks", nargs="+", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--docs", type=float, default=1.0, help=f"times {DOCUMENTS}")
    parser.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "benchdata")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--token-budget", type=int, help="of evalkit; default its own choice")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", type=Path, help="default perf/results/scoring_vs_lm_eval_...json")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        sys.exit(f"no folder {arguments.data}: give the benchmarks' documents with --data")
    return arguments


def measured(
    task: str, asked: Sequence[Asked], folder: Path, arguments: argparse.Namespace
) -> Line:
    """All arms in turn, as often as asked for; the quickest run and the least memory of each."""
    requests = folder / f"{task}.json"
    requests.write_text(written(asked))
    runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ("evalkit", *HF_ARMS)}
    for _ in range(arguments.repeats):
        for arm, found in runs.items():
            found.append(run(arm, folder / "model", requests, arguments))
    seconds = {arm: min(one["seconds"] for one in found) for arm, found in runs.items()}
    peak_mb = {arm: min(one["peak_bytes"] for one in found) / 1e6 for arm, found in runs.items()}
    best = min(HF_ARMS, key=lambda arm: seconds[arm])
    ours, theirs = (runs[arm][0]["answers"] for arm in ("evalkit", best))
    tokens = runs["evalkit"][0]["tokens"]
    ratio, tree = seconds[best] / seconds["evalkit"], tokens["merged"] / tokens["tree"]
    light = arguments.model != "20m"
    wrong, ties = predictions(asked, ours, theirs)
    return Line(
        task=task,
        documents=len({one.document for one in asked}),
        best_batch_size=int(best.removeprefix("hf_")),
        hf_s={arm: seconds[arm] for arm in HF_ARMS},
        evalkit_s=seconds["evalkit"],
        ratio=ratio,
        tree=tree,
        share_of_tree=ratio / tree,
        target=HEAD_LIGHT_SHARE * tree if light else TARGETS[task],
        max_difference_nats=max(abs(a[0] - b[0]) for a, b in zip(ours, theirs, strict=True)),
        unequal_greedy=sum(a[1] != b[1] for a, b in zip(ours, theirs, strict=True)),
        unequal_predictions=wrong,
        ties=ties,
        hf_peak_mb=peak_mb[best],
        evalkit_peak_mb=peak_mb["evalkit"],
        memory=peak_mb[best] / peak_mb["evalkit"],
        memory_8=peak_mb["hf_8"] / peak_mb["evalkit"],
    )


def run(arm: str, model: Path, requests: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One arm in a process of its own."""
    words = [sys.executable, str(HERE / "scoring_vs_lm_eval_arms" / "arm.py"), arm, str(model)]
    words += [str(requests), "--device", arguments.device, "--dtype", arguments.dtype]
    if arguments.token_budget is not None:
        words += ["--token-budget", str(arguments.token_budget)]
    paths = {**os.environ, "PYTHONPATH": str(HERE)}
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=paths)
    if done.returncode:
        sys.exit(f"{arm} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"  {requests.stem} {arm}: {found['seconds']:.2f} s, {found['peak_bytes'] / 1e6:.0f} MB",
        file=sys.stderr,
    )
    return found


def predictions(
    asked: Sequence[Asked], ours: Sequence[Any], theirs: Sequence[Any]
) -> tuple[int, int]:
    """Documents whose predicted choice differs, by either accuracy; and those of which a tie is.

    A tie: their two best choices lie within TIE_NATS, in nats (acc) or nats a character (acc_norm).
    """
    documents: dict[str, list[int]] = {}
    for index, one in enumerate(asked):
        documents.setdefault(one.document, []).append(index)
    wrong = ties = 0
    for members in documents.values():
        # acc_norm divides by the characters of the choice, without the space before it.
        lengths = [len(asked[index].continuation) - 1 for index in members]
        for divisors in ([1] * len(members), lengths):
            mine, other = (
                [answers[i][0] / n for i, n in zip(members, divisors, strict=True)]
                for answers in (ours, theirs)
            )
            if mine.index(max(mine)) != other.index(max(other)):
                first, second = sorted(other, reverse=True)[:2]
                is_tie = first - second <= TIE_NATS / min(divisors)
                ties += is_tie
                wrong += not is_tie
    return wrong, ties


def print_table(lines: Sequence[Line], arguments: argparse.Namespace) -> None:
    """A Markdown table; every ratio is to the `hf` model's best batch size of the task."""
    print(f"\n{arguments.model}, {arguments.dtype}, {arguments.device}\n")
    print(
        "| task | docs | hf bs1 / bs2 / bs8 s | evalkit s | ratio (at least) | tree | of tree"
        " | max diff, nats | greedy, answers unlike (ties) | peak MB, hf / evalkit | memory (bs8) |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for line in lines:
        print(
            f"| {LABELS[line.task]} | {line.documents}"
            f" | {' / '.join(f'{line.hf_s[arm]:.2f}' for arm in HF_ARMS)} | {line.evalkit_s:.2f}"
            f" | {line.ratio:.2f}x ({line.target:.2f}x) | {line.tree:.2f}"
            f" | {line.share_of_tree:.2f} | {line.max_difference_nats:.1e}"
            f" | {line.unequal_greedy}, {line.unequal_predictions} ({line.ties})"
            f" | {line.hf_peak_mb:.0f} / {line.evalkit_peak_mb:.0f}"
            f" | 1/{line.memory:.1f} (1/{line.memory_8:.1f}) |"
        )
    print(*told(lines, arguments), sep="\n")


def told(lines: Sequence[Line], arguments: argparse.Namespace) -> list[str]:
    """What falls short of what is promised."""
    tolerance = TOLERANCE_NATS.get(arguments.dtype)
    found = []
    for line in lines:
        if line.ratio < line.target:
            found.append(f"{line.task}: {line.ratio:.2f}x, at least {line.target:.2f}x is promised")
        if tolerance and line.max_difference_nats > tolerance:
            found.append(f"{line.task}: log-likelihoods differ by {line.max_difference_nats:.1e}")
        if tolerance and (line.unequal_greedy or line.unequal_predictions):
            found.append(f"{line.task}: greedy flags or answers differ")
        if line.memory < MEMORY_TARGET:
            found.append(f"{line.task}: memory is 1/{line.memory:.1f} of the best batch size's")
    return found or ["everything promised is met"]


def keep(lines: Sequence[Line], arguments: argparse.Namespace) -> None:
    """Writes the figures with hardware, versions and command."""
    name = f"scoring_vs_lm_eval_{arguments.model}_{arguments.dtype}_{arguments.device}.json"
    content = {"labels": LABELS, "lines": [line._asdict() for line in lines]}
    file = arguments.json or HERE / "results" / name
    record.keep(file, content, ("lm_eval", "torch", "transformers"), arguments.device)


if __name__ == "__main__":
    main()
