"""Pictures of results: the numbers of the records, told in words too, on light and dark pages."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from card_families import changed, pocket_family

from evalkit.cards import build_card, build_files
from evalkit.cards.charts import Chart, charts, in_words
from evalkit.cards.picture import build_figures
from evalkit.family import Family, Member
from evalkit.records import Comparison

SVG = "{http://www.w3.org/2000/svg}"


def rated_family() -> Family:
    """The pocket family with a second category, and comparisons on two tasks of percents."""
    family = pocket_family()
    for name in ("iter1", "iter2"):
        member = family.member(name)
        suite = member.results[2]
        copied = suite.score("mt_bench_pocket/two_turn", "category_copy")
        sort = replace(copied, metric="category_sort", value=copied.value - 2, ci_low=1.0)
        results = (*member.results[:2], replace(suite, scores=(*suite.scores, sort)))
        family = changed(family, name, results=results)
    second = Comparison(
        "lm_eval_tasks", "pocket_choice", "acc_norm", "iter1", "iter2",
        -4.0, -7.0, -1.0, 0.012, 400, "paired bootstrap",
    )  # fmt: skip
    return replace(family, comparisons=(*family.comparisons, second))


def found(family: Family, name: str) -> dict[str, Chart]:
    return {one.name: one for one in charts(family, family.member(name))}


def score(member: Member, suite: int, metric: str) -> float:
    return next(one.value for one in member.results[suite].scores if one.metric == metric)


def test_win_rates_by_iteration_are_those_of_the_records() -> None:
    family = rated_family()
    chart = found(family, "iter2")["win_rate_alpaca_eval_pocket_open"]
    assert chart.places == ("Pocket-SPPO-Base", "Pocket-SPPO-Iter1", "Pocket-SPPO-Iter2")
    for series, metric in zip(chart.series, ["length_controlled_minimal", "win_rate"], strict=True):
        for mark, member in zip(series.marks, family.members[:3], strict=True):
            assert mark.value == score(member, 1, metric)
            assert mark.low is not None and mark.low < mark.value < (mark.high or 0)
    assert "win_rate_alpaca_eval_pocket_open" not in found(family, "iter2-w4a16_gptq")


def test_categories_beside_the_parents() -> None:
    chart = found(rated_family(), "iter2")["categories_mt_bench_pocket_two_turn"]
    assert chart.places == ("copy", "sort")
    assert [one.title for one in chart.series] == ["Pocket-SPPO-Iter2", "Pocket-SPPO-Iter1"]
    assert [one.own for one in chart.series] == [True, False]
    # One category is no picture.
    assert not any("categories" in name for name in found(pocket_family(), "iter2"))


def test_changes_by_task() -> None:
    chart = found(rated_family(), "iter2")["changes"]
    (series,) = chart.series
    assert [mark.value for mark in series.marks] == [14.0, -4.0]  # ratings have another scale
    assert [mark.text for mark in series.marks] == ["+14.0 [8.8, 19.1]", "−4.0 [−7.0, −1.0]"]
    assert "changes" not in found(pocket_family(), "iter2")
    assert "changes" not in found(rated_family(), "base")


def test_words_say_every_number_and_stand_on_the_card() -> None:
    family = rated_family()
    text = build_card(family, family.member("iter2"), pictured=True)
    alts = {path: words for words, path in re.findall(r"!\[(.*)\]\((figures/\S+)\.png\)", text)}
    for chart in found(family, "iter2").values():
        words = in_words(chart)
        for series in chart.series:
            assert all(mark.text in words and mark.at in words for mark in series.marks)
        assert alts[f"figures/{chart.name}"].replace("\\", "") == words


def test_pictures_lie_beside_the_card_that_shows_them() -> None:
    pytest.importorskip("matplotlib")
    family = rated_family()
    files = build_files(family, family.member("iter2"))
    shown = set(re.findall(r"\((figures/[^)]+)\)", files["README.md"].decode()))
    assert shown == {path for path in files if path.startswith("figures/")}
    for path, content in files.items():
        if path.endswith(".svg"):
            svg = ElementTree.fromstring(content)
            title = svg.find(f"{SVG}title")
            assert svg.get("role") == "img" and title is not None and title.text
            groups = (element.get("id") or "" for element in svg.iter(f"{SVG}g"))
            assert any(name.startswith("marks-") for name in groups)
    assert build_figures(family, family.member("iter2")) == {
        path: content for path, content in files.items() if path.startswith("figures/")
    }


def test_names_from_outside_stay_text_in_a_picture() -> None:
    pytest.importorskip("matplotlib")
    bad = "$\\frac{x}$ <script> & \x00 \u202e"
    family = changed(rated_family(), "iter1", title=bad)
    svgs = [c for p, c in build_figures(family, family.member("iter2")).items() if p[-3:] == "svg"]
    for svg in svgs:
        tree = ElementTree.fromstring(svg)
        assert not list(tree.iter(f"{SVG}script"))
    assert any(b"frac{x}$ &lt;script" in svg for svg in svgs)
