"""The recipe: everything that decides a result, as one closed, frozen document.

Only its shape is checked here; `recipe_file.py` reads YAML into it with line
numbers, and `pipeline/preflight.py` checks it against plug-ins and the machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from evalkit.roles import PluginRef
from evalkit.stages import Section, Stage

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_NAMES = "use letters, digits, '-', '_' and '.', at most 96 in all, no '--' or '..'"
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")
LOCAL_HUB = "local"


class Base(Section):
    """The checkpoint that everything starts from: a model, or a builder that makes one.

    model: a folder or a Hub id; revision: a commit, tag or branch of the Hub id.
    own: the folder is our own model: it gets a card and a repository like what comes of it.
    builder: makes the base instead of `model`.
    without_bos: its chat template writes no BOS although its tokenizer begins other text with one,
        and that is meant.
    """

    model: str | None = None
    revision: str | None = None
    own: bool = False
    builder: PluginRef | None = None
    without_bos: bool = False

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.model is None) == (self.builder is None):
            both = "both" if self.model is not None else "neither"
            raise ValueError(f"{both} of 'model' and 'builder': give one of them")
        if self.own and self.builder is not None:
            raise ValueError("what a builder makes is our own anyway: leave out 'own'")
        return self

    @property
    def is_ours(self) -> bool:
        """Whether it gets a card and a repository: somebody else's model has its own."""
        return self.own or self.builder is not None


class Audit(Section):
    """What the judge is asked beside what is scored, to know how far it can be trusted.

    items: judgements of each checkpoint and benchmark that are looked at again; null for all.
    swapped: ask about pairs in the other order, too. second: another judge, who is asked the same.
    """

    items: Annotated[int, Field(ge=0)] | None = 100
    swapped: bool = True
    second: PluginRef | None = None


class Contamination(Section):
    """A search for evaluation items in all that the family was trained on.

    ngram: how many words in a row, shared with a prompt or response, make an item a hit.
    sources: further texts that the model was trained on, earlier or elsewhere.
    """

    ngram: Annotated[int, Field(ge=1)] = 13
    sources: tuple[PluginRef, ...] = ()


class Evaluation(Section):
    """Which benchmarks measure the family, and who judges where a judge is needed.

    benchmarks: measure every checkpoint, variants included.
    judge: who compares and rates answers, for benchmarks that need one.
    audit: further questions to the judge, of which no score is made; by default none.
    contamination: look for items in training texts, and tell scores without the hits, too; `{}`
        takes its defaults.
    baselines: families of `leaderboards/reported`, whose published figures stand in tables below
        what was measured, marked as reported.
    """

    benchmarks: tuple[PluginRef, ...] = ()
    judge: PluginRef | None = None
    audit: Audit | None = None
    contamination: Contamination | None = None
    baselines: tuple[str, ...] = ()

    @field_validator("benchmarks")
    @classmethod
    def _no_benchmark_twice(cls, value: tuple[PluginRef, ...]) -> tuple[PluginRef, ...]:
        return _each_once(value, "benchmark")


class Recovery(Section):
    """What a quantized variant is to keep of its parent's scores.

    min: least part of the suite average, e.g. 0.99. A variant whose whole interval lies below ends
        the run; one whose interval leaves it open is warned of. `null` for no gate.
    texts: how many conversations, held out from calibration, tell the perplexity of responses.
    """

    min: Annotated[float, Field(gt=0, le=1)] | None = None
    texts: Annotated[int, Field(ge=0)] = 128


class Card(Section):
    """What only a person can say about the family; numbers are not among it.

    title: what the family is called. summary: a paragraph that stands first on every card.
    license: the Hub's identifier. license_name, license_link: for `other`.
    language: languages by their codes; quote 'no', which YAML takes for false.
    tags: further tags of the repositories. authors: who made it. intended_use: what it is for.
    limitations: what it is not good at, beside what was measured.
    citation: how to cite it, BibTeX or plain.
    hardware, energy: what it was trained on, and what that took, in words; neither is measured.
    """

    title: str
    summary: str = ""
    license: str
    license_name: str | None = None
    license_link: str | None = None
    language: tuple[str, ...] = ("en",)
    tags: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    intended_use: str = ""
    limitations: str = ""
    citation: str = ""
    hardware: str = ""
    energy: str = ""

    @field_validator("license")
    @classmethod
    def _looks_like_a_licence(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", value):
            raise ValueError("not an identifier of a licence: give the Hub's, such as apache-2.0")
        return value

    @model_validator(mode="after")
    def _another_licence_is_named(self) -> Self:
        if self.license == "other" and not (self.license_name and self.license_link):
            raise ValueError(
                "licence 'other' has no name and link: add license_name and license_link"
            )
        return self


class Publish(Section):
    """Where the family goes.

    endpoint: `local` (a Hub that evalkit serves on this machine) or a URL.
    private: repositories stay private; otherwise they are made public last.
    namespace: the user or organisation whose repositories they become.
    collection: the title of a collection of the family; none by default.
    tag: names the first release of each repository; later ones count on: v1.1, v1.2. `null` for
        none.
    datasets: publish the preference pairs of each self-play iteration too, as datasets.
    """

    endpoint: str = LOCAL_HUB
    namespace: str
    private: bool = True
    collection: str | None = None
    tag: str | None = "v1.0"
    datasets: bool = False

    @field_validator("tag")
    @classmethod
    def _a_tag_of_git(cls, value: str | None) -> str | None:
        if value is not None and not _TAG.fullmatch(value):
            raise ValueError("no tag: give letters, digits, '.', '-' and '_', such as v1.0")
        return value

    @field_validator("namespace")
    @classmethod
    def _a_user_or_organisation(cls, value: str) -> str:
        if not _NAME.fullmatch(value) or "--" in value or ".." in value:
            raise ValueError(f"no user or organisation is called so: {_NAMES}")
        return value

    @field_validator("endpoint")
    @classmethod
    def _local_or_url(cls, value: str) -> str:
        if value != LOCAL_HUB and not re.match(r"https?://[^/\s]+", value):
            raise ValueError(
                "not a Hub's address: give 'local', or one such as https://huggingface.co"
            )
        if "@" in value:
            raise ValueError("only the address: a token belongs in HF_TOKEN, or hf auth login")
        return value.rstrip("/")


class Recipe(Section):
    """One family of models, from its base to its published cards.

    name: of the family: its repositories are called NAME-Iter1, NAME-Iter2 and so on.
    seed: all chance follows from it. base: what everything starts from.
    engine: generates text, for training and for benchmarks.
    stages: how it is trained, in order; none to measure or quantize a model as it is.
    evaluation: how it is measured. variants: smaller variants of the last checkpoint.
    calibration: a source of prompts with responses for calibrated schemes; default the last
        stage's training prompts and responses. recovery: what variants keep of its scores.
    card: what its cards say in words. publish: where it goes; without it nothing is published.
    """

    name: str
    seed: Annotated[int, Field(ge=0)] = 0
    base: Base
    engine: PluginRef = PluginRef(name="transformers")
    stages: tuple[Stage, ...] = ()
    evaluation: Evaluation = Evaluation()
    variants: tuple[PluginRef, ...] = ()
    calibration: PluginRef | None = None
    recovery: Recovery = Recovery()
    card: Card
    publish: Publish | None = None

    @field_validator("name")
    @classmethod
    def _usable_as_a_repository_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value) or "--" in value or ".." in value:
            raise ValueError(f"no repository can be called so: {_NAMES}")
        return value

    @field_validator("variants")
    @classmethod
    def _no_variant_twice(cls, value: tuple[PluginRef, ...]) -> tuple[PluginRef, ...]:
        return _each_once(value, "scheme")


def _each_once(refs: tuple[PluginRef, ...], what: str) -> tuple[PluginRef, ...]:
    names = [ref.key for ref in refs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{what} {name} is listed twice: remove one")
    return refs


def as_data(section: BaseModel) -> Mapping[str, Any]:
    """A section as plain JSON values, defaults filled in: for fingerprints and the saved recipe."""
    return section.model_dump(mode="json")
