"""Length-controlled win rates: our fit against alpaca_eval's own, and the paired bootstrap.

The recorded judgements of `golden/alpaca`; both sides fit the same rows in turn, several times,
and the best time of each counts. alpaca_eval's is its `fit_LogisticRegressionCV` on a ready
design matrix, ours begins with lengths and preferences. The baseline is among the twelve models
and is not fitted: against itself its win rate is 50.

    python perf/lc_vs_alpaca_eval.py
    python perf/lc_vs_alpaca_eval.py --shared ../shared --repeats 20
"""

import argparse
import gzip
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from measuring import record
from threadpoolctl import threadpool_limits

from evalkit.metrics import alpaca_eval_data, liblinear
from evalkit.metrics import length_controlled_glm as glm
from evalkit.metrics.alpaca_eval_data import Auxiliary
from evalkit.metrics.length_controlled_bootstrap import DRAWS, Entrant, redrawn_win_rates

ROOT = Path(__file__).parent.parent
CLAIMED_PINNED, CLAIMED_CHOSEN, CLAIMED_BOOTSTRAP_S = 8.0, 4.0, 2.0
EXACT = 1e-9
PINNED_C = 2.782559402207126  # what cross-validation chooses most often
PAIR = ("FuseChat-Gemma-2-9B-Instruct", "FuseChat-Llama-3.1-8B-Instruct")


class Line(NamedTuple):
    """One model: milliseconds of both sides, and how far their coefficients differ."""

    model: str
    theirs_pinned_ms: float
    ours_pinned_ms: float
    theirs_chosen_ms: float
    ours_chosen_ms: float
    C: float
    same_C: bool
    differs: float


def main() -> None:
    """Measures, prints the tables, keeps the figures; exit code 1 where the fits differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--json", type=Path, default=ROOT / "perf/results/lc_vs_alpaca_eval.json")
    arguments = parser.parse_args()
    folder = arguments.shared / "golden" / "alpaca"
    if not folder.is_dir():
        sys.exit(f"there are no recorded judgements in {folder}: give --shared")
    warnings.simplefilter("ignore")  # scikit-learn's, about what alpaca_eval asks of it
    auxiliary = alpaca_eval_data.read(folder)
    models = {file.name.removesuffix(".jsonl.gz"): outcomes(file, auxiliary)
              for file in sorted(folder.glob("*.jsonl.gz"))}  # fmt: skip
    fitted = {name: one for name, one in models.items() if one.delta_N.any()}
    with threadpool_limits(1):  # rows are few: on either side more threads would only wait
        lines = [line(name, one, auxiliary, arguments.repeats) for name, one in fitted.items()]
    bootstrap_s = bootstrap([models[name] for name in PAIR], auxiliary, arguments.draws)
    print(table(lines, bootstrap_s, arguments.draws))
    keep(arguments, lines, bootstrap_s)
    if not all(one.same_C and one.differs <= EXACT for one in lines):
        sys.exit("the fits are not the same")


def outcomes(file: Path, auxiliary: Auxiliary) -> glm.Outcomes:
    """A model's recorded rows."""
    with gzip.open(file, "rt") as text:
        rows = [json.loads(row) for row in text]
    won_N = np.array([row["preference"] for row in rows]) - 1
    delta_N = np.array([row["len_reference"] - row["len_model"] for row in rows], float)
    return glm.Outcomes(won_N, delta_N, auxiliary.difficulty_N[: len(rows)])


def line(name: str, one: glm.Outcomes, auxiliary: Auxiliary, repeats: int) -> Line:
    """Both sides in turn, pinned and with C chosen."""
    theirs = fit_of_alpaca_eval(one, auxiliary)
    found: dict[str, Any] = {}
    best_s: dict[str, float] = {}
    arms: dict[str, Callable[[], Any]] = {
        "theirs_pinned": lambda: theirs(n_splits=0, C=PINNED_C),
        "ours_pinned": lambda: glm.fit(one, auxiliary.gamed, PINNED_C),
        "theirs_chosen": lambda: theirs(n_splits=5),
        "ours_chosen": lambda: glm.fit(one, auxiliary.gamed),
    }
    for _ in range(repeats):
        for arm, run in arms.items():
            begun = time.perf_counter()
            found[arm] = run()
            taken = time.perf_counter() - begun
            best_s[arm] = min(taken, best_s.get(arm, taken))
    pairs = [(found["theirs_pinned"], found["ours_pinned"]),
             (found["theirs_chosen"], found["ours_chosen"])]  # fmt: skip
    differs = max(np.abs(them.coef_[0] - np.array(us.weights)).max() for them, us in pairs)
    chosen = found["ours_chosen"].C
    times = (1000 * best_s[arm] for arm in arms)
    same = bool(np.isclose(found["theirs_chosen"].C_[0], chosen))
    return Line(name, *times, chosen, same, float(differs))


def fit_of_alpaca_eval(one: glm.Outcomes, auxiliary: Auxiliary) -> Callable[..., Any]:
    """Its own function on the design matrix that it would make, as data frames."""
    import pandas as pd
    from alpaca_eval.metrics.glm_winrate import fit_LogisticRegressionCV

    features_KN, won_N, weights_N = glm.training_rows(one, auxiliary.gamed)
    frame = pd.DataFrame(features_KN.T, columns=["length", "difficulty", "bias"])
    frame["preference"] = won_N
    weights = pd.Series(weights_N)
    return lambda **words: fit_LogisticRegressionCV(
        frame, "preference", sample_weight=weights, **words
    )


def bootstrap(pair: list[glm.Outcomes], auxiliary: Auxiliary, draws: int) -> float:
    """Seconds for the paired draws of two models, both refitted in each; the best of three."""
    entrants = [Entrant(one, PINNED_C, np.arange(len(one.won_N))) for one in pair]
    taken = []
    for seed in range(3):
        begun = time.perf_counter()
        redrawn_win_rates(entrants, auxiliary.gamed, seed, draws=draws)
        taken.append(time.perf_counter() - begun)
    return min(taken)


def ratios(lines: list[Line]) -> dict[str, dict[str, float]]:
    """Over the models: the median and the least of theirs / ours."""
    pinned = [one.theirs_pinned_ms / one.ours_pinned_ms for one in lines]
    chosen = [one.theirs_chosen_ms / one.ours_chosen_ms for one in lines]
    return {
        "pinned C": {"median": round(median(pinned), 2), "least": round(min(pinned), 2)},
        "C chosen": {"median": round(median(chosen), 2), "least": round(min(chosen), 2)},
    }


def table(lines: list[Line], bootstrap_s: float, draws: int) -> str:
    """Markdown: milliseconds by model, ratios, and what is claimed of them."""
    head = (
        "| model | pinned: theirs ms | ours | ratio | chosen: theirs ms | ours | ratio | differs |"
    )
    rows = [
        f"| {one.model} | {one.theirs_pinned_ms:.2f} | {one.ours_pinned_ms:.2f}"
        f" | {one.theirs_pinned_ms / one.ours_pinned_ms:.1f}x | {one.theirs_chosen_ms:.0f}"
        f" | {one.ours_chosen_ms:.1f} | {one.theirs_chosen_ms / one.ours_chosen_ms:.1f}x"
        f" | {one.differs:.0e}{'' if one.same_C else ', another C'} |"
        for one in lines
    ]
    found = ratios(lines)
    claims = {"pinned C": CLAIMED_PINNED, "C chosen": CLAIMED_CHOSEN}
    summary = [
        f"{what}: {found[what]['median']:.1f}x (median), {found[what]['least']:.1f}x (least);"
        f" claimed {claim:.0f}x"
        for what, claim in claims.items()
    ]
    cores = len(os.sched_getaffinity(0))
    summary.append(
        f"{draws} paired draws, both models refitted: {bootstrap_s:.2f} s on {cores} cores;"
        f" claimed under {CLAIMED_BOOTSTRAP_S:.0f} s for {DRAWS} on 2"
    )
    return "\n".join([head, "|---|---|---|---|---|---|---|---|", *rows, "", *summary])


def keep(arguments: argparse.Namespace, lines: list[Line], bootstrap_s: float) -> None:
    """Writes the figures with hardware, versions and command."""
    content = {
        "pinned_C": PINNED_C,
        "repeats": arguments.repeats,
        "models": [one._asdict() for one in lines],
        "ratios": ratios(lines),
        "bootstrap": {"models": PAIR, "draws": arguments.draws, "seconds": round(bootstrap_s, 3)},
        "tolerance": {"coefficients": EXACT, "solver": liblinear.TOLERANCE},
    }
    record.keep(arguments.json, content, ("alpaca_eval", "scikit-learn", "numpy", "pandas"))


if __name__ == "__main__":
    main()
