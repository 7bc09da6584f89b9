"""Rules about numbers: right ones are never reported, however they were rounded."""

from pathlib import Path
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit import baselines
from evalkit.baselines import ReportedScore
from evalkit.card_reading import read
from evalkit.lint import Context, Finding, lint, rules
from evalkit.lint.rules.misattribution import misattributions

TASKS = ("ARC (25-shot)", "HellaSwag (10-shot)", "MMLU (5-shot)", "GSM8K (5-shot)", "BBH (3-shot)")
_SCORES = st.lists(st.floats(1, 99), min_size=2, max_size=len(TASKS))


def found(text: str, *names: str) -> list[Finding]:
    """What the rules of these names find; those of all numbers without."""
    applied = [rule for rule in rules() if rule.name in names or not names]
    return lint(Context(read(text)), [rule for rule in applied if rule.code.startswith("EK3")])


def table(head: str, rows: list[str]) -> str:
    rule = "|".join("---" for _ in head.split("|"))
    return "\n".join(["# brook", "", f"|{head}|", f"|{rule}|", *(f"|{row}|" for row in rows), ""])


# --- averages --------------------------------------------------------------------------------


@given(_SCORES, st.integers(0, 3), st.integers(0, 3))
def test_the_mean_of_what_was_not_shown_is_no_mistake(
    values: list[float], decimals: int, of_average: int
) -> None:
    shown = [f"{value:.{decimals}f}" for value in values]
    average = f"{fmean(values):.{of_average}f}"
    as_rows = [f"{name}|{value}" for name, value in zip(TASKS, shown, strict=False)]
    head = "|".join(["Model", *TASKS[: len(values)], "Average"])
    for text in (
        table("Metric|Value", [f"Avg.|{average}", *as_rows]),
        table(head, ["|".join(["brook", *shown, average])]),
    ):
        assert found(text, "average-mismatch") == []


@given(_SCORES, st.sampled_from([-1, 1]))
def test_a_mean_that_is_off_by_more_than_rounding_is_one(values: list[float], sign: int) -> None:
    rows = [f"{name}|{value:.2f}" for name, value in zip(TASKS, values, strict=False)]
    wrong = fmean(values) + sign * 0.03
    (finding,) = found(table("Metric|Value", [f"Avg.|{wrong:.2f}", *rows]), "average-mismatch")
    assert finding.line == 5 and finding.severity == "error"


# --- recoveries ------------------------------------------------------------------------------


@given(_SCORES, st.floats(0.5, 1.5), st.integers(1, 3), st.booleans())
def test_a_recovery_of_what_was_not_shown_is_no_mistake(
    values: list[float], kept: float, decimals: int, per_cent: bool
) -> None:
    rows = []
    for name, value in zip(TASKS, values, strict=False):
        recovery = f"{100 * kept:.1f}%" if per_cent else f"{kept:.3f}"
        rows.append(f"{name}|{value:.{decimals}f}|{value * kept:.{decimals}f}|{recovery}")
    text = table("Benchmark|stream|brook (this model)|Recovery", rows)
    assert found(text, "derived-mismatch") == []


# --- misattribution --------------------------------------------------------------------------

STREAM, OTHER = "microsoft/phi-2", "HuggingFaceH4/zephyr-7b-beta"


def score(model: str, task: str, metric: str, value: float, **settings: object) -> ReportedScore:
    return ReportedScore(
        model, task, metric, value, 2, "card", "https://example.org", "2024-01", settings
    )


def claims(text: str, *reported: ReportedScore) -> list[tuple[str, list[float]]]:
    """Whose scores rows and sentences turn out to be, against a made-up list of reports."""
    by_model: dict[str, list[ReportedScore]] = {}
    for one in reported:
        by_model.setdefault(one.model, []).append(one)
    found = misattributions(Context(read(text)), by_model)
    return [(one.other.id, [figure.value for figure in one.figures]) for one in found]


REPORTED = (
    score(STREAM, "mmlu", "acc", 41.17),
    score(STREAM, "gsm8k", "exact_match", 32.29),
    score(OTHER, "mmlu", "acc", 55.55),
)


def row(model: str, mmlu: str, gsm8k: str) -> str:
    return table("Model|MMLU (5-shot)|GSM8K (5-shot)", [f"{model}|{mmlu}|{gsm8k}"])


def test_two_figures_of_another_model_are_found() -> None:
    assert baselines.known("Zephyr 7B beta") is not None
    expected = [(STREAM, [41.17, 32.29])]
    assert claims(row("Zephyr 7B beta", "41.17", "32.29"), *REPORTED) == expected
    assert claims(row("Zephyr 7B beta", "41.2", "32.3"), *REPORTED) == []  # too few digits
    assert claims(row("Zephyr 7B beta", "41.17", "32.30"), *REPORTED) == []  # one is another's
    assert claims(row("phi-2", "41.17", "32.29"), *REPORTED) == []


def test_of_an_unknown_model_only_what_its_name_excludes_is_told() -> None:
    """Its name may be another way to write that of the model whose figures these are."""
    assert claims(row("my favourite", "41.17", "32.29"), *REPORTED) == []
    assert claims(row("Llama-3-8B-Stream", "41.17", "32.29"), *REPORTED) == [
        (STREAM, [41.17, 32.29])
    ]


def test_two_equal_figures_beside_one_that_differs_are_an_accident() -> None:
    more = (*REPORTED, score(STREAM, "hellaswag", "acc_norm", 77.77))
    head = "Model|MMLU (5-shot)|GSM8K (5-shot)|HellaSwag (10-shot)"
    assert claims(table(head, ["Zephyr 7B beta|41.17|32.29|77.77"]), *more) == [
        (STREAM, [41.17, 32.29, 77.77])
    ]
    assert claims(table(head, ["Zephyr 7B beta|41.17|32.29|70.01"]), *more) == []


def test_what_is_reported_of_both_is_no_mistake() -> None:
    both = (*REPORTED[:2], score(OTHER, "mmlu", "acc", 41.17),
            score(OTHER, "gsm8k", "exact_match", 32.29))  # fmt: skip
    assert claims(row("Zephyr 7B beta", "41.17", "32.29"), *both) == []


def test_figures_that_were_asked_otherwise_are_not_compared() -> None:
    best = (
        score(STREAM, "alpaca_eval_2", "win_rate", 41.17, best_of=16),
        score(STREAM, "alpaca_eval_2", "length_controlled_winrate", 32.29, best_of=16),
    )
    text = table("Model|Win Rate|LC. Win Rate", ["Zephyr 7B beta|41.17|32.29"])
    assert claims(text, *best) == []
    plain = tuple(score(STREAM, one.task, one.metric, one.value) for one in best)
    assert claims(text, *plain) == [(STREAM, [41.17, 32.29])]


# --- one card, all rules ---------------------------------------------------------------------


def test_a_misattributed_figure_is_told_once() -> None:
    """It also differs from what was reported of the model that is named."""
    text = table("Model|LC. Win Rate|Win Rate", ["Zephyr-7B-beta|26.89|27.62"])
    names = {one.rule for one in found(text)}
    assert "EK301" in names and "EK317" not in names


@pytest.mark.parametrize("bad", ["-", "n/a", "TBD", "", "see below"])
def test_a_score_that_is_not_there_yet_is_no_number(bad: str) -> None:
    text = table("Metric|Value", ["Avg.|60.00", "MMLU (5-shot)|60.0", f"GSM8K (5-shot)|{bad}"])
    assert found(text, "average-mismatch", "impossible-value", "cut-table") == []


def test_a_card_that_says_everything_is_left_alone() -> None:
    text = """# brook

Tasks were asked with lm-evaluation-harness v0.4.13 (commit 0123abc), in brackets the 95 % interval.
AlpacaEval 2.0 was judged by gpt-4-1106-preview, over the answers of the same model as baseline.

| Model | MMLU (5-shot) | GSM8K (5-shot) | Average |
| --- | --- | --- | --- |
| stream | 60.0 [59.2, 60.8] | 40.0 [37.4, 42.6] | 50.0 |
| **brook** | 61.0 [60.2, 61.8] | 45.0 [42.3, 47.7] | 53.0 |

| Model | LC. Win Rate | Win Rate | Avg. Length |
| --- | --- | --- | --- |
| stream | 20.0 ± 1.4 | 21.0 ± 1.4 | 1,700 |
| **brook** | 25.0 ± 1.5 | 26.0 ± 1.5 | 1,720 |

It reaches an LC win rate of 25.0 % and 61 % on MMLU, where stream-1B has 60.0.
"""
    assert found(text) == []


# --- cards by others, read by hand -----------------------------------------------------------

# Everything that is said of numbers on them: by file, lines and rules. Each was checked by hand.
READ_BY_HAND = {
    "seed_000": {(18, "missing-shots"), (18, "missing-harness"), (18, "missing-interval")},
    "seed_001": set(),
    "seed_002": {(25, "misattribution"), (25, "missing-judge"), (25, "missing-interval")},
    "seed_003": {
        (12, "missing-judge"), (12, "missing-interval"), (13, "missing-shots"),
        (13, "missing-harness"), (14, "missing-judge"),
    },
    "seed_004": {(82, "missing-judge"), (82, "missing-interval"), (82, "parent-scores")},
    "01": {
        (127, "missing-judge"), (127, "missing-interval"), (139, "missing-shots"),
        (151, "average-mismatch"),
    },
    "04": {(19, "missing-interval"), (29, "duplicate-table")},
    "05": {(45, "missing-interval")},
    "06": set(), "07": set(), "10": set(), "11": set(), "16": set(),
    "14": {(132, "missing-interval"), (143, "duplicate-table"), (148, "conflicting-average")},
    "15": {(216, "missing-judge"), (216, "missing-interval")},
    "18": {(12, "missing-interval"), (70, "conflicting-average")},
    "20": {(30, "missing-interval"), (140, "mislabelled-baseline"), (214, "derived-mismatch")},
}  # fmt: skip


def test_cards_by_others(shared: Path) -> None:
    names = {rule.code: rule.name for rule in rules()}
    files = [*(shared / "cards").glob("seed_*.txt"), *(shared / "cards" / "real").glob("*.md")]
    said = {
        file.name[:8] if file.suffix == ".txt" else file.name[:2]: {
            (one.line, names[one.rule]) for one in found(file.read_text("utf-8"))
        }
        for file in files
    }
    assert said == READ_BY_HAND
