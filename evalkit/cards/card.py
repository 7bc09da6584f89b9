"""One checkpoint's card: front matter and text, put together from its family's records."""

from __future__ import annotations

import json
from typing import Any

import yaml

from evalkit import frontmatter
from evalkit.cards import evaluation, making, sources, values
from evalkit.cards.curves import in_words, panels
from evalkit.cards.imported import unseen
from evalkit.cards.lineage import citations, datasets, line_of, methods, parent_of, round_of
from evalkit.cards.links import (
    CURVES,
    addresses,
    base_id,
    endpoint,
    hub_page,
    member_link,
    repository,
    results_link,
)
from evalkit.cards.metadata import front_matter, new_version
from evalkit.cards.rendering import render
from evalkit.errors import CardError
from evalkit.family import Family, Member
from evalkit.leaderboard import Definition
from evalkit.markdown import Markdown, escape, link
from evalkit.recipe import Recipe
from evalkit.standings import family_standings, number, to_markdown

# Where a family is published decides no result, and its address may be private.
_NOT_REPRODUCED = ("publish",)


def build_card(
    family: Family,
    member: Member,
    definition: Definition | str | None = None,
    pictured: bool = False,
) -> str:
    """The README.md of one member: front matter and text.

    definition: the leaderboard its table of results follows; default what fits the results.
    pictured: whether what `build_figures` gives lies beside the card.

    Raises:
        CardError: the member is not ours to describe, or a number is missing or not finite.
    """
    if not member.is_ours:
        raise CardError(
            f"{member.title} was not made by evalkit: its card is its authors'",
            "cards are built for your own model (base.own), built bases, iterations and variants",
        )
    context = _context(family, member, definition)
    context["curves"] = _curves(family, member) if pictured else None
    text = frontmatter.join(
        front_matter(family, member), "\n" + render(f"cards/{member.kind}.md.j2", context)
    )
    if member.checkpoint.path.startswith("/") and member.checkpoint.path in text:
        raise CardError(f"the card of {member.title} quotes a path of this machine")
    return text


def _context(family: Family, member: Member, definition: Definition | str | None) -> dict[str, Any]:
    standings = family_standings(family, definition, own=member.checkpoint.name)
    columns = standings.definition.columns
    parent = parent_of(family, member)
    return {
        "family": family,
        "member": member,
        "card": family.card,
        "parent": parent and member_link(family, parent),
        "base": _base(family),
        "lineage": [_step(family, one, member) for one in line_of(family, member)],
        "methods": [making.method_link(name) for name in methods(family, member)],
        "results": to_markdown(standings, addresses(family)) if columns else "",
        "versus": evaluation.versus(family, member, columns),
        "gate": evaluation.gate(family, member),
        "measured": evaluation.measured(family, member),
        "snippet": _snippet(family, member),
        "serve": f"vllm serve {_model_id(family, member)}",
        "local": family.published and endpoint(family) is None,
        "base_id": base_id(family),
        "round": round_of(family, member),
        "newer": _newer(family, member),
        "siblings": [_sibling(family, one) for one in family.members if one is not member],
        "making": making.making(family, member),
        "builder": _builder(family, member),
        "variant": _variant(family, member),
        "imported": unseen(member),
        "datasets": [link(name, hub_page(name, "datasets/")) for name in datasets(family, member)],
        "licence": _licence(family),
        "citations": "\n".join(citations(family, member)).rstrip(),
        "commands": _commands(family),
        "recipe": _recipe(family),
        "versions": values.phrase(family.versions),
        "all_results": results_link(),
        "recovery": evaluation.recovery(family, member, columns) if member.variant else "",
    }


def _curves(family: Family, member: Member) -> dict[str, Any] | None:
    """The picture of a training, told in words to those who do not see it; None for none."""
    found = panels(family, member)
    if not found:
        return None
    picture = Markdown(f"[![{escape(in_words(found))}]({CURVES}.png)]({CURVES}.svg)")
    return {"picture": picture, "earlier": any(len(panel.lines) > 1 for panel in found)}


def _base(family: Family) -> Markdown:
    """The model everything started from; a folder on somebody's machine is not named."""
    base = family.members[0]
    page = base_id(family)
    if page and base.imported:
        return link(page, hub_page(page))
    if page:
        revision = values.shown(base.checkpoint.revision)
        return Markdown(f"{link(page, hub_page(page))} (revision {revision})")
    return member_link(family, base)


def _step(family: Family, one: Member, own: Member) -> Markdown:
    return Markdown(f"**{escape(one.title)}**") if one is own else member_link(family, one)


def _sibling(family: Family, one: Member) -> Markdown:
    if one.kind == "variant" and one.variant:
        parent = parent_of(family, one)
        what = f"{escape(one.variant.label)} variant of {escape(parent.title) if parent else ''}"
    elif one.kind == "iteration" and one.training:
        what = _trained_by(family, one)
    else:
        what = "the base"
    return Markdown(f"{member_link(family, one)}: {what}, {values.size(one.model.size_bytes)}")


def _trained_by(family: Family, one: Member) -> Markdown:
    assert one.training is not None
    label, number = sources.method(one.training.method)["label"], round_of(family, one)
    return escape(f"iteration {number} of {label}" if number else label)


def _newer(family: Family, member: Member) -> Markdown:
    if member.superseded_by is None:
        return Markdown("")
    new_version(family, member)  # says so where the family does not hold it
    return member_link(family, family.member(member.superseded_by))


def _model_id(family: Family, member: Member) -> str:
    return repository(family, member) or f"./{member.title}"


def _snippet(family: Family, member: Member) -> str:
    tokens = (member.training.sampling or {}).get("max_new_tokens") if member.training else None
    limit = f", max_new_tokens={int(tokens)}" if tokens else ""
    classes = ["from transformers import AutoModelForCausalLM, AutoTokenizer"]
    model = "AutoModelForCausalLM"
    if member.imported and member.imported.relation == "adapter":
        model = "AutoPeftModelForCausalLM"
        classes = [f"from peft import {model}", "from transformers import AutoTokenizer"]
    return "\n".join(
        [
            *classes,
            "",
            f"name = {json.dumps(_model_id(family, member))}",
            "tokenizer = AutoTokenizer.from_pretrained(name)",
            f"model = {model}.from_pretrained(name)",
            "",
            'messages = [{"role": "user", "content": "Your question"}]',
            "inputs = tokenizer.apply_chat_template(",
            '    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"',
            ")",
            f"output = model.generate(**inputs{limit})",
            'answer = output[0, inputs["input_ids"].shape[1] :]',
            "print(tokenizer.decode(answer, skip_special_tokens=True))",
        ]
    )


def _builder(family: Family, member: Member) -> Markdown:
    reference = (family.recipe.get("base") or {}).get("builder")
    if member.kind != "base" or not reference:
        return Markdown("")
    return making.options(values.portable(reference))


def _variant(family: Family, member: Member) -> dict[str, Any] | None:
    facts, parent = member.variant, parent_of(family, member)
    if facts is None or parent is None:
        return None
    return {
        "label": facts.label,
        "scheme": facts.scheme,
        "note": sources.scheme(facts.scheme)["note"],
        "calibration_samples": facts.calibration_samples,
        "options": making.options(values.portable(facts.options)),
        "parent_size": parent.model.size_bytes,
        "parent_precision": parent.checkpoint.precision,
        "ratio": _ratio(member.model.size_bytes, parent.model.size_bytes),
        "linear_ratio": _ratio(member.model.linear_bytes, parent.model.linear_bytes),
    }


def _ratio(part: int | None, whole: int | None) -> str:
    return f"{number(100 * part / whole, 1)} %" if part and whole else ""


def _licence(family: Family) -> Markdown:
    card = family.card
    name, where = card.get("license_name") or card["license"], card.get("license_link")
    return link(name, where) if where else escape(name)


def _commands(family: Family) -> str:
    version = family.versions.get("evalkit")
    pinned = f"=={version}" if version else ""
    install = f"pip install 'evalkit[train,eval,quantize,hub]{pinned}'"
    return f"{install}\nevalkit train-and-publish recipe.yaml"


def _recipe(family: Family) -> str:
    known = [key for key in Recipe.model_fields if key in family.recipe]
    order = [*known, *sorted(set(family.recipe) - set(known))]
    kept = {key: family.recipe[key] for key in order if key not in _NOT_REPRODUCED}
    shown = {key: values.portable(value) for key, value in kept.items()}
    plain = json.loads(json.dumps(shown, allow_nan=False))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100).rstrip()
