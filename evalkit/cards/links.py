"""Where a card points to: the family's repositories, Hub ids, papers and files beside it."""

from __future__ import annotations

import re
from urllib.parse import quote

from evalkit.family import Family, Member
from evalkit.markdown import Markdown, code, escape, link
from evalkit.recipe import LOCAL_HUB

PUBLIC_HUB = "https://huggingface.co"
CARD_FILE = "README.md"
RESULTS_FOLDER = "eval"
FIGURES_FOLDER = "figures"
_HUB_ID = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}")


def results_folder(benchmark: str) -> str:
    """Where a repository holds the records and raw files of one benchmark."""
    return f"{RESULTS_FOLDER}/{benchmark}"


def results_link(benchmark: str) -> Markdown:
    """A link to the folder of one benchmark's raw files within the repository."""
    path = results_folder(benchmark)
    return Markdown(f"[{code(f'{path}/')}]({quote(path)})")


def is_hub_id(text: object) -> bool:
    """Whether `text` has the form of a Hub repository id."""
    if not isinstance(text, str) or not _HUB_ID.fullmatch(text):
        return False
    return "--" not in text and ".." not in text and not text.endswith((".git", ".", "-"))


def endpoint(family: Family) -> str | None:
    """The address of the Hub the family goes to, None for one served on the reader's machine."""
    where = (family.recipe.get("publish") or {}).get("endpoint")
    return where if where and where != LOCAL_HUB else None


def address(family: Family, member: Member) -> str | None:
    """A member's page; on a local Hub, whose port changes, the path from its root."""
    if family.published and member.repo_id:
        return f"{endpoint(family) or ''}/{member.repo_id}"
    return hub_page(base_id(family)) if member.kind == "base" and base_id(family) else None


def addresses(family: Family) -> dict[str, str]:
    """Checkpoint name -> page, of all members that have one."""
    found = {member.checkpoint.name: address(family, member) for member in family.members}
    return {name: page for name, page in found.items() if page}


def member_link(family: Family, member: Member) -> Markdown:
    """A member's title, linked where it has a page."""
    page = address(family, member)
    return link(member.title, page) if page else escape(member.title)


def base_id(family: Family) -> str | None:
    """The Hub id of a base that came from the Hub; a folder of that form has no revision."""
    base = family.members[0]
    stated = base.kind == "imported" or base.checkpoint.revision
    return family.base_source if stated and is_hub_id(family.base_source) else None


def repository(family: Family, member: Member) -> str | None:
    """The Hub id under which others can load a member, None if they cannot."""
    if family.published and member.repo_id:
        return member.repo_id
    return base_id(family) if member.kind == "base" else None


def hub_page(repo_id: str | None, kind: str = "") -> str:
    """The page of a repository on the public Hub; `kind` is `datasets/` or nothing."""
    return f"{PUBLIC_HUB}/{kind}{repo_id}"


def arxiv(number: str) -> str:
    """The page of a paper."""
    return f"https://arxiv.org/abs/{number}"
