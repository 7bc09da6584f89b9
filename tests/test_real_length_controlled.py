"""Length-controlled win rates against alpaca_eval itself, run on the same recorded judgements."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from length_controlled_parts import BASELINE, MODELS, judged, rows

from evalkit.metrics import alpaca_eval_data, liblinear
from evalkit.metrics import length_controlled_glm as glm
from evalkit.metrics.alpaca_eval_data import Auxiliary
from evalkit.metrics.length_controlled import length_controlled_winrate
from evalkit.metrics.win_rate import win_rate_summary

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]
Frame = Any
EXACT = 1e-9


@pytest.fixture(scope="module")
def gold(shared: Path) -> Path:
    return shared / "golden" / "alpaca"


@pytest.fixture(scope="module")
def auxiliary(gold: Path) -> Auxiliary:
    return alpaca_eval_data.read(gold)


@pytest.fixture(scope="module")
def theirs(gold: Path) -> Iterator[Any]:
    """alpaca_eval's module, its download answered with the recorded file, its switch undone."""
    module = pytest.importorskip("alpaca_eval.metrics.glm_winrate")
    import sklearn

    patch = pytest.MonkeyPatch()
    patch.setattr(module, "hf_hub_download", lambda **words: str(gold / "gamed_reconstructed.csv"))
    yield module
    patch.undo()
    sklearn.set_config(enable_metadata_routing=False)


@pytest.fixture(scope="module")
def annotations(gold: Path) -> Callable[..., Frame]:
    """A model's recorded rows as alpaca_eval holds them: outputs of those lengths."""
    import pandas as pd

    def frame(model: str, unjudged: int = 0) -> Frame:
        found = rows(gold / f"{model}.jsonl.gz")
        preferences = [row["preference"] for row in found]
        preferences[: 7 * unjudged : 7] = [np.nan] * unjudged
        return pd.DataFrame(
            {
                "preference": preferences,
                "output_1": ["x" * row["len_reference"] for row in found],
                "output_2": ["x" * row["len_model"] for row in found],
                "generator_1": BASELINE,
                "generator_2": model,
                "instruction_id": [row["instruction_id"] for row in found],
            }
        )

    return frame


def compared(theirs: Any, frame: Frame, auxiliary: Auxiliary) -> None:
    expected = theirs.get_length_controlled_winrate(frame.copy(), save_weights_dir=None)
    recorded = frame.assign(
        len_model=frame["output_2"].str.len(), len_reference=frame["output_1"].str.len()
    ).to_dict("records")
    ours = length_controlled_winrate(judged(recorded), auxiliary, 0, draws=20)
    summary = win_rate_summary(judged(recorded).preferences, [])
    for key in ("win_rate", "standard_error", "n_wins", "n_wins_base", "n_draws", "n_total"):
        assert getattr(summary, key) == pytest.approx(expected[key], abs=EXACT), key
    value = expected["length_controlled_winrate"]
    assert ours.win_rate.value == pytest.approx(value, abs=EXACT)
    assert ours.published_stderr == pytest.approx(expected["lc_standard_error"], abs=EXACT)


@pytest.mark.parametrize("model", [*MODELS, BASELINE])
def test_the_whole_of_it(
    theirs: Any, annotations: Callable[..., Frame], auxiliary: Auxiliary, model: str
) -> None:
    """C chosen by cross-validation on both sides."""
    compared(theirs, annotations(model), auxiliary)


@pytest.mark.parametrize("model", ["gemma-7b-it", "FuseChat-Llama-3.1-8B-Instruct"])
def test_with_failed_judgements(
    theirs: Any, annotations: Callable[..., Frame], auxiliary: Auxiliary, model: str
) -> None:
    """Null preferences: no recorded file has one."""
    compared(theirs, annotations(model, unjudged=40), auxiliary)


@pytest.mark.parametrize("model", MODELS)
def test_every_strength_and_the_choice(
    theirs: Any, gold: Path, auxiliary: Auxiliary, model: str
) -> None:
    """Coefficients at each C of the grid, and which of them is chosen."""
    import pandas as pd

    recorded = judged(rows(gold / f"{model}.jsonl.gz"))
    delta_N = np.subtract(recorded.baseline_lengths, recorded.lengths).astype(float)
    won_N = np.array(recorded.preferences) - 1  # type: ignore[operator]
    outcomes = glm.Outcomes(won_N, delta_N, auxiliary.difficulty_N[: len(won_N)])
    features_KN, targets_N, weights_N = glm.training_rows(outcomes, auxiliary.gamed)
    frame = pd.DataFrame(features_KN.T, columns=["length", "difficulty", "bias"])
    frame["preference"] = targets_N
    weights = pd.Series(weights_N)
    prepared = liblinear.prepare(features_KN, targets_N, weights_N)
    (seed,) = liblinear.seeds(glm.RANDOM_STATE, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for C in glm.GRID_C:
            expected = theirs.fit_LogisticRegressionCV(
                frame, "preference", n_splits=0, C=C, sample_weight=weights
            )
            ours_K = liblinear.fit(prepared, C, seed)
            assert ours_K == pytest.approx(expected.coef_[0], abs=EXACT)
        chosen = theirs.fit_LogisticRegressionCV(frame, "preference", sample_weight=weights)
    found = glm.fit(outcomes, auxiliary.gamed)
    assert pytest.approx(chosen.C_[0]) == found.C
    assert list(found.weights) == pytest.approx(chosen.coef_[0], abs=EXACT)
