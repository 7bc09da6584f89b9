"""Training curves on the cards of trained checkpoints: the right lines, told in words too."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from card_families import card, changed, pocket_family

from evalkit.cards import build_card, build_figures, drawn_points
from evalkit.cards.curves import MAX_POINTS, in_words, panels
from evalkit.cards.picture_style import COLOURS, INK
from evalkit.family import Family

SVG = "{http://www.w3.org/2000/svg}"
PAGES = {"light": "#ffffff", "dark": "#0b0f19"}


def course(start: float, steps: int = 12) -> dict[str, list[float | None]]:
    """Metrics as SPPO leaves them; without a log-ratio there is no correlation at first."""
    lines: list[dict[str, float]] = [
        {
            "step": float(step),
            "loss": 25 * (start - step / 100),
            "loss_over_eta2": start - step / 100,
            "delta_nats": step / 10,
            "kl_k3_per_token_nats": step**2 / 5000,
            "entropy_nats": 2 - step / 50,
            "grad_norm": 10 + (-1) ** step,
            "learning_rate": 5e-7,
            **({"delta_win_correlation": step / 20} if step > 1 else {}),
        }
        for step in range(1, steps + 1)
    ]
    return drawn_points(lines)


def trained_family(**curves: dict[str, Any]) -> Family:
    family = pocket_family()
    for name, points in (curves or {"iter1": course(0.2), "iter2": course(0.15, 9)}).items():
        training = family.member(name).training
        assert training is not None
        family = changed(family, name, training=replace(training, curves=points))
    return family


@cache
def figures_of(name: str) -> dict[str, bytes]:
    pytest.importorskip("matplotlib")
    family = trained_family()
    return build_figures(family, family.member(name))


def svg_of(figures: dict[str, bytes]) -> ElementTree.Element:
    assert {"figures/training.svg", "figures/training.png"} <= set(figures)
    assert figures["figures/training.png"].startswith(b"\x89PNG")
    return ElementTree.fromstring(figures["figures/training.svg"])


def texts(svg: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()).strip() for element in svg.iter(f"{SVG}text")]


def lines_drawn(svg: ElementTree.Element) -> list[str]:
    found = (element.get("id") or "" for element in svg.iter(f"{SVG}g"))
    return sorted(name for name in found if name.startswith("line-"))


def contrast(one: str, other: str) -> float:
    """Source: WCAG 2.2, relative luminance and contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_golden_section_of_the_card(golden: Callable[[str, str], None]) -> None:
    family = trained_family()
    pictured = build_card(family, family.member("iter2"), pictured=True)
    start = pictured.index("### Training curves")
    end = pictured.index("### Hyper-parameters")
    golden("cards/curves.md", pictured[start:end])
    plain = card(family, "iter2")
    assert "### Training curves" not in plain
    assert "![" not in plain


def test_without_a_picture_the_card_says_nothing_of_one() -> None:
    assert card(trained_family(), "iter2") == card(pocket_family(), "iter2")
    family = pocket_family()
    pictured = build_card(family, family.member("iter2"), pictured=True)
    assert "### Training curves" not in pictured
    one_step = trained_family(iter2=course(0.2, steps=1))  # one point makes no line
    for known, name in ((family, "iter2"), (one_step, "iter2"), (trained_family(), "base")):
        drawn = build_figures(known, known.member(name))
        assert not any(path.startswith("figures/training") for path in drawn)


def test_a_line_for_each_metric_and_iteration() -> None:
    svg = svg_of(figures_of("iter2"))
    metrics = ["delta_nats", "delta_win_correlation", "entropy_nats", "grad_norm",
               "kl_k3_per_token_nats", "loss_over_eta2"]  # fmt: skip
    assert lines_drawn(svg) == sorted(f"line-{name}-{n}" for name in metrics for n in (0, 1))
    first = svg_of(figures_of("iter1"))
    assert lines_drawn(first) == sorted(f"line-{name}-0" for name in metrics)


def test_axes_and_lines_are_named() -> None:
    family = trained_family()
    shown = texts(svg_of(figures_of("iter2")))
    assert {panel.label for panel in panels(family, family.member("iter2"))} <= set(shown)
    assert shown.count("optimizer step") == 3
    assert {"Pocket-SPPO-Iter1", "Pocket-SPPO-Iter2"} <= set(shown)
    assert "Pocket-SPPO-Iter1" not in texts(svg_of(figures_of("iter1")))  # one line needs no legend


def test_an_iteration_without_known_course_is_left_out() -> None:
    family = trained_family(iter2=course(0.15))
    assert {len(panel.lines) for panel in panels(family, family.member("iter2"))} == {1}


def test_other_methods_show_what_they_have() -> None:
    pytest.importorskip("matplotlib")
    lines = [{"step": s, "loss": 2 - s / 9, "token_accuracy": s / 10} for s in (1, 2, 3)]
    family = trained_family(iter1=drawn_points(lines))
    svg = svg_of(build_figures(family, family.member("iter1")))
    assert lines_drawn(svg) == ["line-loss-0", "line-token_accuracy-0"]


def test_words_for_those_who_do_not_see_it() -> None:
    family = trained_family()
    words = in_words(panels(family, family.member("iter2")))
    assert words.startswith("Training curves over 9 optimizer steps: loss/η² from 0.14 to 0.06;")
    assert "correlation of Δ and win probability from 0.1 to 0.45" in words
    svg = svg_of(figures_of("iter2"))
    assert svg.get("role") == "img"
    title = svg.find(f"{SVG}title")
    assert title is not None and title.text == words
    alt = re.search(r"!\[(.*)\]\(figures/training\.png\)",
                    build_card(family, family.member("iter2"), pictured=True))  # fmt: skip
    assert alt is not None and alt[1] == words


def test_equal_numbers_give_equal_bytes_whatever_matplotlibrc_says() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    family = trained_family()
    first = figures_of("iter2")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "svg.hashsalt": "x"}):
        assert build_figures(family, family.member("iter2")) == first
    svg = first["figures/training.svg"]
    assert b"<dc:date>" not in svg
    assert matplotlib.__version__.encode() not in svg


@pytest.mark.parametrize("page", PAGES)
def test_it_is_readable_on_light_and_dark_pages(page: str) -> None:
    assert contrast(INK, PAGES[page]) > 4
    assert all(contrast(colour, PAGES[page]) > 3 for colour in COLOURS)
    backgrounds = [
        path.get("style", "")
        for patch in svg_of(figures_of("iter2")).iter(f"{SVG}g")
        if (patch.get("id") or "").startswith("patch_1")
        for path in patch.iter(f"{SVG}path")
    ]
    assert backgrounds and all("fill: none" in style for style in backgrounds)


def test_long_trainings_are_thinned_evenly_and_end_where_they_ended() -> None:
    lines = [{"step": float(step), "loss": 1 / step} for step in range(1, 5004)]
    kept = drawn_points(lines)
    assert len(kept["step"]) <= MAX_POINTS + 1
    assert kept["step"][-1] == 5003
    steps = [step for step in kept["step"] if step is not None]
    assert len({b - a for a, b in pairwise(steps[:-1])}) == 1
    assert drawn_points([{"step": 1.0, "something": 2.0}]) == {}
    assert drawn_points([]) == {}


@pytest.mark.slow
def test_a_run_publishes_its_curves_and_tells_them_in_its_own_numbers(micro_run: Path) -> None:
    pytest.importorskip("matplotlib")
    run = micro_run / "run"
    releases = json.loads((run / "steps/publish/releases.json").read_text())
    files = {release["checkpoint"]: set(release["files"]) for release in releases}
    pictures = {"figures/training.png", "figures/training.svg"}
    assert {name for name, held in files.items() if pictures <= held} == {"iter1", "iter2"}
    assert not pictures & set().union(*(files[name] for name in files.keys() - {"iter1", "iter2"}))
    lines = (run / "steps/iter2-train/metrics.jsonl").read_text().splitlines()
    first, last = (json.loads(line) for line in (lines[0], lines[-1]))
    text = (run / "steps/cards/Micro-SPPO-Iter2/README.md").read_text()
    told = f"loss/η² from {first['loss_over_eta2']:.3g} to {last['loss_over_eta2']:.3g};"
    assert f"Training curves over {last['step']} optimizer steps: {told}" in text
    svg = (run / "steps/cards/Micro-SPPO-Iter2/figures/training.svg").read_bytes()
    assert {f"line-loss_over_eta2-{n}" for n in (0, 1)} <= set(
        lines_drawn(ElementTree.fromstring(svg))
    )
