"""The published length-controlled win rate: recorded values, its bootstrap, and what is missing."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from length_controlled_parts import BASELINE, MODELS, judged, made_up, rows, table

from evalkit.errors import ScoreError
from evalkit.metrics import alpaca_eval_data
from evalkit.metrics import length_controlled_glm as glm
from evalkit.metrics.alpaca_eval_data import Auxiliary
from evalkit.metrics.gamed_table import GamedTable
from evalkit.metrics.l1_newton import fit_l1
from evalkit.metrics.length_controlled import (
    Judged,
    length_controlled_difference,
    length_controlled_winrate,
)
from evalkit.metrics.length_controlled_bootstrap import Entrant, redrawn_win_rates
from evalkit.metrics.win_rate import win_rate_summary


@pytest.fixture(scope="module")
def gold(shared: Path) -> Path:
    return shared / "golden"


@pytest.fixture(scope="module")
def auxiliary(gold: Path) -> Auxiliary:
    return alpaca_eval_data.read(gold / "alpaca")


def recorded(gold: Path, model: str) -> Judged:
    return judged(rows(gold / "alpaca" / f"{model}.jsonl.gz"))


class TestPublishedValues:
    """The leaderboard's own numbers, from its own annotations."""

    @pytest.mark.parametrize("model", [*MODELS, BASELINE])
    def test_win_rate_and_length(self, gold: Path, model: str) -> None:
        expected = table(gold / "alpaca" / "expected.csv")[model]
        found = recorded(gold, model)
        summary = win_rate_summary(found.preferences, found.lengths)
        assert summary.win_rate == pytest.approx(float(expected["win_rate"]), abs=1e-6)
        assert summary.standard_error == pytest.approx(float(expected["standard_error"]), abs=1e-6)
        assert summary.n_total == int(expected["n_total"])
        slack = 2 if summary.n_total < 805 else 0
        assert summary.avg_length == pytest.approx(int(expected["avg_length"]), abs=slack)

    @pytest.mark.parametrize("model", MODELS)
    def test_at_the_leaderboard_s_strength(
        self, gold: Path, auxiliary: Auxiliary, model: str
    ) -> None:
        expected = table(gold / "alpaca" / "expected.csv")[model]
        strength = float(expected["C_leaderboard"])
        found = length_controlled_winrate(recorded(gold, model), auxiliary, 0, C=strength, draws=20)
        published = float(expected["length_controlled_winrate"])
        assert found.win_rate.value == pytest.approx(published, abs=1e-5)
        assert found.win_rate.n == int(expected["n_total"])
        assert pytest.approx(strength) == found.C
        if expected["lc_standard_error"]:
            stderr = float(expected["lc_standard_error"])
            assert found.published_stderr == pytest.approx(stderr, abs=1e-3)

    @pytest.mark.parametrize("model", MODELS)
    def test_with_chosen_strength(self, gold: Path, auxiliary: Auxiliary, model: str) -> None:
        expected = table(gold / "alpaca" / "expected.csv")[model]
        found = length_controlled_winrate(recorded(gold, model), auxiliary, 0, draws=20)
        published = float(expected["length_controlled_winrate"])
        assert found.win_rate.value == pytest.approx(published, abs=0.16)
        assert found.C in glm.GRID_C

    def test_the_baseline_is_even_with_itself(self, gold: Path, auxiliary: Auxiliary) -> None:
        found = length_controlled_winrate(recorded(gold, BASELINE), auxiliary, 0)
        assert found.win_rate[:4] == (50, 0, 50, 50)
        assert (found.published_stderr, found.C) == (0, None)

    def test_from_the_official_weights(self, gold: Path, auxiliary: Auxiliary) -> None:
        """Models whose preferences were not published, all of them at once."""
        expected = table(gold / "alpaca_partial" / "expected.csv")
        assert len(expected) == 12
        for model, row in expected.items():
            n = len(rows(gold / "alpaca_partial" / f"{model}.jsonl.gz"))
            weights = glm.Weights(*(float(row[f"w_{k}"]) for k in ("len", "difficulty", "bias")))
            wins_N = glm.probabilities(auxiliary.difficulty_N[:n], weights)
            published = float(row["length_controlled_winrate"])
            assert 100 * wins_N.mean() == pytest.approx(published, abs=1e-6)
            stderr = 100 * glm.standard_error(wins_N)
            assert stderr == pytest.approx(float(row["lcse_from_weights"]), abs=1e-6)


class TestMissing:
    """Failed judgements are left out of the fit, and of nothing else."""

    def test_they_count_in_sd_and_mean(self) -> None:
        """Twenty unjudged rows, of long baseline outputs and easy instructions."""
        found, auxiliary = made_up(3)
        delta_N = np.subtract(found.baseline_lengths, found.lengths).astype(float)
        delta_N[:20] += 20_000
        difficulty_N = auxiliary.difficulty_N + np.repeat([5.0, 0.0], [20, 100])
        auxiliary = auxiliary._replace(difficulty_N=difficulty_N)
        won: list[float | None] = [None] * 10 + [float("nan")] * 10
        ours = length_controlled_winrate(
            Judged(
                won + list(found.preferences[20:]),
                found.lengths,
                (np.array(found.lengths) + delta_N).astype(int).tolist(),
            ),
            auxiliary, 0, C=1.0, draws=20,
        )  # fmt: skip
        judged_N = np.arange(120) >= 20
        rates = {
            (whole_sd, whole_mean): self.by_hand(
                found, auxiliary, delta_N if whole_sd else delta_N[judged_N],
                difficulty_N if whole_mean else difficulty_N[judged_N],
            )
            for whole_sd in (True, False)
            for whole_mean in (True, False)
        }  # fmt: skip
        as_published = rates.pop((True, True))
        assert ours.win_rate.value == pytest.approx(as_published, abs=0.02)
        assert ours.win_rate.n == 100
        assert all(abs(other - as_published) > 0.3 for other in rates.values())

    @staticmethod
    def by_hand(
        found: Judged, auxiliary: Auxiliary, of_sd: np.ndarray, of_mean: np.ndarray
    ) -> float:
        """The win rate by the plain solver, with sd and mean over the given rows."""
        delta_N = np.subtract(found.baseline_lengths, found.lengths)[20:]
        features = [
            np.concatenate([auxiliary.gamed.gap_N, np.tanh(delta_N / of_sd.std(ddof=1))]),
            np.concatenate([auxiliary.gamed.difficulty_N, auxiliary.difficulty_N[20:]]),
            np.repeat([0.0, 1.0], [240, 100]),
        ]
        targets = np.concatenate([auxiliary.gamed.won_N, np.array(found.preferences[20:]) - 1])  # type: ignore[operator]
        weights = np.repeat([0.1, 1.0], [240, 100])[None]
        ((_, difficulty, bias),) = fit_l1(features, targets, weights, np.array([1.0]))
        return 100 * float(np.mean(1 / (1 + np.exp(-(difficulty * of_mean + bias)))))

    def test_draws_leave_them_out_as_the_fit_does(self) -> None:
        """What such a row says does not matter, only that it is there."""
        found, auxiliary = made_up(4)
        won: list[float | None] = [None, *found.preferences[1:]]
        one, other = (
            length_controlled_winrate(found._replace(preferences=values), auxiliary, 0, draws=300)
            for values in (won, [float("nan"), *won[1:]])
        )
        assert one == other

    def test_too_few_or_too_many_rows(self) -> None:
        found, auxiliary = made_up(5)
        few: list[float | None] = [1.5] * 4 + [None] * 116
        with pytest.raises(ScoreError, match="5 judged"):
            length_controlled_winrate(found._replace(preferences=few), auxiliary, 0)
        with pytest.raises(ScoreError, match="no item has a preference"):
            length_controlled_winrate(found._replace(preferences=[None] * 120), auxiliary, 0)
        short = auxiliary._replace(difficulty_N=auxiliary.difficulty_N[:100])
        with pytest.raises(ScoreError, match="120 rows, and difficulties of 100"):
            length_controlled_winrate(found, short, 0)


class TestBootstrap:
    """Every draw is a whole refit, done quickly."""

    @given(st.integers(0, 500), st.sampled_from([0.02, 0.3, 2.78, 1e4]))
    def test_draws_are_refits(self, seed: int, C: float) -> None:
        """Against the plain solver on rows repeated as often as they were drawn."""
        found, auxiliary = made_up(seed % 7, 40)
        unjudged = [float("nan")] * 6
        outcomes = glm.Outcomes(
            np.array([*unjudged, *found.preferences[6:]]) - 1,  # type: ignore[operator]
            np.subtract(found.baseline_lengths, found.lengths).astype(float),
            auxiliary.difficulty_N,
        )
        entrant = Entrant(outcomes, C, np.arange(40))
        drawn = redrawn_win_rates([entrant], auxiliary.gamed, seed, draws=3)[0]
        picked = np.random.default_rng([seed, 0]).integers(0, 40, size=(3, 40), dtype=np.int32)
        for rate, rows_N in zip(drawn, picked, strict=True):
            again = glm.Outcomes(*(values[rows_N] for values in outcomes))
            features_KN, won_N, weights_N = glm.training_rows(again, auxiliary.gamed)
            (exact_K,) = fit_l1(list(features_KN), won_N, weights_N[None], np.array([C]))
            p_N = glm.probabilities(again.difficulty_N, glm.Weights(*exact_K))
            assert rate == pytest.approx(100 * p_N.mean(), abs=1e-4)

    def test_the_interval_holds_the_error_of_the_fit(
        self, gold: Path, auxiliary: Auxiliary
    ) -> None:
        """The published error of a model that always wins alike is far too small."""
        found = length_controlled_winrate(recorded(gold, "NullModel"), auxiliary, 0, draws=1000)
        low, high = found.win_rate.low, found.win_rate.high
        assert found.win_rate.stderr is not None and found.published_stderr is not None
        assert found.win_rate.stderr > 4 * found.published_stderr
        assert low is not None and high is not None
        assert low < found.win_rate.value < high

    def test_the_same_seed_gives_the_same_interval(self) -> None:
        found, auxiliary = made_up(6)
        one, again, other = (
            length_controlled_winrate(found, auxiliary, seed, draws=600) for seed in (1, 1, 2)
        )
        assert one == again
        assert one.win_rate.stderr != other.win_rate.stderr
        assert one.win_rate.value == other.win_rate.value

    def test_a_constant_length_difference_has_no_length_term(self) -> None:
        found, auxiliary = made_up(7)
        equal = found._replace(lengths=[100] * 120, baseline_lengths=[90] * 120)
        with_term = length_controlled_winrate(equal, auxiliary, 0, C=2.0, draws=50)
        assert 0 < with_term.win_rate.value < 100

    @given(st.integers(0, 1000), st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
    def test_the_table_of_gamed_rows(self, seed: int, place: tuple[float, float]) -> None:
        """Slope and curvature anywhere inside, against sums over the rows."""
        _, auxiliary = made_up(seed % 5)
        t_N, d_N, won_N = auxiliary.gamed
        centre, reach = np.array([-1.0, 0.7]), np.array([0.8, 0.4])
        a, b = centre + reach * place
        p_N = 1 / (1 + np.exp(-(a * t_N + b * d_N)))
        slope_DK, curve_DKK = np.zeros((1, 3)), np.zeros((1, 3, 3))
        made = GamedTable(auxiliary.gamed, centre, reach)
        made.add(np.array([[a, b]]), slope_DK, curve_DKK)
        q_N = p_N * (1 - p_N)
        assert slope_DK[0] == pytest.approx(
            [0.1 * ((p_N - won_N) @ t_N), 0.1 * ((p_N - won_N) @ d_N), 0], abs=1e-4
        )
        upper = [0.1 * (q_N @ x) for x in (t_N * t_N, t_N * d_N, d_N * d_N)]
        assert curve_DKK[0][[0, 0, 1], [0, 1, 1]] == pytest.approx(upper, abs=1e-3)
        assert made.holds(np.array([[a, b], [a + 2, b]])).tolist() == [True, False]


class TestDifference:
    """Two models on the same draws."""

    def test_a_model_does_not_differ_from_itself(self) -> None:
        found, auxiliary = made_up(8)
        same = length_controlled_difference(found, found, auxiliary, 0, draws=100)
        assert same[:4] == pytest.approx((0, 0, 0, 0), abs=1e-9)

    def test_pairing_takes_out_what_both_have_in_common(
        self, gold: Path, auxiliary: Auxiliary
    ) -> None:
        """Two models that agree more than chance: their difference is surer than either says."""
        a, b = (recorded(gold, f"FuseChat-{one}-Instruct")
                for one in ("Gemma-2-9B", "Llama-3.1-8B"))  # fmt: skip
        alone = [
            length_controlled_winrate(one, auxiliary, 0, draws=1000).win_rate for one in (a, b)
        ]
        paired = length_controlled_difference(a, b, auxiliary, 0, draws=1000)
        assert paired.value == pytest.approx(alone[1].value - alone[0].value, abs=1e-9)
        assert paired.stderr is not None
        apart = sum(one.stderr**2 for one in alone if one.stderr is not None) ** 0.5
        assert paired.stderr < 0.8 * apart

    def test_rows_are_paired_by_instruction_not_by_place(
        self, gold: Path, auxiliary: Auxiliary
    ) -> None:
        """phi-2 lacks two rows; of the models that have them, all 803 others are shared."""
        a, b = recorded(gold, "phi-2"), recorded(gold, "phi-2-sft")
        paired = length_controlled_difference(a, b, auxiliary, 0, draws=400)
        misplaced = length_controlled_difference(
            a._replace(instructions=None), b._replace(instructions=None), auxiliary, 0, draws=400
        )
        assert (paired.n, misplaced.n) == (803, 803)
        assert paired.value == misplaced.value
        assert paired.stderr != misplaced.stderr

    def test_nothing_in_common(self) -> None:
        found, auxiliary = made_up(9)
        other = found._replace(instructions=[f"other {n}" for n in range(120)])
        with pytest.raises(ScoreError, match="no common instruction"):
            length_controlled_difference(found, other, auxiliary, 0)
