"""A family of models as cards, tables and publishing see it: members, scores, how each was made.

`pipeline` gathers it from receipts; it holds no number that is not in a record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from evalkit.records import Checkpoint, Comparison, ResultSet

MemberKind = Literal["base", "iteration", "variant", "imported", "reported"]
GateOutcome = Literal["better", "no significant difference", "worse", "not compared"]
Relation = Literal["finetune", "quantized", "merge", "adapter"]


@dataclass(frozen=True)
class ModelFacts:
    """What a checkpoint's own files say about it; None where they were not at hand.

    size_bytes: of all weight files; linear_bytes: of the quantizable linear layers alone.
    """

    architecture: str | None
    parameters: int | None
    context_length: int | None
    size_bytes: int | None
    linear_bytes: int | None = None


@dataclass(frozen=True)
class TrainingFacts:
    """How one iteration was trained.

    method: plug-in name; options, settings, sampling: as resolved from the recipe.
    prompts: how many prompts were asked; examples: how many survived; dropped: reason -> count.
    judge: identity, where one was asked; facts: other counts (responses, order bias...).
    trained_on: each iteration whose groups it saw: `iteration`, `prompts`, `digest` of the groups.
    curves: metric -> its course, beside `step`, the optimizer steps that it was noted at.
    """

    method: str
    options: Mapping[str, Any]
    settings: Mapping[str, Any]
    data: Mapping[str, Any]
    prompts: int
    examples: int
    sampling: Mapping[str, Any] | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    judge: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    trained_on: tuple[Mapping[str, Any], ...] = ()
    curves: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GateFacts:
    """What measuring an iteration against the checkpoint it started from says of it.

    level: confidence in all of the `comparisons` together, a part of 1.
    told: whether its card is to say so.
    """

    outcome: GateOutcome
    comparisons: int
    level: float
    told: bool


@dataclass(frozen=True)
class VariantFacts:
    """How a variant was quantized: scheme name, its label for people, bits, options, tags.

    recovery: what was found of its scores beside its parent's: `lines`, `perplexity`, `method`.
    """

    scheme: str
    label: str
    bits: int
    tags: tuple[str, ...]
    options: Mapping[str, Any]
    calibration_samples: int = 0
    recovery: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ImportFacts:
    """How a card came about whose model evalkit has not seen: its results were imported.

    relation: to the family's base, where somebody stated it; command: what builds the card again.
    """

    relation: Relation | None
    command: str


@dataclass(frozen=True)
class StatedStep:
    """One step of a training that somebody states and evalkit has not seen.

    method: a plug-in's name, or any other. started_from: a model's id. data: what it was trained
    on, Hub ids or plain words. settings: its hyper-parameters.
    """

    method: str
    iteration: int | None = None
    started_from: str = ""
    data: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class StatedFacts:
    """What a person states of how a model was made.

    quantized: to what (`FP8`), empty for what is not quantized. quantized_by: who did.
    schedule: the steps that its authors plan or propose; reached: how many of them it has behind
    it, None if they do not say. source: where all of this is said; date: when it was read there.
    """

    steps: tuple[StatedStep, ...] = ()
    quantized: str = ""
    quantized_by: str = ""
    schedule: tuple[str, ...] = ()
    reached: int | None = None
    source: str = ""
    date: str = ""


@dataclass(frozen=True)
class Member:
    """One checkpoint of a family with all that its card says.

    title: its name for people (`Pocket-SPPO-Iter2`); repo_id: `namespace/title`, None if
        it is not published by this run (a base that came from elsewhere).
    built: plain words on how a base was built by evalkit, empty otherwise.
    own: whether a base that evalkit did not build is its publisher's own model all the same.
    """

    checkpoint: Checkpoint
    kind: MemberKind
    title: str
    repo_id: str | None
    model: ModelFacts
    results: tuple[ResultSet, ...] = ()
    iteration: int | None = None
    training: TrainingFacts | None = None
    gate: GateFacts | None = None
    variant: VariantFacts | None = None
    imported: ImportFacts | None = None
    stated: StatedFacts | None = None
    superseded_by: str | None = None
    built: str = ""
    own: bool = False

    @property
    def is_ours(self) -> bool:
        """Whether its card is ours to write; a base that came from elsewhere has its authors'."""
        return self.kind != "base" or bool(self.built) or self.own


@dataclass(frozen=True)
class Family:
    """All members in the order base, iterations, variants.

    card: the recipe's card section as plain values; recipe: the whole resolved recipe.
    base_source: the Hub id (or path) of the base, None if evalkit built it.
    comparisons: of each member with its parent and with the base.
    versions: package name -> version of what made it.
    baselines: models of others with reported scores, which tables show beside the members.
    """

    name: str
    members: tuple[Member, ...]
    comparisons: tuple[Comparison, ...]
    card: Mapping[str, Any]
    recipe: Mapping[str, Any]
    base_source: str | None
    versions: Mapping[str, str]
    published: bool
    baselines: tuple[Member, ...] = ()

    def member(self, name: str) -> Member:
        """The member whose checkpoint has this family name; KeyError if there is none."""
        for member in self.members:
            if member.checkpoint.name == name:
                return member
        raise KeyError(name)
