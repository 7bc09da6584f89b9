"""Links to a host that mirrors the Hub, instead of to the Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator

from evalkit import baselines
from evalkit.card_reading.links import Link
from evalkit.lint.context import Context
from evalkit.lint.datasets_named import listed
from evalkit.lint.finding import Finding
from evalkit.lint.hub_places import HUB, MIRRORS, HubPlace, hub_place
from evalkit.lint.rule import Rule

# Other services, on which a path of an owner and a name is a repository of their own.
_OTHER_SERVICES = frozenset(
    "github.com gitlab.com bitbucket.org codeberg.org gitee.com kaggle.com modelscope.cn"
    " modelscope.ai ollama.com replicate.com wandb.ai npmjs.com pypi.org arxiv.org hub.docker.com"
    " deepinfra.com paperswithcode.com openrouter.ai featherless.ai together.ai fireworks.ai"
    " lmstudio.ai civitai.com build.nvidia.com colab.research.google.com x.com twitter.com"
    " linkedin.com youtube.com raw.githubusercontent.com".split()
)


def check(context: Context) -> Iterator[Finding]:
    """Every link to a host that is known, or shown by one of its links, to mirror the Hub."""
    places = _places(context)
    hosts = _mirrors(context, places)
    for link, place in places:
        if place.host in hosts:
            yield Finding(
                link.line,
                f"the link leads to {place.host}, a mirror, not to the Hub",
                evidence=link.target,
                fix=f"write {HUB}/{link.target.split(place.host, 1)[-1].lstrip('/')}",
            )


def mend(context: Context) -> str:
    """The same links, on the Hub."""
    text = context.card.text
    for host in _mirrors(context, _places(context)):
        text = re.sub(rf"https?://{re.escape(host)}(?=/)", HUB, text)
    return text


def _places(context: Context) -> list[tuple[Link, HubPlace]]:
    """Links of the Hub's form, on hosts that are neither it nor a service of another kind."""
    found = ((link, hub_place(link.target)) for link in context.card.links)
    return [
        (link, place)
        for link, place in found
        if place is not None
        and not place.on_hub
        and place.host.removeprefix("www.") not in _OTHER_SERVICES
    ]


def _mirrors(context: Context, places: list[tuple[Link, HubPlace]]) -> set[str]:
    """Hosts of which a link leads to an id that the card, or everybody, knows from the Hub."""
    ids = {base.text.lower() for base in context.subject.base_ids}
    ids |= {one.id.lower() for one in listed(context.card)}
    return {place.host for _, place in places if place.host in MIRRORS or _is_of_hub(place, ids)}


def _is_of_hub(place: HubPlace, ids: set[str]) -> bool:
    model = baselines.known(place.id)
    return place.id.lower() in ids or (model is not None and model.id.lower() == place.id.lower())


RULE = Rule(
    code="EK506",
    name="mirrored-link",
    summary="Links lead to a mirror of the Hub.",
    why="A mirror may be gone, behind, or serve other files; the Hub's own links and counts miss"
    " it.",
    check=check,
    severity="warning",
    mend=mend,
)
