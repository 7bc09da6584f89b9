"""How a checkpoint was made: data, method, settings, what was dropped and who judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evalkit.cards import sources, values
from evalkit.cards.lineage import parent_of, trainings
from evalkit.cards.links import arxiv, hub_page, is_hub_id, member_link
from evalkit.family import Family, Member, TrainingFacts
from evalkit.markdown import Markdown, code, escape, link, table

_SHOWN_APART = {"name", "digest", "dataset", "revision"}


@dataclass(frozen=True)
class Making:
    """The training of one checkpoint as its card tells it."""

    method: Markdown
    maths: Markdown
    data: Markdown
    judge: Markdown
    steps: Markdown
    settings: Markdown
    counts: Markdown
    facts: Markdown


def making(family: Family, member: Member) -> Making | None:
    """How an iteration was trained; None for what was not trained here."""
    facts = member.training
    if facts is None:
        return None
    return Making(
        method=method_link(facts.method),
        maths=Markdown(sources.method(facts.method)["maths"]),
        data=data(facts.data),
        judge=values.phrase(values.portable(facts.judge)) if facts.judge else Markdown(""),
        steps=_steps(family, member),
        settings=_hyper_parameters(facts),
        counts=_counts(facts),
        facts=_list(facts.facts),
    )


def method_link(name: str) -> Markdown:
    """A method's full name with its short one, linked to its paper."""
    known = sources.method(name)
    short, full = known["label"], known["name"]
    words = f"{full} ({short})" if full.lower() != short.lower() else short
    return link(words, arxiv(known["arxiv"])) if known["arxiv"] else escape(words)


def data(description: Mapping[str, Any]) -> Markdown:
    """A source of prompts or questions in one line: name, Hub id and revision, digest, the rest."""
    dataset, name = description.get("dataset"), description.get("name")
    parts = []
    if is_hub_id(dataset):
        parts.append(link(str(dataset), hub_page(str(dataset), "datasets/")))
        if description.get("revision"):
            parts.append(Markdown(f"at revision {code(str(description['revision']))}"))
    elif name:
        parts.append(escape(str(values.portable(name))))
    rest = {k: v for k, v in description.items() if k not in _SHOWN_APART}
    if rest:
        parts.append(values.phrase(rest))
    if description.get("digest"):
        parts.append(Markdown(f"sha256 {code(str(description['digest']))}"))
    return Markdown(", ".join(parts))


def options(facts: Mapping[str, Any]) -> Markdown:
    """Settings as a table of two columns; nothing for none."""
    rows = [[name, value] for name, value in values.rows(facts)]
    return table(["Setting", "Value"], rows) if rows else Markdown("")


def _hyper_parameters(facts: TrainingFacts) -> Markdown:
    """Everything that was set, the defaults included, and the batch as it took effect."""
    settings = dict(facts.settings)
    if adapter := settings.get("adapter"):  # its default is told as what it stands for
        frozen = adapter.get("base_precision") or settings.get("precision")
        settings["adapter"] = {**adapter, "base_precision": frozen}
    rows = [["method", sources.method(facts.method)["label"]]]
    rows += [[name, value] for name, value in values.rows(facts.options)]
    rows += [[name, value] for name, value in values.rows(settings)]
    batch, part = settings.get("batch_size"), settings.get("micro_batch_size")
    if batch and part:
        rows.append(["gradient accumulation steps", values.shown(batch // part)])
    if facts.sampling:
        rows += [[f"sampling, {name}", value] for name, value in values.rows(facts.sampling)]
    return table(["Setting", "Value"], rows)


def _counts(facts: TrainingFacts) -> Markdown:
    return Markdown(
        "\n".join(
            [
                f"- prompts: {values.count(facts.prompts)}",
                f"- dropped: {values.phrase(facts.dropped) or 'none'}",
                f"- examples trained on: {values.count(facts.examples)}",
            ]
        )
    )


def _list(facts: Mapping[str, Any]) -> Markdown:
    lines = [f"- {escape(name)}: {value}" for name, value in values.rows(facts)]
    return Markdown("\n".join(lines))


def _steps(family: Family, member: Member) -> Markdown:
    """Every training step up to this checkpoint: what it started from, and with how much data."""
    rows = []
    for one, facts in trainings(family, member):
        parent = parent_of(family, one)
        assert parent is not None
        rows.append(
            [
                member_link(family, one),
                member_link(family, parent),
                sources.method(facts.method)["label"],
                values.count(facts.prompts),
                values.count(facts.examples),
                values.count(sum(facts.dropped.values())),
                code(str(facts.data.get("digest") or "")[:12]),
                _mix(facts),
            ]
        )
    head = ["Checkpoint", "Started from", "Method", "Prompts", "Examples", "Dropped"]
    head += ["Data (sha256)", "Trained on the prompts of"]
    return table(head, rows, ["left", "left", "left", "right", "right", "right", "left", "left"])


def _mix(facts: TrainingFacts) -> Markdown:
    """The iterations whose prompts and responses it saw, with how many of them."""
    parts = [
        f"{escape(part['iteration'])} ({values.count(part['prompts'])})"
        for part in facts.trained_on
    ]
    return Markdown(", ".join(parts))
