"""Results of other tools: found, read, and made into families, cards and leaderboards.

No recipe, no weights, no torch: what is not in the files, or told on the command line, is unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from evalkit import __version__, frontmatter
from evalkit.cards import build_card, results_folder
from evalkit.cards.links import PUBLIC_HUB, is_hub_id
from evalkit.durable import write_text
from evalkit.errors import CardError, RecipeError, did_you_mean
from evalkit.family import Family, ImportFacts, Member, ModelFacts, Relation
from evalkit.loading import config_of
from evalkit.pipeline.carding import CARD_FILE
from evalkit.pipeline.evaluation import RESULT, SAMPLES
from evalkit.pipeline.result_files import Reading, combined, read
from evalkit.quantize import size
from evalkit.recipe import Card, as_data
from evalkit.records import Checkpoint, ResultSet, dumps, to_json

UNKNOWN = ModelFacts(None, None, None, None)


class BuiltCard(NamedTuple):
    """What building a card wrote, and of what."""

    card: Path
    records: list[Path]
    family: Family


@dataclass(frozen=True)
class CardOrder:
    """What only a person can say about a model whose results are imported.

    model: its Hub id, or its name; names: what the files call it, where they hold several models.
    card: the values of a recipe's card section; command: what builds the card again.
    importer: what reads the files; by default the importer that recognises each.
    """

    paths: Sequence[Path]
    model: str
    card: Mapping[str, Any]
    command: str
    names: Sequence[str] = ()
    base: str | None = None
    relation: Relation | None = None
    facts: ModelFacts = UNKNOWN
    importer: str | None = None


def build(order: CardOrder, folder: Path, overwrite: bool = False) -> BuiltCard:
    """Writes the card, and beside it the records that its numbers come from.

    Raises:
        RecipeError: nothing is recognised, or it is not clear which results are the model's.
        CardError: the folder holds a card that evalkit did not write.
    """
    if order.base is not None and not is_hub_id(order.base):
        raise RecipeError(f"--base {order.base} is no id of a model on the Hub", "org/name")
    family = family_of_order(order)
    text = build_card(family, family.members[0])
    _check_place(folder, overwrite)
    records = []
    for name, result in _records(family.members[0].results):
        write_text(folder / name / RESULT, _text({**to_json(result), "samples": []}))
        lines = "".join(f"{dumps(sample)}\n" for sample in result.samples)
        write_text(folder / name / SAMPLES, lines)
        records.append(folder / name)
    write_text(folder / CARD_FILE, text)
    return BuiltCard(folder / CARD_FILE, records, family)


def family_of_order(order: CardOrder) -> Family:
    """The family of one whose card is to be built."""
    results = _of_one_model(order, read(order.paths, order.importer))
    title = order.model.rpartition("/")[2]
    member = Member(
        checkpoint=Checkpoint(title, "", "", ""),
        kind="imported",
        title=title,
        repo_id=order.model if is_hub_id(order.model) and "/" in order.model else None,
        model=order.facts,
        results=results,
        imported=ImportFacts(order.relation, order.command),
    )
    return _family(member, _card_section(order.card), order.base)


def facts_of(config: Path | None, parameters: str | None) -> ModelFacts:
    """What config.json says, the weights beside it if there are any, and what a person states.

    Raises:
        RecipeError: the config or the number is none.
    """
    stated = _count(parameters) if parameters else None
    if config is None:
        return replace(UNKNOWN, parameters=stated)
    if config.is_file() and config.name != "config.json":
        raise RecipeError(f"--config {config} is no config.json", "give that file, or its folder")
    folder = config if config.is_dir() else config.parent
    values = config_of(folder)
    context = values.get("max_position_embeddings")
    weights = any(folder.glob("*.safetensors"))
    return ModelFacts(
        architecture=(values.get("architectures") or [None])[0],
        parameters=size.parameters(folder) if weights else stated,
        context_length=int(context) if isinstance(context, int) else None,
        size_bytes=size.checkpoint_bytes(folder) if weights else None,
    )


def _count(text: str) -> int:
    found = re.fullmatch(r"([0-9][0-9_,]*(?:\.[0-9]+)?)\s*([KMBT]?)", text.strip(), re.IGNORECASE)
    if found is None:
        raise RecipeError(f"--parameters {text} is no number", "7241732096, or 7.24B")
    number = float(found[1].replace(",", "").replace("_", ""))
    return round(number * {"": 1, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[found[2].upper()])


def describe(built: BuiltCard) -> dict[str, Any]:
    """What was built, as JSON values."""
    (member,) = built.family.members
    return {
        "card": str(built.card),
        "records": [str(folder) for folder in built.records],
        "model": member.repo_id or member.title,
        "imported": [dict(result.provenance["imported"]) for result in member.results],
        "scores": [
            {"benchmark": result.benchmark, **to_json(score)}
            for result in member.results
            for score in result.scores
        ],
    }


def families(paths: Sequence[Path]) -> list[Family]:
    """One family of one member for each model in the files, by name."""
    by_model: dict[str, list[Reading]] = {}
    for one in read(paths):
        by_model.setdefault(one.imported.model, []).append(one)
    return [_unseen(name, combined(name, found)) for name, found in sorted(by_model.items())]


def _of_one_model(order: CardOrder, readings: Sequence[Reading]) -> tuple[ResultSet, ...]:
    """The results that are the ordered model's."""
    known = sorted({one.imported.model for one in readings})
    wanted = set(order.names)
    for name in order.names:
        if name not in known:
            raise RecipeError(f"no result is of a model called '{name}'", did_you_mean(name, known))
    if not wanted:
        title = order.model.rpartition("/")[2]
        wanted = set(known) if len(known) == 1 else {order.model, title} & set(known)
    if not wanted:
        raise RecipeError(
            f"the results are of {len(known)} models, and none is called {order.model}",
            f"choose with --as NAME: {', '.join(known)}",
        )
    return combined(order.model, [one for one in readings if one.imported.model in wanted])


def _card_section(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A recipe's card section of the given values; nothing else is claimed, not even a language."""
    given = {key: value for key, value in values.items() if value}
    try:
        card = as_data(Card.model_validate({"language": (), **given}))
    except ValidationError as error:
        first = error.errors()[0]
        flag = " ".join(f"--{str(key).replace('_', '-')}" for key in first["loc"]) or "--license"
        said = first["msg"].removeprefix("Value error, ")
        shown = f" '{first['input']}'" if isinstance(first["input"], str) else ""
        hint = "the Hub's identifiers: apache-2.0, mit, llama3, gemma, other, ..."
        raise RecipeError(f"{flag}{shown}: {said}", hint) from error
    return card


def _unseen(name: str, results: tuple[ResultSet, ...]) -> Family:
    """A model as its files name it; of a path on somebody's machine, the last part."""
    is_path = name.startswith(("/", "~", ".")) or "\\" in name
    title = name.replace("\\", "/").rstrip("/").rpartition("/")[2] if is_path else name
    member = Member(
        checkpoint=Checkpoint(title, "", "", ""),
        kind="imported",
        title=title,
        repo_id=None,
        model=UNKNOWN,
        results=results,
        imported=ImportFacts(None, ""),
    )
    return _family(member, {}, None)


def _family(member: Member, card: Mapping[str, Any], base: str | None) -> Family:
    return Family(
        name=member.title,
        members=(member,),
        comparisons=(),
        card=card,
        recipe={"publish": {"endpoint": PUBLIC_HUB}},
        base_source=base,
        versions={"evalkit": __version__},
        published=member.repo_id is not None,
    )


def _records(results: Sequence[ResultSet]) -> Iterator[tuple[str, ResultSet]]:
    """The folder of each result: its benchmark's, with one below where there are several."""
    for result in results:
        alone = sum(other.benchmark == result.benchmark for other in results) == 1
        folder = results_folder(result.benchmark)
        digest = str(result.provenance["imported"]["sha256"])
        yield (folder if alone else f"{folder}/{digest[:12]}"), result


def _check_place(folder: Path, overwrite: bool) -> None:
    """Refuses to overwrite a card that somebody else wrote."""
    file = folder / CARD_FILE
    if overwrite or not file.exists():
        return
    try:
        tags = frontmatter.parse(file.read_text("utf-8")).metadata.get("tags")
    except (CardError, OSError, UnicodeDecodeError):
        tags = None
    if not isinstance(tags, list) or "evalkit" not in tags:
        raise CardError(
            f"{file} was not written by evalkit", "name another folder with --out, or --replace it"
        )


def _text(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
