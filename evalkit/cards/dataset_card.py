"""The card of a data set of preference pairs that an iteration was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evalkit import frontmatter
from evalkit.cards import making, values
from evalkit.cards.lineage import parent_of
from evalkit.cards.links import hub_page, is_hub_id, member_link
from evalkit.cards.regions import sealed
from evalkit.cards.rendering import render
from evalkit.errors import CardError
from evalkit.family import Family, Member, TrainingFacts
from evalkit.markdown import Markdown, link

# Source: hub-docs, datasetcard.md: `size_categories`.
_SIZES = (("n<1K", 1_000), ("1K<n<10K", 10_000), ("10K<n<100K", 100_000), ("100K<n<1M", 1_000_000))


@dataclass(frozen=True)
class PairsFacts:
    """What is known of the file of pairs. path: in the repository; prompts: how many were asked.

    dataset_id: its repository, if it has one.
    """

    path: str
    rows: int
    prompts: int
    sha256: str
    dataset_id: str | None = None


def build_dataset_card(family: Family, member: Member, facts: PairsFacts) -> str:
    """The README.md of the pairs that a member of a family was trained on.

    Raises:
        CardError: the member was not trained here.
    """
    training, parent = member.training, parent_of(family, member)
    if training is None or parent is None:
        raise CardError(f"{member.title} was not trained by evalkit: it has no preference pairs")
    context = {
        "title": f"{member.title}: preference pairs",
        "member": member,
        "model": member_link(family, member),
        "policy": member_link(family, parent),
        "method": making.method_link(training.method),
        "facts": facts,
        "judge": values.phrase(values.portable(training.judge)) if training.judge else "",
        "source": making.data(training.data),
        "prompts_from": _licensed_by(training.data),
        "responses": _responses(family, parent, training),
        "dropped": values.phrase(training.dropped),
        "card": family.card,
        "snippet": _snippet(facts),
        "versions": values.phrase(family.versions),
    }
    text = render("cards/dataset.md.j2", context)
    return sealed(frontmatter.join(_metadata(family, member, facts), "\n" + text))


def _metadata(family: Family, member: Member, facts: PairsFacts) -> dict[str, Any]:
    """Its licence is left to whoever publishes it: prompts and responses have several owners."""
    size = next((name for name, limit in _SIZES if facts.rows < limit), "n>1M")
    found: dict[str, Any] = {
        "pretty_name": f"{member.title} preference pairs",
        "language": list(family.card.get("language") or []),
        "task_categories": ["text-generation"],
        "size_categories": [size],
        "tags": ["evalkit", "preference", "self-play", "synthetic", "trl"]
        + ([f"model:{member.repo_id}"] if member.repo_id else []),
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": facts.path}]}
        ],
    }
    return {key: value for key, value in found.items() if value}


def _responses(family: Family, policy: Member, training: TrainingFacts) -> Markdown:
    """Who wrote them, and how they were drawn."""
    drawn = values.phrase(values.portable(training.sampling or {}))
    return Markdown(f"{member_link(family, policy)}{f' ({drawn})' if drawn else ''}")


def _licensed_by(data: Any) -> Markdown:
    """The data set whose terms the prompts are under; nothing where they have no page."""
    name = data.get("dataset")
    return link(name, hub_page(name, "datasets/")) if is_hub_id(name) else Markdown("")


def _snippet(facts: PairsFacts) -> str:
    name = facts.dataset_id or "."
    return f'from datasets import load_dataset\n\npairs = load_dataset("{name}", split="train")'
