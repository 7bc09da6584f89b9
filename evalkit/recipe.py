"""The recipe: everything that decides a result, as one closed, frozen document.

Only its shape is checked here; `recipe_file.py` reads YAML into it with line
numbers, and `pipeline/preflight.py` checks it against plug-ins and the machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from evalkit.preferences import PreferenceOptions
from evalkit.roles import PluginRef
from evalkit.training_settings import TrainingSettings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
LOCAL_HUB = "local"


class Section(BaseModel):
    """A part of the recipe: closed and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Base(Section):
    """The checkpoint that everything starts from: a model, or a builder that makes one.

    model: a folder or a Hub id; revision: a commit, tag or branch of the Hub id.
    """

    model: str | None = None
    revision: str | None = None
    builder: PluginRef | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.model is None) == (self.builder is None):
            raise ValueError("give either 'model' or 'builder'")
        return self


class SamplingSection(Section):
    """How responses are drawn for training."""

    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Annotated[int, Field(ge=1)] = 512


class Stage(Section):
    """One or more iterations of one training method.

    prompts_per_iteration: how many prompts each iteration takes; default all.
    reuse_prompts: every iteration takes the same prompts (SPIN) instead of the next ones (SPPO).
    continues: the stage before is the same method with other settings: the first iteration here
        is to it what its next one would be, and sees its last iteration's responses too (SPIN).
    """

    method: PluginRef
    iterations: Annotated[int, Field(ge=1)] = 1
    prompts: PluginRef
    prompts_per_iteration: Annotated[int, Field(ge=1)] | None = None
    reuse_prompts: bool = False
    continues: bool = False
    sampling: SamplingSection = SamplingSection()
    judge: PluginRef | None = None
    preferences: PreferenceOptions = PreferenceOptions()
    training: TrainingSettings = TrainingSettings()


class Evaluation(Section):
    """Which benchmarks measure the family, and who judges where a judge is needed."""

    benchmarks: tuple[PluginRef, ...] = ()
    judge: PluginRef | None = None

    @field_validator("benchmarks")
    @classmethod
    def _no_benchmark_twice(cls, value: tuple[PluginRef, ...]) -> tuple[PluginRef, ...]:
        return _each_once(value, "benchmark")


class Card(Section):
    """What only a person can say about the family; numbers are not among it."""

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

    @field_validator("license")
    @classmethod
    def _looks_like_a_licence(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", value):
            raise ValueError("give the Hub's identifier of the licence, such as 'apache-2.0'")
        return value

    @model_validator(mode="after")
    def _another_licence_is_named(self) -> Self:
        if self.license == "other" and not (self.license_name and self.license_link):
            raise ValueError("licence 'other' needs license_name and license_link")
        return self


class Publish(Section):
    """Where the family goes.

    endpoint: `local` (a Hub that evalkit serves on this machine) or a URL.
    private: repositories stay private; otherwise they are made public last.
    """

    endpoint: str = LOCAL_HUB
    namespace: str
    private: bool = True
    collection: str | None = None

    @field_validator("namespace")
    @classmethod
    def _a_user_or_organisation(cls, value: str) -> str:
        if not _NAME.fullmatch(value) or "--" in value or ".." in value:
            raise ValueError("give the name of a user or an organisation on the Hub")
        return value

    @field_validator("endpoint")
    @classmethod
    def _local_or_url(cls, value: str) -> str:
        if value != LOCAL_HUB and not re.match(r"https?://[^/\s]+", value):
            raise ValueError("give 'local' or the address of a Hub, such as https://huggingface.co")
        return value.rstrip("/")


class Recipe(Section):
    """One family of models, from its base to its published cards.

    calibration: a source of prompts with responses for calibrated schemes; default the last
        stage's training prompts and responses.
    """

    name: str
    seed: Annotated[int, Field(ge=0)] = 0
    base: Base
    engine: PluginRef = PluginRef(name="transformers")
    stages: tuple[Stage, ...] = ()
    evaluation: Evaluation = Evaluation()
    variants: tuple[PluginRef, ...] = ()
    calibration: PluginRef | None = None
    card: Card
    publish: Publish | None = None

    @field_validator("name")
    @classmethod
    def _usable_as_a_repository_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value) or "--" in value or ".." in value:
            raise ValueError("use letters, digits, '-', '_' and '.', at most 96, no '--' or '..'")
        return value

    @field_validator("stages")
    @classmethod
    def _continues_its_like(cls, value: tuple[Stage, ...]) -> tuple[Stage, ...]:
        for number, stage in enumerate(value):
            alike = number > 0 and value[number - 1].method.key == stage.method.key
            if stage.continues and not alike:
                raise ValueError(
                    f"stage {number} continues the one before it, which has another method"
                )
        return value

    @field_validator("variants")
    @classmethod
    def _no_variant_twice(cls, value: tuple[PluginRef, ...]) -> tuple[PluginRef, ...]:
        return _each_once(value, "scheme")


def _each_once(refs: tuple[PluginRef, ...], what: str) -> tuple[PluginRef, ...]:
    names = [ref.key for ref in refs]
    if len(set(names)) < len(names):
        raise ValueError(f"a {what} is listed twice")
    return refs


def as_data(section: BaseModel) -> Mapping[str, Any]:
    """A section as plain JSON values, defaults filled in: for fingerprints and the saved recipe."""
    return section.model_dump(mode="json")
