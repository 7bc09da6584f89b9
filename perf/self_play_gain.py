"""Does self-play help in the pocket world? Exact match on held-out prompts, all seeds reported.

Arms, each from the same freshly built base: SPPO and SPIN as in the two quickstart recipes (two
iterations), SFT on SPIN's gold prompts for as many epochs, and the base at a lower temperature.
Every number comes from `evalkit evaluate`; differences are paired over the same prompts.

    python perf/self_play_gain.py --seeds 0 1 2 --out runs/self-play-gain
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from measuring import record

from evalkit.stats import paired_bootstrap

ROOT = Path(__file__).parent.parent
SFT_STAGE = (
    "[{method: sft, prompts: {name: pocket, split: self_play, count: 1500},"
    " training: {optimizer: adamw_torch, learning_rate: 5.0e-4, batch_size: 32,"
    " schedule_epochs: 4}}]"
)
LOW_TEMPERATURE = 0.5
GREEDY, SAMPLED, COOLED = "pocket_exact", "pocket_exact_t1", "pocket_exact_cooled"


Interval = tuple[float, float, float]  # value, and the limits of its 95 % interval


class Line(NamedTuple):
    """One checkpoint of one arm: exact match (percent) and the paired difference to the base."""

    seed: int
    arm: str
    checkpoint: str
    greedy: Interval | None
    sampled: Interval | None
    greedy_gain: Interval | None = None
    sampled_gain: Interval | None = None


def main() -> None:
    """Runs all arms for all seeds (finished ones are kept), prints the table, keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/self-play-gain"))
    parser.add_argument("--json", type=Path, default=ROOT / "perf/results/self_play_gain.json")
    arguments = parser.parse_args()
    lines = [line for seed in arguments.seeds for line in of_seed(seed, arguments.out / str(seed))]
    print("| " + " | ".join(Line._fields) + " |")
    print("|" + "---|" * len(Line._fields))
    for line in lines:
        print("| " + " | ".join(shown(value) for value in line) + " |")
    record.keep(arguments.json, {"lines": [line._asdict() for line in lines]})


def of_seed(seed: int, folder: Path) -> Iterator[Line]:
    """All arms from one base."""
    evalkit("train", "quickstart", folder / "base", seed, until="base")
    base = f"base={{model: {folder / 'base' / 'steps' / 'base' / 'checkpoint'}}}"
    tasks = f"[{GREEDY}, {SAMPLED}]"
    arms = {
        "SPPO": ("quickstart", []),
        "SPIN": ("quickstart-spin", []),
        "SFT (control)": ("quickstart-spin", [f"stages={SFT_STAGE}"]),
    }
    for number, (arm, (recipe, changes)) in enumerate(arms.items()):
        run = folder / arm.split()[0].lower()
        evalkit("evaluate", recipe, run, seed, [base, measure(tasks, "pocket"), *changes])
        yield from lines_of(seed, arm, run, with_base=number == 0)
    run = folder / "cooled"
    cooled = measure(f"[{COOLED}]", str(cooled_task(folder)))
    evalkit("evaluate", "quickstart", run, seed, [base, cooled, "stages=[]"])
    score = scores(run, "base")[COOLED]
    gain = difference(folder / "sppo", SAMPLED, run, COOLED)
    arm = f"T={LOW_TEMPERATURE} (control)"
    yield Line(seed, arm, "base", None, interval(score), None, gain)


def lines_of(seed: int, arm: str, run: Path, with_base: bool) -> Iterator[Line]:
    """The checkpoints of one run."""
    gains = differences_to_base(run)
    names = [path.name for path in sorted((run / "steps").glob("eval-*"))]
    for name in (name.removeprefix("eval-").removesuffix("-lm_eval_tasks") for name in names):
        if name == "base" and not with_base:
            continue
        found = scores(run, name)
        values = interval(found[GREEDY]), interval(found[SAMPLED])
        gained = (gains.get((name, task)) for task in (GREEDY, SAMPLED))
        yield Line(seed, "" if name == "base" else arm, name, *values, *gained)


def measure(tasks: str, include_path: str) -> str:
    """The override that measures nothing but these harness tasks."""
    return (
        f"evaluation.benchmarks=[{{name: lm_eval_tasks, tasks: {tasks},"
        f" include_path: {include_path}, apply_chat_template: true}}]"
    )


def cooled_task(folder: Path) -> Path:
    """A folder with the sampled task at a lower temperature."""
    from evalkit.pocket import tasks_folder

    tasks = folder / "tasks"
    tasks.mkdir(parents=True, exist_ok=True)
    (tasks / f"{COOLED}.yaml").write_text(
        f"include: {tasks_folder() / (SAMPLED + '.yaml')}\ntask: {COOLED}\n"
        "generation_kwargs:\n  do_sample: true\n"
        f'  temperature: {LOW_TEMPERATURE}\n  max_gen_toks: 24\n  until: ["\\n"]\n'
    )
    return tasks


def evalkit(
    goal: str, recipe: str, out: Path, seed: int, changes: list[str] | None = None, until: str = ""
) -> None:
    """Runs the real command; nothing is done again that is finished."""
    overrides = [f"seed={seed}", "variants=[]", "publish=null", *(changes or [])]
    if until:
        overrides.append(f"base.builder.seed={seed}")
    command = [sys.executable, "-m", "evalkit.cli", goal, str(ROOT / "recipes" / f"{recipe}.yaml")]
    command += ["--out", str(out), *(f"--set={change}" for change in overrides)]
    command += ["--until", until] if until else []
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def scores(run: Path, checkpoint: str) -> dict[str, dict[str, float]]:
    """Headline score of each task."""
    file = run / "steps" / f"eval-{checkpoint}-lm_eval_tasks" / "result.json"
    rows = json.loads(file.read_text())["scores"]
    return {row["task"]: row for row in reversed(rows)}


def differences_to_base(run: Path) -> dict[tuple[str, str], Interval]:
    """(checkpoint, task) -> paired difference to the base with its interval."""
    rows = json.loads((run / "steps" / "compare" / "comparisons.json").read_text())
    return {
        (row["b"], row["task"]): (row["difference"], row["ci_low"], row["ci_high"])
        for row in rows
        if row["a"] == "base"
    }


def difference(a: Path, task_a: str, b: Path, task_b: str) -> Interval:
    """Paired difference of two sampled tasks over the same prompts, both on the base."""
    first, second = (
        {
            row["id"]: row["metrics"]["exact_match"]
            for line in (run / "steps/eval-base-lm_eval_tasks/samples.jsonl").open()
            if (row := json.loads(line))["task"] == task
        }
        for run, task in ((a, task_a), (b, task_b))
    )
    assert first.keys() == second.keys()
    items = sorted(first)
    found = paired_bootstrap([first[i] for i in items], [second[i] for i in items], seed=0)
    assert found.low is not None
    assert found.high is not None
    return found.value, found.low, found.high


def interval(score: dict[str, float]) -> Interval:
    """A score with the limits of its interval."""
    return score["value"], score["ci_low"], score["ci_high"]


def shown(value: object) -> str:
    """A cell of the table: intervals as `value [low, high]`."""
    if isinstance(value, tuple):
        return "{:.1f} [{:.1f}, {:.1f}]".format(*value)
    return "" if value is None else str(value)


if __name__ == "__main__":
    main()
