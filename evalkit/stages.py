"""The stages of a recipe: a training method each, and what changes from iteration to iteration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails

from evalkit.fields import KeysOf
from evalkit.preferences import PreferenceOptions
from evalkit.roles import PluginRef
from evalkit.training_settings import TrainingSettings

S = TypeVar("S")
PLUGINS = ("method", "prompts", "judge")
RELEASED_METHODS = ("sppo", "spin")
# Source: uclaml/SPPO scripts/compute_prob.py:41-45, 83-97 at 5e61c4e; max_prompt_length of the
# configs of uclaml/SPPO at 5e61c4e and uclaml/SPIN at a12ba80.
RELEASED_PREFERENCES: dict[str, Any] = {
    "aggregation": "score_difference",
    "self_comparison": True,
    "temperature": 1.0,
}
RELEASED_MAX_PROMPT_LENGTH = 512


class Section(BaseModel):
    """A part of the recipe: closed and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SamplingSection(Section):
    """How responses are drawn for training.

    temperature: 0 takes the likeliest token each time.
    top_p: tokens are drawn from the likeliest that together have this probability.
    max_new_tokens: where a response is cut.
    """

    temperature: Annotated[float, Field(ge=0)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: Annotated[int, Field(ge=1)] = 512


class Gate(Section):
    """What happens when an iteration is measured against the checkpoint that it started from.

    Compared are paired differences, item by item, in intervals that Holm's procedure widens where
    there are several.

    action: warn says on stderr and on the card what was found; stop also ends the run where it is
        not what `require` asks; continue only notes it.
    require: what stop lets pass: not_worse (significantly, on any of them), or better (on one of
        them, and worse on none).
    benchmarks: those of `evaluation.benchmarks` that decide, by name; default all.
    metric: which of their scores decides; default each task's first. `win_rate_over_parent` is that
        of `head_to_head`, and then no benchmark decides.
    level: confidence of all intervals together.
    """

    action: Literal["warn", "stop", "continue"] = "warn"
    require: Literal["not_worse", "better"] = "not_worse"
    benchmarks: tuple[str, ...] = ()
    metric: str | None = None
    level: Annotated[float, Field(ge=0.5, lt=1)] = 0.95


class HeadToHead(Section):
    """Each iteration against the checkpoint that it started from, by judges on the same prompts.

    Both answer once, and are compared in both orders: a win rate with its interval, said behind
    each iteration. A gate whose `metric` is `win_rate_over_parent` decides by it.

    prompts: how many, the last ones of their source; 0 leaves it out.
    source: of the prompts; default that of the stage. What of it an iteration was trained on is
        counted as seen.
    other_judge: compares them, too. A gain that only the judge of the training sees is one over
        that judge. Without either judge nothing is compared.
    """

    prompts: Annotated[int, Field(ge=0)] = 100
    source: PluginRef | None = None
    other_judge: PluginRef | None = None


class IterationSettings(Section):
    """What one iteration of a stage is made with, and `per_iteration` may change.

    method: the training objective.
    prompts: the source of prompts, and of responses where the method wants given ones.
    prompts_per_iteration: how many prompts each iteration takes; default all.
    sampling: how responses are drawn. judge: who compares them, where the method wants that.
    preferences: how win probabilities follow from the judge's answers.
    training: how each iteration optimises.
    """

    method: PluginRef
    prompts: PluginRef
    prompts_per_iteration: Annotated[int, Field(ge=1)] | None = None
    sampling: SamplingSection = SamplingSection()
    judge: PluginRef | None = None
    preferences: PreferenceOptions = PreferenceOptions()
    training: TrainingSettings = TrainingSettings()


class Stage(IterationSettings):
    """One or more iterations of one training method.

    iterations: how often it is repeated, each on the checkpoint of the one before.
    per_iteration: what is different in iteration 1, 2 and so on of this stage: a list of mappings,
        each merged over the stage (`{}` changes nothing).
    reuse_prompts: every iteration takes the same prompts (SPIN) instead of the next ones (SPPO).
    gate: what happens when an iteration is no better than the one before.
    head_to_head: how each iteration is compared with the one before by judges.
    compat: `released` renders, cuts and estimates as the released code of the method (sppo, spin)
        does, its faults included; by default none of them. docs/rendering.md lists them.
    max_prompt_length: tokens of a prompt that are kept where prompt and responses are too long
        together; only with `compat`, and 512 there.
    """

    iterations: Annotated[int, Field(ge=1)] = 1
    per_iteration: tuple[Annotated[Mapping[str, Any], KeysOf(IterationSettings)], ...] = ()
    reuse_prompts: bool = False
    gate: Gate = Gate()
    head_to_head: HeadToHead = HeadToHead()
    compat: Literal["released"] | None = None
    max_prompt_length: Annotated[int, Field(ge=1)] | None = None

    def of_iteration(self, position: int) -> Stage:
        """The stage as one of its iterations has it, counted from 0."""
        data = self.model_dump(mode="json", exclude={"per_iteration"})
        return Stage.model_validate(_merged(data, self.changes(position)))

    def changes(self, position: int) -> Mapping[str, Any]:
        """What is different in one of its iterations, counted from 0."""
        return self.per_iteration[position] if position < len(self.per_iteration) else {}

    @model_validator(mode="wrap")
    @classmethod
    def _iterations_are_right_too(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Tells what is wrong with the stage and with each iteration that differs, all at once."""
        made, wrong = _attempt(partial(handler, data))
        if isinstance(data, Mapping):
            wrong = [*wrong, *_errors_of_changes(cls, data, wrong)]
        if made is None or wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return made

    @model_validator(mode="before")
    @classmethod
    def _released_defaults(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("compat") != "released":
            return value
        given = value.get("preferences", {})
        if isinstance(given, dict):
            given = {**RELEASED_PREFERENCES, **given}
        return {"max_prompt_length": RELEASED_MAX_PROMPT_LENGTH, **value, "preferences": given}

    @model_validator(mode="after")
    def _released_where_it_can_be(self) -> Self:
        if self.compat is None:
            if self.max_prompt_length is not None:
                raise ValueError(
                    "max_prompt_length without compat, where prompts are never cut: remove it"
                )
            return self
        if self.method.key not in RELEASED_METHODS:
            raise ValueError(
                f"there is no released code of {self.method.name} to be compatible with:"
                f" remove 'compat' (it is for {' and '.join(RELEASED_METHODS)})"
            )
        if self.preferences != PreferenceOptions(**RELEASED_PREFERENCES):
            raise ValueError(
                "preferences contradict 'compat', which means the released ones: remove one of them"
            )
        if self.max_prompt_length is None or self.max_prompt_length >= self.training.max_length:
            raise ValueError(
                f"max_prompt_length {self.max_prompt_length} leaves no room for a response within"
                f" training.max_length {self.training.max_length}: lower it"
            )
        return self


def _attempt(make: Callable[[], S]) -> tuple[S | None, list[InitErrorDetails]]:
    """What is made, or why it is not."""
    try:
        return make(), []
    except ValidationError as error:
        return None, [
            InitErrorDetails(
                type=item["type"], loc=item["loc"], input=item["input"], ctx=item.get("ctx", {})
            )
            for item in error.errors(include_url=False)
        ]


def _errors_of_changes(
    kind: type[Stage], data: Mapping[str, Any], told: list[InitErrorDetails]
) -> Iterator[InitErrorDetails]:
    """What is wrong with the iterations that differ, beside what is wrong with the stage."""
    stage = {key: value for key, value in data.items() if key != "per_iteration"}
    entries, iterations = data.get("per_iteration"), stage.get("iterations", 1)
    known = {(error["loc"], error["type"]) for error in told}
    for number, changes in enumerate(entries if isinstance(entries, list | tuple) else ()):
        if not isinstance(changes, Mapping):
            continue  # told as no mapping
        place = ("per_iteration", number)
        if isinstance(iterations, int) and number >= iterations:
            text = f"the stage has no iteration {number + 1}: remove this, or raise 'iterations'"
            yield _wrong(place, changes, text)
            continue
        yield from _misplaced(kind, place, stage, changes)
        kept = {key: changes[key] for key in changes if key in IterationSettings.model_fields}
        _, wrong = _attempt(partial(kind.model_validate, _merged(stage, kept)))
        for error in wrong:
            if (error["loc"], error["type"]) not in known:
                yield InitErrorDetails(**{**error, "loc": (*place, *error["loc"])})


def _misplaced(
    kind: type[Stage],
    place: tuple[str | int, ...],
    stage: Mapping[str, Any],
    changes: Mapping[str, Any],
) -> Iterator[InitErrorDetails]:
    """Keys that no iteration can have for itself."""
    for key in changes.keys() - IterationSettings.model_fields.keys():
        if key in kind.model_fields:
            text = "holds for all iterations of a stage: put it beside 'per_iteration'"
            yield _wrong((*place, key), changes[key], text)
        else:
            yield InitErrorDetails(type="extra_forbidden", loc=(*place, key), input=changes[key])
    old, new = _reference(stage.get("method")), _reference(changes.get("method"))
    if isinstance(new, Mapping) and _names_another(old, new):
        text = "another method than its stage's: make it a stage of its own"
        yield _wrong((*place, "method"), new.get("name"), text)


def _wrong(place: tuple[str | int, ...], value: Any, text: str) -> InitErrorDetails:
    return InitErrorDetails(
        type="value_error", loc=place, input=value, ctx={"error": ValueError(text)}
    )


def _merged(stage: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A stage's plain data with changes merged over it; another plug-in brings its own options."""
    found = dict(stage)
    for key, value in changes.items():
        old, new = found.get(key), value
        if key in PLUGINS:
            old, new = _reference(old), _reference(new)
        found[key] = new if key in PLUGINS and _names_another(old, new) else _over(old, new)
    return found


def _reference(value: Any) -> Any:
    """A plug-in's bare name as the mapping that it is short for."""
    return {"name": value} if isinstance(value, str) else value


def _names_another(old: Any, new: Any) -> bool:
    """Whether changes to a plug-in name another one."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping) or "name" not in new:
        return False
    names = [str(one.get("name")).replace("-", "_") for one in (old, new)]
    return names[0] != names[1]


def _over(old: Any, new: Any) -> Any:
    """One value merged over another: mappings key by key, anything else replaced."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    return {**old, **{key: _over(old.get(key), value) for key, value in new.items()}}
