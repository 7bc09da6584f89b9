"""Which metrics of a training a card draws, for which iterations, and the same in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evalkit.cards.lineage import trainings
from evalkit.family import Family, Member

STEP = "step"
MAX_POINTS = 400  # per line: more cannot be told apart in a picture
# Each panel shows the first of these that was measured: (metric, what its axis is called).
_PANELS = (
    (("loss_over_eta2", "loss/η²"), ("loss", "loss")),
    (("margin_nats", "Δ chosen − Δ rejected (nats)"), ("delta_nats", "mean Δ (nats)")),
    (
        ("accuracy", "accuracy of pairs"),
        ("delta_win_correlation", "correlation of Δ and win probability"),
        ("token_accuracy", "top-1 token accuracy"),
    ),
    (("kl_k3_per_token_nats", "KL to the start (nats per token)"),),
    (("entropy_nats", "entropy (nats per token)"),),
    (("grad_norm", "gradient norm before clipping"),),
)
DRAWN = tuple(metric for panel in _PANELS for metric, _ in panel)
Points = Sequence[float | None]


class Line(NamedTuple):
    """One training in one panel; `own` if it is the card's own, not an earlier one."""

    title: str
    own: bool
    steps: Sequence[float]
    values: Points


class Panel(NamedTuple):
    """One metric: its name in `metrics.jsonl`, what its axis is called, a line per training."""

    metric: str
    label: str
    lines: tuple[Line, ...]


def drawn_points(metrics: Sequence[Mapping[str, float]]) -> dict[str, list[float | None]]:
    """What a family keeps of the lines of `metrics.jsonl`: the drawn metrics, evenly thinned.

    None stands where a line does not have a metric. The last line is always kept.
    """
    every = -(-len(metrics) // MAX_POINTS)
    kept = [one for n, one in enumerate(metrics, 1) if n % every == 0 or n == len(metrics)]
    names = [name for name in DRAWN if any(name in one for one in kept)]
    return {name: [one.get(name) for one in kept] for name in (STEP, *names)} if names else {}


def panels(family: Family, member: Member) -> list[Panel]:
    """The panels of a trained member's picture; empty where nothing is known of its course.

    Beside its own line stand those of the trainings before it by the same method.
    """
    facts = member.training
    if facts is None or not _is_a_course(facts.curves):
        return []
    course = [
        (one, before)
        for one, before in trainings(family, member)
        if before.method == facts.method and _is_a_course(before.curves)
    ]
    found: list[Panel] = []
    for choice in _PANELS:
        for metric, label in choice:
            if metric in facts.curves:
                lines = [_line(one, before.curves, metric, member) for one, before in course]
                found.append(Panel(metric, label, tuple(line for line in lines if line)))
                break
    return found


def in_words(found: Sequence[Panel]) -> str:
    """What the picture shows, for readers who do not see it: each metric's first and last value."""
    own = [(panel.label, line) for panel in found for line in panel.lines if line.own]
    told = [f"{label} from {_first(line)} to {_first(line, -1)}" for label, line in own]
    last = max(line.steps[-1] for _, line in own)
    return f"Training curves over {last:.0f} optimizer steps: {'; '.join(told)}."


def _is_a_course(curves: Mapping[str, Any]) -> bool:
    """Whether there is more than one point: one makes no line."""
    return len(curves.get(STEP, ())) > 1


def _line(one: Member, curves: Mapping[str, Any], metric: str, own: Member) -> Line | None:
    if metric not in curves:
        return None
    return Line(one.title, one is own, curves[STEP], curves[metric])


def _first(line: Line, direction: int = 1) -> str:
    values = [value for value in line.values if value is not None]
    return f"{values[::direction][0]:.3g}"
