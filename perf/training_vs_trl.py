"""A training step of evalkit against TRL's DPOTrainer: useful tokens per second, and peak memory.

The same random Llama, the same pairs, one process per arm, all arms in turn and again; the table
shows the best time of each. `useful tokens` counts a prompt and its responses once, however often
an arm computes them. `with ref` includes the reference pass, which an arm that precomputes it
pays once for all epochs. Memory is the peak above the loaded model.

    python perf/training_vs_trl.py                                   20m, fp32, on a CPU
    python perf/training_vs_trl.py --model 85m
    python perf/training_vs_trl.py --device cuda --model 1b --dtype bfloat16
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from measuring import record
from training_vs_trl_arms.world import SHAPES, write_model

HERE = Path(__file__).parent
PAIR_ARMS = (
    "trl_default", "trl_default_uncheckpointed", "trl_best", "trl_best_checkpointed",
    "evalkit_auto", "evalkit_auto_checkpointed",
)  # fmt: skip
LAYOUT_ARMS = ("evalkit_tree", "evalkit_cache", "evalkit_packed", "evalkit_padded")
GROUP_ARMS = ("plain_padded", "evalkit_auto", "evalkit_cache")
K = 5


class Line(NamedTuple):
    """One arm: the best of its repeats, and ratios to the first arm of its table."""

    arm: str
    train_s: float
    tokens_per_s: float
    with_ref_tokens_per_s: float
    peak_mb: float
    speed: float
    speed_with_ref: float
    memory: float


def main() -> None:
    """Measures, prints two tables, keeps them with hardware and command."""
    arguments = parsed()
    tables: dict[str, list[Line]] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder), arguments.model, "float32")
        chosen = tuple(arguments.arms or PAIR_ARMS)
        pair_arms = chosen + (LAYOUT_ARMS if arguments.layouts else ())
        tables["pairs, sppo_hard"] = measured(pair_arms, folder, arguments, 2, arguments.count)
        groups = measured(GROUP_ARMS, folder, arguments, K, arguments.count // 2)
        tables[f"K = {K}, pointwise"] = groups
    for title, lines in tables.items():
        print_table(f"{arguments.model}, {arguments.dtype}, {arguments.device}: {title}", lines)
    keep(arguments, tables)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="20m", choices=SHAPES)
    parser.add_argument("--count", type=int, default=16, help="pairs")
    parser.add_argument("--batch", type=int, default=8, help="pairs per optimizer step")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--token-budget", type=int, help="of evalkit; default its own choice")
    parser.add_argument("--layouts", action="store_true", help="every layout of evalkit too")
    parser.add_argument("--arms", nargs="+", help="of pairs, the first is compared with")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", type=Path, help="default perf/results/training_vs_trl_...json")
    return parser.parse_args()


def measured(
    arms: tuple[str, ...], folder: str, arguments: argparse.Namespace, responses: int, count: int
) -> list[Line]:
    """All arms in turn, as often as asked for; the quickest run and the least memory of each."""
    runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
    for _ in range(arguments.repeats):
        for arm in arms:
            runs[arm].append(run(arm, folder, arguments, responses, count))
    check_losses({arm: found[0]["losses"] for arm, found in runs.items()})
    lines: list[Line] = []
    for arm, found in runs.items():
        train_s = min(one["train_s"] for one in found)
        both_s = min(one["train_s"] + one["setup_s"] * ("trl_default" not in arm) for one in found)
        peak_mb = min(one["peak_bytes"] for one in found) / 1e6
        speed, with_ref = found[0]["tokens"] / train_s, found[0]["tokens"] / both_s
        first = lines[0] if lines else None
        lines.append(
            Line(
                arm, train_s, speed, with_ref, peak_mb,
                speed / first.tokens_per_s if first else 1.0,
                with_ref / first.with_ref_tokens_per_s if first else 1.0,
                peak_mb / first.peak_mb if first else 1.0,
            )
        )  # fmt: skip
    return lines


def run(
    arm: str, folder: str, arguments: argparse.Namespace, responses: int, count: int
) -> dict[str, Any]:
    """One arm in a process of its own."""
    words = [sys.executable, str(HERE / "training_vs_trl_arms" / "arm.py"), arm, folder]
    for name in ("model", "batch", "device", "dtype", "attention"):
        words += [f"--{name}", str(getattr(arguments, name))]
    words += ["--responses", str(responses), "--count", str(count)]
    if arguments.token_budget is not None:
        words += ["--token-budget", str(arguments.token_budget)]
    paths = {**os.environ, "PYTHONPATH": str(HERE)}
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=paths)
    if done.returncode:
        sys.exit(f"{arm} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {arm}: {found['train_s']:.1f} s", file=sys.stderr)
    return found


def check_losses(losses: dict[str, list[float]]) -> None:
    """Prints how far the arms' mean losses, and so what is computed, differ."""
    # Over all steps: each trainer shuffles in its own way, and so small a rate hardly moves them.
    whole = {arm: sum(values) / len(values) for arm, values in losses.items()}
    first = next(iter(whole.values()))
    worst = max(abs(value - first) / abs(first) for value in whole.values())
    print(f"mean losses of the arms agree to {worst:.1e} (relative)")


def print_table(title: str, lines: list[Line]) -> None:
    """A Markdown table; ratios are to its first line."""
    print(f"\n{title}\n")
    print("| arm | train s | useful tok/s | with ref | peak MB | speed | with ref | memory |")
    print("|---|---|---|---|---|---|---|---|")
    for line in lines:
        print(
            f"| {line.arm} | {line.train_s:.1f} | {line.tokens_per_s:.0f}"
            f" | {line.with_ref_tokens_per_s:.0f} | {line.peak_mb:.0f} | {line.speed:.2f}x"
            f" | {line.speed_with_ref:.2f}x | 1/{1 / line.memory:.1f} |"
        )


def keep(arguments: argparse.Namespace, tables: dict[str, list[Line]]) -> None:
    """Writes the figures with hardware, versions and command."""
    name = f"training_vs_trl_{arguments.model}_{arguments.dtype}_{arguments.device}.json"
    rows = {title: [line._asdict() for line in lines] for title, lines in tables.items()}
    file = arguments.json or HERE / "results" / name
    record.keep(file, {"tables": rows}, ("torch", "transformers", "trl"), arguments.device)


if __name__ == "__main__":
    main()
