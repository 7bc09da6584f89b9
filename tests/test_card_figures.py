"""Figures that cards state: in tables both ways round, in sentences, and in their metadata."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.card_reading import Figure, figures, read, scores
from evalkit.card_reading.numbers import agree, number_of
from evalkit.card_reading.task_names import shipped


def said(text: str) -> list[tuple[str | None, str, str | None, float]]:
    """Model, task, metric and value of every figure of a card."""
    return [(one.model, one.task, one.metric, one.value) for one in figures(read(text))]


def values(text: str) -> list[float]:
    return [one.value for one in figures(read(text))]


# --- numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "value", "decimals"),
    [
        ("53.27", 53.27, 2),
        ("**53.27**", 53.27, 2),
        ("50.93%", 50.93, 2),
        ("1,803", 1803, 0),
        ("60.0 [59.2, 60.8] %", 60.0, 1),
        ("70.43 ± 1.26", 70.43, 2),
        ("61.2 (±0.4)", 61.2, 1),
        ("63.2<sup>1</sup>", 63.2, 1),
        ("63.2 (+1.2)", 63.2, 1),
        ("**9.66** ↑", 9.66, 2),
    ],
)
def test_a_number_is_read_as_it_is_written(cell: str, value: float, decimals: int) -> None:
    found = number_of(cell)
    assert found is not None and (found.value, found.decimals) == (value, decimals)


@pytest.mark.parametrize(
    "cell",
    ["", "-", "n/a", "?", "63,2", "54.2 / 60.1", "7B", "+1.2", "v0.4.1", "1.2e", "63.2 on A"],
)
def test_what_is_no_single_number_is_none(cell: str) -> None:
    assert number_of(cell) is None


def test_numbers_agree_as_far_as_the_coarser_is_written() -> None:
    assert agree(53.0, 0, 53.27, 2)
    assert agree(69.35, 2, 69.345, 3)
    assert not agree(53.27, 2, 53.28, 2)
    assert not agree(53.2, 1, 53.27, 2)


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "task", "metric", "settings"),
    [
        ("AI2 Reasoning Challenge (25-Shot)", "arc_challenge", None, {"few_shot": 25}),
        ("ARC Challenge (25-shot)", "arc_challenge", None, {"few_shot": 25}),
        ("arc_challenge", "arc_challenge", None, {}),
        ("5-shot MMLU ↑", "mmlu", None, {"few_shot": 5}),
        ("MMLU-PRO (5-shot)", "mmlu_pro", None, {"few_shot": 5}),
        (
            "GSM-8K (5-shot, strict-match)",
            "gsm8k",
            None,
            {"few_shot": 5, "filter": "strict-match"},
        ),
        ("TruthfulQA (0-shot)", "truthfulqa_mc2", None, {"few_shot": 0}),
        ("MT-Bench (score)", "mt_bench", "score", {}),
        ("AlpacaEval (win rate %)", "alpaca_eval", "win_rate", {}),
        ("AlpacaEval 2.0 LC Win Rate", "alpaca_eval_2", "length_controlled_winrate", {}),
        ("HellaSwag: normalized accuracy (%, n=100)", "hellaswag", "acc_norm", {}),
        ("LC. Win Rate", None, "length_controlled_winrate", {}),
        ("Avg. Length", None, "avg_length", {}),
    ],
)
def test_tasks_are_known_by_their_names(
    written: str, task: str | None, metric: str | None, settings: dict[str, object]
) -> None:
    name = shipped().name_of(written)
    assert name is not None
    assert (name.task, name.metric, name.settings) == (task, metric, settings)


@pytest.mark.parametrize("written", ["MMLU (law)", "MMLU-Redux", "Arc de Triomphe", "7B", "", "%"])
def test_other_names_are_not_taken_for_tasks(written: str) -> None:
    assert shipped().name_of(written) is None


def test_averages_and_recoveries_are_told_apart_from_scores() -> None:
    kinds = {text: name.kind for text in ("Avg.", "Average score", "Recovery", "MMLU")
             if (name := shipped().name_of(text))}  # fmt: skip
    assert list(kinds.values()) == ["average", "average", "recovery", "score"]


# --- tables ----------------------------------------------------------------------------------


def test_models_as_rows() -> None:
    card = """# brook-7B
| Model | Size | MMLU (5-shot) | GSM8K | Avg. Length |
| --- | --- | --- | --- | --- |
| [stream](https://huggingface.co/me/stream-7B) | 7B | 60.0 | - | 1,803 |
| **brook-7B (ours)** | 7B | **61.0** | 50.0 | 1803 |
"""
    found = figures(read(card))
    assert [(one.line, one.model, one.repo, one.task, one.value) for one in found] == [
        (4, "stream", "me/stream-7B", "mmlu", 60.0),
        (5, None, None, "mmlu", 61.0),
        (5, None, None, "gsm8k", 50.0),
    ]
    assert found[0].settings == {"few_shot": 5}


def test_a_length_alone_belongs_to_the_task_that_the_heading_names() -> None:
    table = "| Model | Win Rate | Avg. Length |\n|---|---|---|\n| a-1 | 50.0 | 1803 |\n"
    assert said(table) == []
    assert [task for _, task, _, _ in said(f"## AlpacaEval\n\n{table}")] == ["alpaca_eval"] * 2
    controlled = table.replace("Avg. Length", "LC. Win Rate")
    assert {task for _, task, _, _ in said(controlled)} == {"alpaca_eval_2"}


def test_tasks_as_rows() -> None:
    card = """# brook-W4A16
| Category | Benchmark | brook | brook-W4A16 (this model) | Recovery |
| --- | --- | --- | --- | --- |
| Chat | MMLU (5-shot) | 60.0 | 59.0 | 98.3% |
| | Our own task | 10.0 | 11.0 | 110% |
| | Average | 60.0 | 59.0 | 98.3% |
"""
    (table,) = scores(read(card)).tables
    assert table.rows_are == "tasks"
    assert [(one.kind, one.subject.is_own, one.is_whole) for one in table.series] == [
        ("model", False, False), ("model", True, False), ("recovery", False, False),
    ]  # fmt: skip
    assert [one.value for one in table.figures] == [60.0, 60.0, 59.0, 59.0]


def test_a_single_row_of_scores() -> None:
    card = "| Metric | Average | MMLU | GSM8K |\n|---|---|---|---|\n| **Score** | 55 | 60 | 50 |\n"
    assert said(card) == [(None, "average", None, 55.0), (None, "mmlu", None, 60.0),
                          (None, "gsm8k", None, 50.0)]  # fmt: skip


def test_the_tables_of_lm_eval() -> None:
    card = """
|Tasks|Version|Filter|n-shot|Metric| |Value| |Stderr|
|---|--:|---|--:|---|---|--:|---|--:|
|arc_challenge|1|none|25|acc|↑|0.6015|±|0.0143|
| | |none|25|acc_norm|↑|0.6442|±|0.0140|
|gsm8k|3|strict-match|5|exact_match|↑|0.5|±|0.01|
"""
    found = figures(read(card))
    assert [(one.task, one.metric, one.settings["few_shot"]) for one in found] == [
        ("arc_challenge", "acc", 25), ("arc_challenge", "acc_norm", 25), ("gsm8k", "exact_match", 5)
    ]  # fmt: skip
    assert all(one.has_spread and one.scale == "unit" and one.model is None for one in found)
    assert found[1].equals(64.42, 2) and not found[1].equals(64.43, 2)


def test_a_score_below_one_percent_is_no_part_of_one() -> None:
    found = figures(read("| Metric | Value |\n|---|---|\n| MMLU | 26.43 |\n| GSM8K | 0.53 |\n"))
    assert [one.on_scale[0] for one in found] == [26.43, 0.53]


def test_cells_of_html_have_their_own_lines() -> None:
    card = """<table>
<tr>
 <th>Benchmark</th>
 <th>brook</th>
</tr>
<tr>
 <td>MMLU</td>
 <td><strong>60.0</strong></td>
</tr>
</table>"""
    assert [(one.line, one.model, one.value) for one in figures(read(card))] == [(8, "brook", 60.0)]


def test_the_second_leaderboard_is_known_by_its_tasks() -> None:
    names = ["IFEval", "BBH", "MATH Lvl 5", "GPQA", "MuSR", "MMLU-PRO"]
    rows = "".join(f"| {name} | {20 + at}.0 |\n" for at, name in enumerate(names))
    found = figures(read(f"| Metric | Value |\n|---|---|\n| Avg. | 22.5 |\n{rows}"))
    assert found[0].settings == {"leaderboard": "open_llm_v2", "tasks": 6}
    assert {one.task.partition("_")[0] for one in found[1:]} == {"leaderboard"}
    assert [one.task for one in figures(read("# brook\n\nMMLU-Pro: 30.1"))] == ["mmlu_pro"]


def test_a_page_saved_with_bars_keeps_the_lines_of_the_file() -> None:
    """Every line ends in a bar, and every second one is nothing else."""
    lines = [
        "# brook",
        "## AlpacaEval",
        "| Model | Win Rate |",
        "|---|---|",
        "| a-1 | 50.0 |",
        "End",
    ]
    saved = "".join(f"{line} |\n|\n" for line in lines)
    assert [(one.line, one.task) for one in figures(read(saved))] == [(9, "alpaca_eval")]


# --- sentences -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "For instance, Stream-8B Iter2 achieved a 30.93% LC. Win Rate and 24.64% Win Rate on "
            "AlpacaEval.",
            [
                ("Stream-8B Iter2", "alpaca_eval_2", "length_controlled_winrate", 30.93),
                ("Stream-8B Iter2", "alpaca_eval_2", "win_rate", 24.64),
            ],
        ),
        (
            "- AlpacaEval: Achieved a Win Rate of 13.51% (LC. Win Rate 14.79%) for Iteration 1.",
            [
                (None, "alpaca_eval_2", "win_rate", 13.51),
                (None, "alpaca_eval_2", "length_controlled_winrate", 14.79),
            ],
        ),
        (
            "- Scores: 55.02 on arc_challenge, and notable reasoning (HellaSwag: 59.4).",
            [(None, "arc_challenge", None, 55.02), (None, "hellaswag", None, 59.4)],
        ),
        (
            "It reaches an average of 51.68 on the Open LLM Leaderboard.",
            [(None, "average", None, 51.68)],
        ),
        ("- MT-Bench: Recorded an average score of 7.31.", [(None, "mt_bench", "score", 7.31)]),
        (
            "It scores 59.5 on MMLU, whereas the unquantized model achieves 60.1.",
            [(None, "mmlu", None, 59.5), ("the unquantized model", "mmlu", None, 60.1)],
        ),
    ],
)  # fmt: skip
def test_sentences(text: str, expected: list[tuple[str | None, str, str | None, float]]) -> None:
    assert said(f"# brook\n\n{text}\n") == expected


@pytest.mark.parametrize(
    "text",
    [
        "We improve MMLU from 62.4 to 63.6, a gain of 1.2% on MMLU.",
        "It reaches over 60% on GSM8K and is 2.1% better on MMLU.",
        "Brook has 99.5% recovery on MMLU.",
        "MT-Bench: 8.05 vs 7.34.",
        "Average of ARC-Challenge, GSM8K and MMLU: 57.03.",
        "Compared with Stream-7B, 63.2 on MMLU is good.",
        "Sampled at a temperature of 0.7 on MMLU, with MMLU-Redux 63.2.",
        "Training used 66.7% of the data for the MMLU subset.",
        "The race was 61.5 long.",
        "task versions, GSM8K: 3.0",
        "It uses 63.2 tokens on average.",
        "Cost savings of 69% on MT-Bench, 93% on GSM8K are reported.",
        "GPT-4 achieves 85% agreement with humans on MT-Bench.",
        "On MT-Bench, Stream-7B Chat scores 8.97, compared to 8.62 before.",
        "Scores on MMLU-style questions: 5-shot, 3.2 h.",
    ],
)
def test_numbers_that_are_not_clearly_scores_are_none(text: str) -> None:
    assert values(f"# brook\n\n{text}\n") == []


# --- metadata --------------------------------------------------------------------------------


INDEX = """---
model-index:
  - name: brook
    results:
      - task: {type: text-generation}
        dataset: {name: GSM8k (5-shot), type: gsm8k, args: {num_few_shot: 5}}
        metrics:
          - type: acc
            value: 7.30
        source: {name: Open LLM Leaderboard, url: "https://example.org"}
      - task: {type: text-generation}
        dataset: {name: River crossing, type: river_crossing}
        metrics: [{type: acc, value: 40.0}, {type: f1, value: .nan}]
  - name: stream
    results: [{dataset: {name: MMLU, type: mmlu}, metrics: [{type: acc, value: "50.5"}]}]
---
# brook

| Task | Value |
| --- | --- |
| River crossing | 40.0 |
"""


def test_the_model_index() -> None:
    found = figures(read(INDEX))
    shown = [(one.line, one.model, one.task, one.metric, one.text, one.where) for one in found]
    assert shown == [
        (9, None, "gsm8k", "exact_match", "7.30", "metadata"),
        (13, None, "river_crossing", "acc", "40.0", "metadata"),
        (13, None, "river_crossing", "f1", "nan", "metadata"),
        (15, None, "mmlu", "acc", "50.5", "metadata"),
        (21, None, "river_crossing", None, "40.0", "table"),
    ]
    assert found[0].settings == {
        "few_shot": 5,
        "source": "Open LLM Leaderboard https://example.org",
    }
    assert found[0].decimals == 2


@pytest.mark.parametrize(
    "metadata",
    ["model-index: 3", "model-index: [1, {results: 2}, {results: [3, {metrics: [4]}]}]",
     "model-index: [{name: [a], results: [{dataset: mmlu, metrics: {value: 3}}]}]"],
)  # fmt: skip
def test_a_model_index_of_any_shape_is_read(metadata: str) -> None:
    assert figures(read(f"---\n{metadata}\n---\n# brook\n")) == ()


# --- whole cards -----------------------------------------------------------------------------

_PIECES = st.sampled_from(
    ["|", "| MMLU ", "|---", "\n", "63.2", " % ", "# ", "`", "](", "<td>", "<table>", "(5-shot)",
     "Avg.", " on ", "Win Rate", "±", ":", "---\n", "nan", "<td rowspan='0' colspan='99999'>", "é"]
)  # fmt: skip


@given(st.lists(_PIECES | st.text(max_size=6), max_size=60).map("".join))
def test_any_text_is_read(text: str) -> None:
    for figure in figures(read(text)):
        assert figure.text.strip("*_ ") and 1 <= figure.line <= text.count("\n") + 1


def test_figures_of_the_authors_card(shared: Path) -> None:
    """Of every row of three tables and of the model-index, to the letter."""
    found = figures(read((shared / "cards/real/01_sppo-iter3.md").read_text("utf-8")))
    own = [one for one in found if one.model is None]
    assert len(found) == 6 + 9 + 21 + 7 and len(own) == 6 + 3 + 7 + 7
    assert _value(own, "alpaca_eval_2", "length_controlled_winrate") == [38.77]
    assert _value(own, "average", None) == [70.29, 23.68]
    assert {one.settings.get("leaderboard") for one in own} == {None, "open_llm_v1", "open_llm_v2"}


def _value(found: list[Figure], task: str, metric: str | None) -> list[float]:
    return [one.value for one in found if (one.task, one.metric) == (task, metric)]
