"""What a card draws of its results: win rates by iteration, MT-Bench by category, change by task.

Pure: which numbers, of whom, and the same in words; `chart_drawing.py` draws them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from evalkit.cards.lineage import parent_of
from evalkit.cards.reported_figures import decimals_in
from evalkit.family import Family, Member
from evalkit.leaderboard import Column, label
from evalkit.records import Comparison, Score
from evalkit.standings import with_interval

CATEGORY = "category_"
_WIN_RATES = ("length_controlled_winrate", "length_controlled_minimal", "win_rate")
_TWO = 2  # fewer are no picture: the table says it all


_Decided = tuple[Score, int]  # with how many decimals it is shown


class Mark(NamedTuple):
    """One number with its interval, if it has one, and the text that says it."""

    at: str
    value: float
    low: float | None
    high: float | None
    text: str


class Series(NamedTuple):
    """Marks of one kind; `own` where they are the card's own model's."""

    title: str
    own: bool
    marks: tuple[Mark, ...]


class Chart(NamedTuple):
    """One picture.

    name: of its file. form: `course` goes from left to right; `rows` has a row for each place;
        `changes` has rows around a line at zero.
    title: for the card; axis: what the numbers are; places: in the order drawn.
    """

    name: str
    form: Literal["course", "rows", "changes"]
    title: str
    axis: str
    places: tuple[str, ...]
    series: tuple[Series, ...]


def charts(family: Family, member: Member, columns: Sequence[Column] = ()) -> list[Chart]:
    """The pictures of a member's results; those with fewer than two numbers are left out.

    columns: of its table of results, whose headings name the tasks.
    """
    found = [*_win_rates(family, member), *_categories(family, member)]
    return [*found, *_changes(family, member, columns)]


def in_words(chart: Chart) -> str:
    """All numbers of a chart, for readers who do not see it."""
    told = [
        f"{series.title}: {', '.join(f'{mark.at} {mark.text}' for mark in series.marks)}"
        for series in chart.series
    ]
    return f"{chart.title} ({chart.axis}). {'; '.join(told)}."


def _win_rates(family: Family, member: Member) -> Iterator[Chart]:
    """One line for each kind of win rate, over the base and the iterations that have it."""
    course = [one for one in family.members if one.kind != "variant"]
    if member not in course or len(course) < _TWO:
        return
    found = {one.title: list(_scores(one, "alpaca_eval")) for one in course}
    tasks = dict.fromkeys(score.task for score, _ in found[member.title])
    for task in tasks:
        series = [
            Series(label("metrics", metric), True, tuple(marks))
            for metric in _WIN_RATES
            if len(marks := list(_course(course, found, task, metric))) >= _TWO
        ]
        if series:
            places = tuple(
                one.title for one in course if any(_has(line, one.title) for line in series)
            )
            name = _file_name("win_rate", task)
            title = f"{label('tasks', task)} win rate by iteration"
            yield Chart(name, "course", title, "%", places, tuple(series))


def _course(
    course: Sequence[Member], found: dict[str, list[_Decided]], task: str, metric: str
) -> Iterator[Mark]:
    for one in course:
        scores = (one for one in found[one.title] if (one[0].task, one[0].metric) == (task, metric))
        first = next(scores, None)  # of a figure that several report, the one in the table
        if first is not None:
            yield _mark(one.title, *first)


def _has(series: Series, place: str) -> bool:
    return any(mark.at == place for mark in series.marks)


def _categories(family: Family, member: Member) -> Iterator[Chart]:
    """The member's rating in each category, beside its parent's."""
    parent = parent_of(family, member)
    for task in dict.fromkeys(score.task for score, _ in _scores(member, "mt_bench")):
        series = [
            Series(one.title, one is member, tuple(marks))
            for one in (member, parent)
            if one is not None and len(marks := list(_ratings(one, task))) >= _TWO
        ]
        if series and series[0].own:
            places = tuple(mark.at for mark in series[0].marks)
            name = _file_name("categories", task)
            title = f"{label('tasks', task)} by category"
            yield Chart(name, "rows", title, "rating, 1 to 10", places, tuple(series))


def _ratings(member: Member, task: str) -> Iterator[Mark]:
    for score, decimals in _scores(member, "mt_bench"):
        if score.task == task and score.metric.startswith(CATEGORY):
            yield _mark(score.metric.removeprefix(CATEGORY).replace("_", " "), score, decimals)


def _changes(family: Family, member: Member, columns: Sequence[Column]) -> Iterator[Chart]:
    """What changed against the parent, task by task, where both were measured item by item."""
    parent = parent_of(family, member)
    if parent is None:
        return
    percent = {
        (result.benchmark, score.task, score.metric)
        for result in member.results
        for score in result.scores
        if score.scale == "percent" and score.higher_is_better
    }
    marks = tuple(
        _change(one, _heading(columns))
        for one in family.comparisons
        if (one.a, one.b) == (parent.checkpoint.name, member.checkpoint.name)
        and (one.benchmark, one.task, one.metric) in percent
    )
    if len(marks) >= _TWO:
        series = Series(f"{member.title} minus {parent.title}", True, marks)
        places = tuple(mark.at for mark in marks)
        title = f"Change by task against {parent.title}"
        yield Chart("changes", "changes", title, "percentage points", places, (series,))


def _heading(columns: Sequence[Column]) -> Callable[[Comparison], str]:
    def heading(one: Comparison) -> str:
        for column in columns:
            alike = (column.benchmark, column.metric) == (one.benchmark, one.metric)
            if alike and column.covers(one.task):
                return column.heading
        return f"{label('tasks', one.task)}: {label('metrics', one.metric)}"

    return heading


def _change(one: Comparison, heading: Callable[[Comparison], str]) -> Mark:
    sign = "+" if one.difference > 0 else ""
    shown = with_interval(one.difference, one.ci_low, one.ci_high, 1).replace("-", "−")
    return Mark(heading(one), one.difference, one.ci_low, one.ci_high, f"{sign}{shown}")


def _scores(member: Member, benchmark: str) -> Iterator[_Decided]:
    for result in member.results:
        if result.benchmark == benchmark:
            yield from ((score, decimals_in(result, score)) for score in result.scores)


def _file_name(kind: str, task: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", f"{kind}_{task}")


def _mark(at: str, score: Score, decimals: int) -> Mark:
    shown = with_interval(score.value, score.ci_low, score.ci_high, decimals)
    return Mark(at, score.value, score.ci_low, score.ci_high, shown)
