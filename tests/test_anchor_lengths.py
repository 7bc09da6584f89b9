"""Length-controlled win rates of anchors, on AlpacaEval's real outputs and judgements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from length_controlled_parts import table

from evalkit.metrics import alpaca_eval_data
from evalkit.pipeline.anchor_lengths import Controlled, controlled
from evalkit.pipeline.anchors import Anchor, Official, read_anchors

JUDGED = ("phi-2", "gemma-2b-it")
WITH_A_FIGURE = "SPPO-Mistral7B-PairRM"


@pytest.fixture(scope="module")
def raw(shared: Path) -> Path:
    return shared / "golden" / "alpaca_raw"


@pytest.fixture(scope="module")
def setting(raw: Path, shared: Path) -> Controlled:
    (baseline,) = read_anchors([raw / "gpt4_1106_preview"])
    auxiliary = alpaca_eval_data.read(shared / "golden" / "alpaca")
    return Controlled(list(baseline.outputs), baseline, auxiliary, 0)


@pytest.fixture(scope="module")
def anchors(raw: Path) -> list[Anchor]:
    return read_anchors([raw / name for name in (*JUDGED, WITH_A_FIGURE)])


@pytest.fixture(scope="module")
def recorded(raw: Path) -> dict[str, Any]:
    """The official judge's preferences, by model and instruction."""
    found = {}
    for name in JUDGED:
        file = raw / name / "weighted_alpaca_eval_gpt4_turbo" / "annotations.json"
        found[name] = {
            row["instruction"]: row["preference"] for row in json.loads(file.read_text())
        }
    return found


def shifted(preferences: dict[str, Any], by: float) -> dict[str, Any]:
    """Another judge's, who likes the models by so much better."""
    return {
        name: {text: None if p is None else min(2.0, p + by) for text, p in own.items()}
        for name, own in preferences.items()
    }


def test_the_official_judge_agrees_with_itself(
    shared: Path, anchors: list[Anchor], recorded: dict[str, Any], setting: Controlled
) -> None:
    """Its rates are the leaderboard's, to what the choice of C is worth; offsets are exactly 0.

    phi-2 lacks two answers, which shifts the difficulties of later ones as upstream has it.
    """
    expected = table(shared / "golden" / "alpaca" / "expected.csv")
    official = Official(recorded, {}, {}, "official")
    found = controlled(anchors[:2], recorded, official, setting)
    assert len(anchors[0].outputs) < len(setting.texts)
    assert found.names == JUDGED
    assert found.notes == ()
    assert found.rates is not None
    assert setting.auxiliary is not None
    assert found.auxiliary == setting.auxiliary.origin
    for name, one in zip(JUDGED, found.rates.anchors, strict=True):
        published = float(expected[name]["length_controlled_winrate"])
        assert one.rate.value == pytest.approx(published, abs=0.16)
        assert one.official == one.rate.value
        assert one.offset[:4] == (0, 0, 0, 0)
        assert one.rate.low < one.rate.value < one.rate.high  # type: ignore[operator]
        assert found.of(name) == one
    assert found.rates.spearman is not None
    assert found.rates.spearman.value == 1
    assert found.of("another") is None


def test_a_published_figure_is_one_side_too(
    anchors: list[Anchor], recorded: dict[str, Any], setting: Controlled
) -> None:
    """Alone it does not vary; beside judgements it stands, and they say how it varies."""
    figures = {"phi-2": 2.35, "gemma-2b-it": 5.4, WITH_A_FIGURE: 30.49}
    judged = {**recorded, WITH_A_FIGURE: recorded["gemma-2b-it"]}
    new = shifted(judged, 0.05)
    official = Official({"phi-2": recorded["phi-2"]}, {}, figures, "official")
    found = controlled(anchors, new, official, setting)
    assert found.rates is not None
    assert [one.official for one in found.rates.anchors] == pytest.approx(list(figures.values()))
    paired, alone = found.rates.anchors[0].offset, found.rates.anchors[1].offset
    own = found.rates.anchors[1].rate
    assert alone.stderr == pytest.approx(own.stderr)
    assert paired.stderr != pytest.approx(found.rates.anchors[0].rate.stderr)
    assert paired.value == pytest.approx(found.rates.anchors[0].rate.value - 2.35)


def test_why_there_are_none(
    anchors: list[Anchor], recorded: dict[str, Any], setting: Controlled
) -> None:
    official = Official(recorded, {}, {}, "official")

    def note(**changes: Any) -> str:
        found = controlled(anchors[:2], recorded, official, setting._replace(**changes))
        assert found.rates is None
        return found.notes[0]

    other = {text: "x" for text in setting.texts}
    assert "not all of AlpacaEval's own" in note(texts=setting.texts[:-1])
    assert "not all of AlpacaEval's own" in note(texts=list(reversed(setting.texts)))
    assert "the baseline is not" in note(baseline=setting.baseline._replace(outputs=other))
    assert "df_gamed.csv is not on this machine" in note(auxiliary=None)


def test_anchors_that_nothing_is_known_of_are_named_and_the_others_stand(
    anchors: list[Anchor], recorded: dict[str, Any], setting: Controlled
) -> None:
    official = Official(recorded, {}, {}, "official")
    judged = {**recorded, WITH_A_FIGURE: recorded["phi-2"]}
    found = controlled(anchors, judged, official, setting)
    assert found.names == JUDGED
    assert found.notes == (
        f"no length-controlled win rate of {WITH_A_FIGURE}: the official judge's is not known",
    )
