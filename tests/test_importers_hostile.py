"""Importers against damaged and hostile files: finite numbers, or an error that says why."""

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_importers import annotations, harness_file, judgements
from test_importers_tools import HEADER, ROW, ROW_V2, leaderboard_file, log, match, packed

from evalkit import registry
from evalkit.errors import EvalkitError
from evalkit.pipeline.result_files import read
from evalkit.records import dumps

JUNK = st.sampled_from(
    [None, True, -1, 0, 10**400, 1e308, "", "x", "NaN", "\x00", "é" * 50, [], [[]], [None], {},
     {"value": []}, {"": None}, [{"a": 1}], math.nan, math.inf, -math.inf]
)  # fmt: skip
FILES: dict[str, tuple[str, Any]] = {
    "alpaca_eval": ("annotations.json", annotations()),
    "evalkit_result": ("result.json", {
        "benchmark": "b", "checkpoint": "c", "checkpoint_digest": "", "samples": [],
        "scores": [{"task": "t", "metric": "m", "value": 1.0, "n": 3, "scale": "percent"}],
        "provenance": {"harness": "x"}, "clean_scores": [],
    }),
    "inspect_ai": ("log.json", log()),
    "lm_eval": ("results_1.json", harness_file()),
    "mt_bench": ("gpt-4_single.jsonl", judgements()),
    "mt_bench_pairs": ("gpt-4_pair.jsonl", [match(81, "model_1", "tie")]),
    "open_llm_leaderboard": ("results_1.json", leaderboard_file()),
}  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value."""
    yield path
    of_list = enumerate(value) if isinstance(value, list) else ()
    items = value.items() if isinstance(value, dict) else of_list
    for key, child in items:
        yield from places(child, (*path, key))


def changed(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    whole = copy.deepcopy(value)
    if not path:
        return junk
    node = whole
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = junk
    return whole


def text_of(name: str, value: Any) -> str:
    if name.endswith(".jsonl") and isinstance(value, list):
        return "".join(json.dumps(row) + "\n" for row in value)
    return json.dumps(value)


def import_or_refuse(name: str, file: Path) -> None:
    """Reads it as `evalkit import` does; only errors for people may come out."""
    for other in registry.names("importers"):
        registry.load("importers", other)(None).recognises(file)
    try:
        found = read([file], name)
    except EvalkitError as error:
        told = str(error)
    else:
        told = file.name
        for one in found:
            dumps(one.imported.result)  # raises on NaN
    assert file.name in told


@pytest.mark.parametrize("name", FILES)
@given(data=st.data())
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_value_of_another_kind(name: str, tmp_path: Path, data: st.DataObject) -> None:
    file_name, value = FILES[name]
    path = data.draw(st.sampled_from(list(places(value))))
    file = tmp_path / file_name
    file.write_text(text_of(file_name, changed(value, path, data.draw(JUNK))))
    import_or_refuse(name, file)


@pytest.mark.parametrize("name", FILES)
@given(part=st.floats(0, 1))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_file_that_is_cut_off(name: str, tmp_path: Path, part: float) -> None:
    file_name, value = FILES[name]
    text = text_of(file_name, value)
    file = tmp_path / file_name
    file.write_text(text[: int(part * len(text))])
    import_or_refuse(name, file)


@given(data=st.data())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_archives_of_logs(tmp_path: Path, data: st.DataObject) -> None:
    value = log()
    inside = [path for path in places(value) if path and path[:1] != ("samples",)]
    junk = changed(value, data.draw(st.sampled_from(inside)), data.draw(JUNK))
    file = packed(tmp_path / "log.eval", junk)
    content = file.read_bytes()
    file.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2]))])
    import_or_refuse("inspect_ai", file)


@given(cell=st.text(max_size=8), place=st.integers(0, 11))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cells_of_leaderboards(tmp_path: Path, cell: str, place: int) -> None:
    cells = ROW.split(",")
    cells[place] = cell
    file = tmp_path / "leaderboard.csv"
    file.write_text(f"{HEADER}\n{','.join(cells)}\n", encoding="utf-8", errors="replace")
    import_or_refuse("alpaca_eval_leaderboard", file)


@given(key=st.sampled_from(list(ROW_V2)), junk=JUNK)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_of_the_open_llm_leaderboard(tmp_path: Path, key: str, junk: Any) -> None:
    file = tmp_path / "contents.jsonl"
    file.write_text(json.dumps({**ROW_V2, key: junk}) + "\n")
    import_or_refuse("open_llm_leaderboard", file)


def test_groups_inside_each_other(tmp_path: Path) -> None:
    groups = {"both": ["arc_challenge", "more"], "more": ["both"]}
    file = tmp_path / "results_1.json"
    file.write_text(json.dumps(harness_file(group_subtasks=groups)))
    with pytest.raises(EvalkitError, match="no sound members of 'both'"):
        read([file], "lm_eval")
