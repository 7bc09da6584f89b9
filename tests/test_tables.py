"""Tables and leaderboards: the right number in the right place, each with its n and interval."""

import csv
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from card_families import changed, lm_eval_result, pocket_family, standard_score

from evalkit.errors import CardError
from evalkit.family import Family
from evalkit.leaderboard import (
    MAX_COLUMNS,
    Definition,
    definition_for,
    definition_names,
    derived,
    read_definition,
)
from evalkit.records import Score
from evalkit.standings import (
    family_standings,
    number,
    sorted_standings,
    to_markdown,
    with_interval,
)
from evalkit.tables import FORMATS, export_leaderboard, family_table

TEXTS = ("md", "csv", "json")
V1 = (
    ("arc_challenge", "acc_norm", 25, 1172),
    ("hellaswag", "acc_norm", 10, 10042),
    ("mmlu", "acc", 5, 14042),
    ("truthfulqa_mc2", "acc", 0, 817),
    ("winogrande", "acc", 5, 1267),
    ("gsm8k", "exact_match", 5, 1319),
)


def v1_family() -> Family:
    """Two members measured as the Open LLM Leaderboard v1 measures, one without GSM8K."""
    family = pocket_family()
    family = replace(family, members=family.members[:2], comparisons=())
    for name, tasks in (("base", V1[:-1]), ("iter1", V1)):
        scores = [standard_score(t, m, k, n, 60.0 + i) for i, (t, m, k, n) in enumerate(tasks)]
        scores = [
            replace(s, settings={**s.settings, "filter": "strict-match"})
            if s.task == "gsm8k"
            else s
            for s in scores
        ]
        scores += subjects(next(score for score in scores if score.task == "mmlu"))
        family = changed(family, name, results=(lm_eval_result(name, *scores),))
    return family


def subjects(mmlu: Score) -> list[Score]:
    """The scores of its 57 subjects, whose plain mean is the group's."""
    (column,) = (c for c in read_definition("open_llm_v1").columns if c.task == "mmlu")
    sizes = [246] * 56 + [14042 - 56 * 246]
    return [
        replace(mmlu, task=part.task, n=n, value=mmlu.value + (i - 28) / 4,
                settings={**mmlu.settings, "part_of": "mmlu"})
        for i, (part, n) in enumerate(zip(column.parts, sizes, strict=True))
    ]  # fmt: skip


def test_the_terminal_table() -> None:
    table = family_table(pocket_family())
    assert table.columns[:2] == ["Model", "Pocket exact: exact match (%, n=300)"]
    assert table.columns[4] == "Pocket AlpacaEval: win rate (%, n=199, 1 missing)"
    assert [row[0] for row in table.rows][:2] == ["Pocket-SPPO-Base", "Pocket-SPPO-Iter1"]
    assert table.rows[2][1] == "61.3 [55.9, 66.7]"
    assert any("95 %" in note for note in table.notes)
    assert any(note.startswith("Judged by rule: Pocket AlpacaEval") for note in table.notes)


def test_golden_leaderboard(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    files = export_leaderboard([pocket_family()], tmp_path)
    assert [file.name for file in files] == [f"pocket.{name}" for name in FORMATS]
    for file in files[:-1]:  # Parquet is no text: test_exports reads it back
        golden(f"tables/{file.name}", file.read_bytes().decode())


def test_golden_average(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    for file in export_leaderboard([v1_family()], tmp_path, "open_llm_v1", TEXTS):
        golden(f"tables/{file.name}", file.read_bytes().decode())


def test_exports_hold_the_records_unrounded(tmp_path: Path) -> None:
    family = pocket_family()
    md, csv_file, json_file = export_leaderboard([family], tmp_path, formats=TEXTS)
    rows = list(csv.DictReader(csv_file.read_text().splitlines()))
    models = json.loads(json_file.read_text())["models"]
    assert [row["model"] for row in rows] == [model["model"] for model in models]
    for row, model in zip(rows, models, strict=True):
        score = family.member(row["checkpoint"]).results[0].scores[0]
        assert float(row["Pocket exact: exact match value"]) == score.value
        assert model["Pocket exact: exact match ci_low"] == score.ci_low
        assert model["Pocket exact: exact match stderr"] == score.stderr
        assert int(row["Pocket exact: exact match n"]) == score.n
    assert [row["checkpoint"] for row in rows] == [  # best first
        "iter2-fp8_dynamic", "iter2", "iter2-w4a16_gptq", "iter1", "base",
    ]  # fmt: skip
    assert "](" not in md.read_text()  # a leaderboard is read anywhere: no links that need a Hub


def test_own_row_is_bold() -> None:
    shown = to_markdown(family_standings(pocket_family(), own="iter1"))
    lines = [line for line in shown.splitlines() if "**" in line]
    assert len(lines) == 1
    assert lines[0].startswith("| **Pocket-SPPO-Iter1** | **47.3 [41.9, 52.7]** |")


def test_an_average_needs_every_part() -> None:
    rows = sorted_standings([v1_family()], "open_llm_v1").rows
    assert [row.member.checkpoint.name for row in rows] == ["iter1", "base"]
    average = rows[0].cells[0]
    assert average is not None
    assert average.value == pytest.approx(62.5)
    # MMLU's is that of a plain mean of 57 subjects.
    errors = [0.5] * 5 + [0.5 / math.sqrt(57)]
    stderr = math.sqrt(sum(error**2 for error in errors)) / 6
    assert average.ci_high == pytest.approx(62.5 + 1.959964 * stderr)
    assert rows[1].cells[0] is None


def test_what_was_measured_otherwise_is_marked() -> None:
    family = v1_family()
    family = changed(family, "iter1", results=(
        lm_eval_result("iter1", standard_score("arc_challenge", "acc_norm", 0, 1172, 70.0)),
    ))  # fmt: skip
    family = changed(family, "base", results=(
        lm_eval_result("base", standard_score("arc_challenge", "acc_norm", 25, 1172, 60.0)),
    ))  # fmt: skip
    table = family_table(family)
    assert table.rows[1][1] == "70.0 [69.0, 71.0] †"
    assert any("not comparable with the others: few_shot is 0" in note for note in table.notes)
    official = family_table(family, "open_llm_v1")
    assert official.rows[1][2] == "–"


AVERAGED = Definition.model_validate({
    "name": "own", "title": "Own", "sort_by": "Mean",
    "columns": [
        {"benchmark": "lm_eval_tasks", "task": task, "metric": "acc", "label": task}
        for task in ("a", "b")
    ],
    "averages": [{"label": "Mean", "of": ["a", "b"]}],
})  # fmt: skip


def averaged_family(*, higher: bool = True, few_shot: int = 5) -> Family:
    """Two members measured with two tasks, the first with `few_shot` examples of one of them."""
    family = pocket_family()
    family = replace(family, members=family.members[:2], comparisons=())
    for name, shots, value in (("base", few_shot, 60.0), ("iter1", 5, 50.0)):
        scores = [standard_score("a", "acc", shots, 100, value),
                  standard_score("b", "acc", 5, 100, value)]  # fmt: skip
        scores = [replace(score, higher_is_better=higher) for score in scores]
        family = changed(family, name, results=(lm_eval_result(name, *scores),))
    return family


def test_an_average_of_what_does_not_compare_is_marked_and_has_no_best() -> None:
    alike = family_standings(averaged_family(), AVERAGED)
    assert [row.cells[0] and row.cells[0].best for row in alike.rows] == [True, False]
    unlike = family_standings(averaged_family(few_shot=0), AVERAGED)
    averages = [row.cells[0] for row in unlike.rows]
    assert [cell and cell.mark for cell in averages] == ["", " †"]
    assert not any(cell and cell.best for cell in averages)


@pytest.mark.parametrize(("higher", "best"), [(True, "base"), (False, "iter1")])
def test_an_average_is_sorted_in_the_direction_of_its_parts(higher: bool, best: str) -> None:
    first = sorted_standings([averaged_family(higher=higher)], AVERAGED).rows[0]
    assert first.member.checkpoint.name == best
    assert first.cells[0] is not None
    assert first.cells[0].best


def test_the_hint_of_a_wrong_label_may_hold_colons(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    column = "{benchmark: b, task: gsm8k, metric: exact_match}"
    own.write_text(f"name: own\ntitle: Own\ncolumns: [{column}]\nsort_by: 'GSM8K: exact mach'\n")
    with pytest.raises(CardError) as caught:
        read_definition(str(own))
    (problem,) = caught.value.problems
    assert "labelled 'GSM8K: exact mach'" in problem.message
    assert problem.hint.startswith("did you mean 'GSM8K: exact match'?")


def test_the_fitting_definition_is_found() -> None:
    assert definition_for(pocket_family().members).name == "pocket"
    assert definition_for(v1_family().members).name == "open_llm_v1"


def test_a_fitting_definition_gets_columns_for_what_else_was_measured() -> None:
    family, pocket = v1_family(), pocket_family().member("base")
    base = family.member("base")
    subject = replace(standard_score("mmlu_law", "acc", 5, 9, 50.0), settings={"part_of": "mmlu"})
    more = (lm_eval_result("base", subject), *pocket.results[1:])
    definition = definition_for(changed(family, "base", results=(*base.results, *more)).members)
    official = read_definition("open_llm_v1")
    assert definition.columns[:6] == official.columns
    assert definition.averages == official.averages
    assert [column.benchmark for column in definition.columns[6:]] == ["alpaca_eval", "mt_bench"]


def test_where_nothing_fits_every_benchmark_has_a_column() -> None:
    family, base = pocket_family(), pocket_family().member("base")
    tasks = lm_eval_result("base", *(Score(f"t{i}", "acc", 1.0, 9, "percent") for i in range(9)))
    bare = [changed(family, "base", results=(tasks, *base.results[1:])).member("base")]
    definition = definition_for(bare)
    assert definition.name == "results"
    assert len(definition.columns) == MAX_COLUMNS
    assert {column.benchmark for column in definition.columns} == {
        "lm_eval_tasks", "alpaca_eval", "mt_bench",
    }  # fmt: skip


def test_first_scores_are_the_headlines() -> None:
    columns = derived(pocket_family().members).columns
    assert [(c.task, c.metric) for c in columns] == [
        ("pocket_exact", "exact_match"),
        ("pocket_exact_t1", "exact_match"),
        ("pocket_choice", "acc_norm"),
        ("alpaca_eval_pocket/open", "win_rate"),
        ("mt_bench_pocket/two_turn", "average"),
    ]


def test_shipped_definitions_are_valid() -> None:
    assert {"pocket", "open_llm_v1"} <= set(definition_names())
    for name in definition_names():
        assert read_definition(name).name == name


def test_definitions_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(CardError) as caught:
        read_definition("pockt")
    assert "did you mean 'pocket'" in caught.value.hint
    with pytest.raises(CardError, match="there is no"):
        read_definition(str(tmp_path / "mine.yaml"))
    own = tmp_path / "own.yaml"
    column = "{benchmark: b, task: t, metric: acc, label: A}"
    own.write_text(f"name: own\ntitle: Own\ncolumns: [{column}]\n")
    assert read_definition(str(own)).columns[0].heading == "A"
    for extra in ("sort_by: B", "averages: [{label: M, of: [A, B]}]", "colums: []"):
        own.write_text(f"name: own\ntitle: Own\ncolumns: [{column}]\n{extra}\n")
        with pytest.raises(CardError, match="no leaderboard definition"):
            read_definition(str(own))
    with pytest.raises(ValueError, match="same label"):
        Definition.model_validate(
            {
                "name": "x",
                "title": "x",
                "columns": [{"benchmark": "b", "task": "t", "metric": "m"}] * 2,
            }
        )


def test_an_empty_family_has_a_table(tmp_path: Path) -> None:
    family = pocket_family()
    for member in family.members:
        family = changed(family, member.checkpoint.name, results=())
    assert family_table(family).columns == ["Model"]
    assert len(export_leaderboard([family], tmp_path)) == len(FORMATS)


def test_numbers() -> None:
    assert number(-0.04, 1) == "0.0"
    assert with_interval(61.25, 55.0, None, 1) == "61.2"
    with pytest.raises(CardError, match="nan"):
        number(math.nan, 1)


def test_tables_need_no_pandas_to_be_shown() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from card_families import pocket_family\n"
        "from evalkit.cards import build_card\nfrom evalkit.tables import family_table\n"
        "family_table(pocket_family())\n"
        "assert not {'pandas', 'jinja2', 'torch'} & set(sys.modules)"
    )
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
