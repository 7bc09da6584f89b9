"""Leaderboards as LaTeX, HTML and Parquet: the same numbers, and no name can break them."""

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from card_families import changed, pocket_family
from hypothesis import example, given
from hypothesis import strategies as st
from pyarrow import parquet

from evalkit.cli import main
from evalkit.errors import CardError, RecipeError
from evalkit.family import Family
from evalkit.markdown import printable
from evalkit.pipeline.exporting import families_of
from evalkit.records import to_json
from evalkit.standings import sorted_standings
from evalkit.tables import FORMATS, export_leaderboard
from evalkit.tables.html import to_html
from evalkit.tables.latex import escape, to_latex

# Whatever would end a row, a group or a table, open a tag, or be taken for an argument.
HOSTILE = st.text("\\{}$&#%_~^<>|\"'`-[]*,=+ /aB9é–†中\n\t\u202e{{%", min_size=1, max_size=30)
COMMANDS = re.compile(r"\\(?:text[a-z]+|times|pm|ldots|rightarrow|[a-z]+|[{}$&#%_\\])")


def named(title: str) -> Family:
    return changed(pocket_family(), "iter1", title=title)


def body(text: str) -> list[str]:
    """The rows between the rules, without what ends them."""
    inner = text.split("\\midrule\n")[1].split("\\bottomrule")[0]
    rows = inner.rstrip("\n").split("\n")
    assert all(row.endswith(r" \\") for row in rows)
    return [row.removesuffix(r" \\") for row in rows]


def cells(row: str) -> list[str]:
    """A row at its unescaped ampersands."""
    return re.split(r"(?<!\\)&", row.replace(r"\\", "  "))


def is_balanced(text: str) -> bool:
    depth = 0
    for mark in re.findall(r"(?<!\\)[{}]", text.replace(r"\\", "  ")):
        depth += 1 if mark == "{" else -1
        if depth < 0:
            return False
    return depth == 0


class TestLatex:
    """A table that compiles whatever the models are called."""

    def test_structure(self) -> None:
        text = to_latex(sorted_standings([pocket_family()])).decode()
        columns = 1 + 2 * 5
        assert r"\begin{tabular}{l" + r"r@{\,}l" * 5 + "}" in text
        assert [len(cells(row)) for row in body(text)] == [columns] * 5
        begun, ended = re.findall(r"\\begin{(\w+)}", text), re.findall(r"\\end{(\w+)}", text)
        assert sorted(begun) == sorted(ended)
        assert is_balanced(text)
        assert r"\caption{Pocket suites}" in text
        assert r"\label{tab:pocket}" in text
        assert r"\item In brackets: 95 \% confidence interval." in text

    def test_numbers_are_those_of_the_markdown(self) -> None:
        standings = sorted_standings([pocket_family()])
        for row, shown in zip(standings.rows, body(to_latex(standings).decode()), strict=True):
            plain = re.sub(r"\\textbf{([^}]*)}", r"\1", shown).replace(r"{\scriptsize ", "")
            numbers = [a.strip() + " " + b.strip() for a, b in _pairs(cells(plain)[1:])]
            expected = [cell.text if cell else "" for cell in row.cells]
            assert [number.replace("}", "") for number in numbers] == expected

    def test_the_best_of_each_column_is_bold(self) -> None:
        best = body(to_latex(sorted_standings([pocket_family()])).decode())
        assert [row.count(r"\textbf") for row in best] == [5, 0, 0, 0, 0]

    def test_what_does_not_compare_has_no_best(self) -> None:
        family = pocket_family()
        result = family.member("iter1").results[0]
        scores = [replace(score, settings={"few_shot": 9}) for score in result.scores]
        first = (replace(result, scores=tuple(scores)), *family.member("iter1").results[1:])
        standings = sorted_standings([changed(family, "iter1", results=first)])
        assert not any(row.cells[0].best for row in standings.rows if row.cells[0])
        assert any(row.cells[4].best for row in standings.rows if row.cells[4])
        assert r"\textdagger{}" in to_latex(standings).decode()

    @given(HOSTILE)
    def test_hostile_names_stay_text(self, title: str) -> None:
        text = to_latex(sorted_standings([named(title)])).decode()
        assert is_balanced(text)
        assert [len(cells(row)) for row in body(text)] == [11] * 5
        assert len(body(text)) == 5

    @given(HOSTILE)
    def test_no_special_character_is_left_bare(self, text: str) -> None:
        shown = escape(text)
        bare = COMMANDS.sub("", shown.replace("$-$", "").replace("{}", ""))
        assert not re.search(r"[\\$&#%_~^<>|\"`]", bare)
        assert not re.search(r"--|''|,,", shown)
        assert "\n" not in shown
        assert not shown.startswith(("[", "*"))

    def test_letters_pass_and_signs_are_named(self) -> None:
        assert escape("Größe 中 – 5 % of $x_1$") == (r"Größe 中 \textendash{} 5 \% of \$x\_1\$")
        assert escape(r"C:\temp") == r"C:\textbackslash{}temp"

    @pytest.mark.skipif(shutil.which("pdflatex") is None, reason="would compile it; no pdflatex")
    def test_it_compiles(self, tmp_path: Path) -> None:
        table = to_latex(sorted_standings([named(r"\{}$&#%_~^<>|\"'`--[x]*")])).decode()
        preamble = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs}"
        preamble += r"\usepackage{threeparttable}\begin{document}"
        (tmp_path / "t.tex").write_text(f"{preamble}\n{table}\n\\end{{document}}\n")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]


def _pairs(parts: list[str]) -> list[tuple[str, str]]:
    return list(zip(parts[::2], parts[1::2], strict=True))


class Page(HTMLParser):
    """The texts of a page's cells by row, and the tags it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self._cell = False

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data


class TestHtml:
    """One page that needs nothing else."""

    def test_cells_are_those_of_the_markdown(self) -> None:
        standings = sorted_standings([pocket_family()])
        page = Page(to_html(standings).decode())
        assert page.open == []
        assert page.rows[0] == ["Model", *standings.headings]
        for row, shown in zip(standings.rows, page.rows[1:], strict=True):
            assert shown == [row.member.title, *(cell.text if cell else "" for cell in row.cells)]
        assert page.tags.count("strong") == 5
        assert page.tags.count("li") == len(standings.notes)

    def test_it_asks_for_nothing_and_runs_nothing(self) -> None:
        text = to_html(sorted_standings([pocket_family()])).decode()
        assert not {"script", "link", "img", "iframe"} & set(Page(text).tags)
        assert not re.search(r"https?:|url\(|@import|\son\w+=", text)
        assert 'content="light dark"' in text
        assert "color:" not in re.sub(r"color-scheme:", "", text)  # the reader's own colours

    @example("</th><script>alert(1)</script>&lt;")
    @example("a < b & c > d")
    @given(HOSTILE)
    def test_hostile_names_stay_text(self, title: str) -> None:
        page = Page(to_html(sorted_standings([named(title)])).decode())
        assert page.open == []
        assert " ".join(printable(title).split()) in {row[0] for row in page.rows}


class TestParquet:
    """What it holds is what the CSV holds, with types."""

    def test_it_reads_back_as_the_csv(self, tmp_path: Path) -> None:
        csv_file, file = export_leaderboard([pocket_family()], tmp_path, formats=("csv", "parquet"))
        rows = list(csv.DictReader(csv_file.read_text().splitlines()))
        table = parquet.read_table(file)
        assert table.column_names == list(rows[0])
        for row, typed in zip(rows, table.to_pylist(), strict=True):
            assert row == {key: "" if v is None else str(v) for key, v in typed.items()}
        kinds = {field.name: str(field.type) for field in table.schema}
        assert kinds["model"] == "large_string"
        assert kinds["Pocket exact: exact match value"] == "double"
        assert kinds["Pocket exact: exact match n"] == kinds["parameters"] == "int64"

    def test_title_and_notes_travel_along(self, tmp_path: Path) -> None:
        json_file, file = export_leaderboard(
            [pocket_family()], tmp_path, formats=("json", "parquet")
        )
        metadata = parquet.read_schema(file).metadata
        described = json.loads(json_file.read_text())
        assert metadata[b"title"].decode() == described["title"] == "Pocket suites"
        assert json.loads(metadata[b"notes"]) == described["notes"]
        assert json.loads(metadata[b"columns"]) == described["columns"]

    def test_a_column_that_nobody_has_keeps_its_type(self, tmp_path: Path) -> None:
        family = changed(pocket_family(), "base", results=())
        family = replace(family, members=family.members[:1])
        (file,) = export_leaderboard([family], tmp_path, "pocket", ("parquet",))
        schema = parquet.read_schema(file)
        assert str(schema.field("Pocket exact: exact match value").type) == "double"


def test_equal_numbers_give_equal_bytes(tmp_path: Path) -> None:
    first = export_leaderboard([pocket_family()], tmp_path / "a")
    again = export_leaderboard([pocket_family()], tmp_path / "b")
    assert [file.suffix[1:] for file in first] == list(FORMATS)
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in again]


@pytest.mark.parametrize("name", ["json", "parquet", "tex", "html", "md"])
def test_no_format_takes_a_number_that_is_not_finite(tmp_path: Path, name: str) -> None:
    family = pocket_family()
    result = family.member("base").results[0]
    scores = (replace(result.scores[0], value=float("nan")), *result.scores[1:])
    broken = changed(family, "base", results=(replace(result, scores=scores),))
    with pytest.raises(CardError):
        export_leaderboard([broken], tmp_path, formats=(name,))
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="called 'latex'") as caught:
        export_leaderboard([pocket_family()], tmp_path, formats=("latex",))
    assert "tex" in caught.value.hint


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A file of judgements of two models."""
    rows = [
        {"question_id": q, "model": model, "judge": ["j", "single-v1"], "score": 5 + q % 3 + turn,
         "turn": turn}
        for model in ("one", "two") for q in (81, 91) for turn in (1, 2)
    ]  # fmt: skip
    file = tmp_path / "j_single.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_runs_and_result_files_stand_in_one_table(
    tmp_path: Path, judged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    (run / "steps" / "cards").mkdir(parents=True)
    (run / "plan.json").write_text("[]")
    (run / "steps" / "cards" / "family.json").write_text(json.dumps(to_json(pocket_family())))
    with pytest.raises(SystemExit) as caught:
        main(["leaderboard", "export", str(run), str(judged), "--json"])
    assert caught.value.code == 0
    table = json.loads(capsys.readouterr().out)
    kinds = {model["model"]: model["kind"] for model in table["models"]}
    assert kinds["one"] == kinds["two"] == "imported"
    assert {"base", "iteration", "variant"} <= set(kinds.values())
    assert any("Imported from files of FastChat" in note for note in table["notes"])
    one = next(model for model in table["models"] if model["model"] == "one")
    assert (one["parameters"], one["digest"], one["precision"]) == (None, None, None)


def test_the_command_writes_what_is_asked_for(
    tmp_path: Path, judged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["leaderboard", "export", str(judged), "--out", str(out)]
    with pytest.raises(SystemExit) as caught:
        main([*words, "--format", "tex", "--format", "csv"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.split() == [str(out / "mt_bench.csv"), str(out / "mt_bench.tex")]
    rows = list(csv.DictReader(io.StringIO((out / "mt_bench.csv").read_text())))
    assert [row["model"] for row in rows] == ["one", "two"]
    with pytest.raises(SystemExit) as caught:
        main(words[:3])
    assert caught.value.code == 2
    assert "--out DIR" in capsys.readouterr().err


def test_golden_tables_of_imports(
    judged: Path, tmp_path: Path, golden: Callable[[str, str], None]
) -> None:
    for file in export_leaderboard(families_of([judged]), tmp_path, formats=("tex", "md")):
        golden(f"tables/imported{file.suffix}", file.read_text())
