"""Step `ITERATION-gate`: whether an iteration is better or worse than what it started from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from evalkit.console import say, warn
from evalkit.errors import EvalkitError, Problem, did_you_mean
from evalkit.family import GateOutcome
from evalkit.fingerprint import fingerprint
from evalkit.pipeline import evaluation, head_to_head, plugins
from evalkit.pipeline.layout import IterationSlot, iterations
from evalkit.pipeline.step import Step, StepContext
from evalkit.recipe import Recipe
from evalkit.records import Comparison, ResultSet, to_json
from evalkit.roles import PluginRef
from evalkit.stages import Gate, Stage
from evalkit.stats import comparable, compare, holm_confidences

MOST_SHOWN = 3  # differences in a sentence
SAME: GateOutcome = "no significant difference"
_SENTENCES: Mapping[GateOutcome, str] = {
    "better": "{new} is better than {old}",
    "no significant difference": "{new} shows no significant gain over {old}",
    "worse": "{new} is significantly worse than {old}",
    "not compared": "nothing that was measured compares {new} with {old}",
}
_LETS_PASS: Mapping[str, tuple[GateOutcome, ...]] = {
    "not_worse": ("better", SAME),
    "better": ("better",),
}


class Candidate(NamedTuple):
    """One score of two checkpoints that can be compared item by item."""

    a: ResultSet
    b: ResultSet
    task: str
    metric: str

    def compared(self, seed: int, confidence: float = 0.95) -> Comparison:
        """The paired difference, in an interval of that confidence."""
        return compare(self.a, self.b, self.task, self.metric, seed, confidence)

    def verdict(self, comparison: Comparison) -> GateOutcome:
        """What the interval says of the newer checkpoint."""
        if comparison.ci_low <= 0 <= comparison.ci_high:
            return SAME
        gain = self.b.score(self.task, self.metric).higher_is_better
        return "better" if (comparison.difference > 0) == gain else "worse"


def step_name(slot_name: str) -> str:
    """Name of the step that decides about an iteration."""
    return f"{slot_name}-gate"


def step_names(recipe: Recipe) -> list[str]:
    """The gates of a family that is measured."""
    return [step_name(slot.name) for slot in iterations(recipe) if decides(recipe, slot)]


def gate_of(recipe: Recipe, slot: IterationSlot) -> Gate:
    """The gate behind an iteration."""
    return recipe.stages[slot.stage_index].gate


def decides(recipe: Recipe, slot: IterationSlot) -> bool:
    """Whether there is anything that decides about an iteration."""
    return bool(deciding(recipe, slot)) or by_judges(recipe, slot)


def by_judges(recipe: Recipe, slot: IterationSlot) -> bool:
    """Whether judges decide who compare an iteration with its parent, and no benchmark."""
    is_asked = gate_of(recipe, slot).metric == head_to_head.METRIC
    return is_asked and bool(head_to_head.rounds(recipe, slot))


def deciding(recipe: Recipe, slot: IterationSlot) -> list[PluginRef]:
    """The benchmarks that decide about an iteration."""
    if gate_of(recipe, slot).metric == head_to_head.METRIC:
        return []
    names = [name.replace("-", "_") for name in gate_of(recipe, slot).benchmarks]
    return [ref for ref in recipe.evaluation.benchmarks if not names or ref.key in names]


def stops(recipe: Recipe, slot: IterationSlot) -> bool:
    """Whether the run waits for what is found."""
    return gate_of(recipe, slot).action == "stop" and decides(recipe, slot)


def check(recipe: Recipe, stage: Stage) -> Iterator[Problem]:
    """What a stage's gate asks for and the recipe does not measure."""
    gate, known = stage.gate, [ref.key for ref in recipe.evaluation.benchmarks]
    for number, name in enumerate(gate.benchmarks):
        if name.replace("-", "_") not in known:
            message = f"'{name}' is none of the recipe's evaluation.benchmarks"
            yield Problem(f"gate.benchmarks.{number}", message, did_you_mean(name, known))
    if gate.metric == head_to_head.METRIC:
        yield from _judges_problems(stage)
    elif gate.action == "stop" and not known:
        hint = (
            "add 'evaluation: {benchmarks: [...]}', or set gate.action to warn"
            f" or gate.metric to {head_to_head.METRIC}"
        )
        yield Problem("gate.action", "a gate that stops needs a benchmark that decides", hint)
    elif gate.metric is not None:
        yield from _metric_problems(recipe, gate)


def _judges_problems(stage: Stage) -> Iterator[Problem]:
    if stage.gate.benchmarks:
        message = f"no benchmark decides where gate.metric is {head_to_head.METRIC}"
        yield Problem("gate.benchmarks", message, "remove it, or name a benchmark's metric")
    own = stage.head_to_head
    if not own.prompts or (stage.judge is None and own.other_judge is None):
        lacks = "'prompts'" if not own.prompts else "a judge: 'other_judge', say"
        message = f"gate.metric {head_to_head.METRIC} needs head_to_head, which is left out"
        yield Problem("gate.metric", message, f"give head_to_head {lacks}")


def _metric_problems(recipe: Recipe, gate: Gate) -> Iterator[Problem]:
    """A metric by which no deciding benchmark can compare; nothing where one cannot tell its own.

    A benchmark that is wrong itself is told where it stands.
    """
    names = [name.replace("-", "_") for name in gate.benchmarks]
    known: set[str] = set()
    for ref in recipe.evaluation.benchmarks:
        if names and ref.key not in names:
            continue
        try:
            metrics = plugins.make("benchmarks", ref).item_metrics(evaluation.open_source)
        except EvalkitError:
            return
        if metrics is None:
            return
        known |= set(metrics)
    if known and gate.metric not in known:
        hint = did_you_mean(str(gate.metric), [*sorted(known), head_to_head.METRIC])
        message = f"no benchmark that decides compares its items by '{gate.metric}'"
        yield Problem("gate.metric", message, hint)


def step(recipe: Recipe, slot: IterationSlot) -> Step:
    """The step that compares an iteration with the checkpoint that it started from."""
    gate = gate_of(recipe, slot)
    benchmarks = deciding(recipe, slot)
    return Step(
        name=step_name(slot.name),
        kind="gate",
        title=f"compare {slot.name} with {slot.parent}",
        # What is done about the outcome is not among them: it decides no result.
        settings={
            "benchmarks": [ref.key for ref in benchmarks],
            "metric": gate.metric,
            "level": gate.level,
            "seed": recipe.seed,
        },
        needs=tuple(
            evaluation.step_name(name, ref)
            for name in (slot.parent, slot.name)
            for ref in benchmarks
        )
        + (tuple(head_to_head.step_names(recipe, slot)) if by_judges(recipe, slot) else ()),
        work=lambda context: _decide(context, slot, gate),
        expensive=False,
        halt=partial(_why_not_on, slot, gate),
    )


def _decide(context: StepContext, slot: IterationSlot, gate: Gate) -> Mapping[str, Any]:
    pairs = _results(context, slot)
    found = list(_judged(_candidates(pairs, gate.metric), context.recipe.seed, gate.level))
    verdicts = [verdict for _, _, verdict in found]
    result: dict[str, Any] = {
        "outcome": _outcome(verdicts),
        "against": slot.parent,
        "level": gate.level,
        "comparisons": [
            {**to_json(comparison), "confidence": confidence, "verdict": verdict}
            for comparison, confidence, verdict in found
        ],
    }
    if not found:
        result["metrics"] = _metrics(pairs)
    if gate.action != "continue":
        tell = say if result["outcome"] == "better" else warn
        tell(_told(slot, gate, result))
    return {**result, "digest": fingerprint(result)}


def _results(context: StepContext, slot: IterationSlot) -> list[tuple[ResultSet, ResultSet]]:
    """What each deciding benchmark or judge found: of the older checkpoint, and of the newer."""
    if by_judges(context.recipe, slot):
        return head_to_head.results(context, slot)

    def read(name: str, ref: PluginRef) -> ResultSet:
        folder = context.run.folder(evaluation.step_name(name, ref))
        return evaluation.read_result(folder, with_samples=True)

    return [
        (read(slot.parent, ref), read(slot.name, ref)) for ref in deciding(context.recipe, slot)
    ]


def _candidates(
    pairs: Sequence[tuple[ResultSet, ResultSet]], metric: str | None
) -> list[Candidate]:
    return [Candidate(a, b, *found) for a, b in pairs for found in comparable(a, b, metric)]


def _metrics(pairs: Sequence[tuple[ResultSet, ResultSet]]) -> list[str]:
    """The names of the scores that could be compared item by item."""
    return sorted(
        {score.metric for a, b in pairs for score in a.scores if comparable(a, b, score.metric)}
    )


def _judged(
    candidates: Sequence[Candidate], seed: int, level: float
) -> Iterator[tuple[Comparison, float, GateOutcome]]:
    """Each comparison in the interval that Holm's procedure gives it, and what that says.

    From the smallest p-value on: behind the first interval that holds 0, nothing is significant.
    """
    p_values = [one.compared(seed).p_value for one in candidates]
    confidences = holm_confidences(p_values, level)
    holds = True
    for number in sorted(range(len(candidates)), key=p_values.__getitem__):
        one, confidence = candidates[number], confidences[number]
        comparison = one.compared(seed, confidence)
        verdict = one.verdict(comparison)
        holds = holds and verdict != SAME
        yield comparison, confidence, verdict if holds else SAME


def _outcome(verdicts: Sequence[GateOutcome]) -> GateOutcome:
    if not verdicts:
        return "not compared"
    if "worse" in verdicts:
        return "worse"
    return "better" if "better" in verdicts else SAME


def _told(slot: IterationSlot, gate: Gate, result: Mapping[str, Any]) -> str:
    """An outcome in one sentence, with the differences that decided."""
    if gate.metric is not None and result.get("metrics"):
        known = ", ".join(result["metrics"])
        return (
            f"no benchmark that compares {slot.name} with {slot.parent} has a score"
            f" '{gate.metric}' (gate.metric): there are {known}"
        )
    sentence = _SENTENCES[result["outcome"]].format(new=slot.name, old=slot.parent)
    comparisons = result["comparisons"]
    shown = [one for one in comparisons if one["verdict"] == result["outcome"]]
    words = [_difference(one) for one in shown[:MOST_SHOWN]]
    words += [f"{len(shown) - MOST_SHOWN} more"] if len(shown) > MOST_SHOWN else []
    words += [f"{100 * result['level']:.4g} % confidence in all together"] if shown[1:] else []
    return f"{sentence} ({'; '.join(words)})" if words else sentence


def _difference(one: Mapping[str, Any]) -> str:
    value, low, high = (one[key] + 0.0 for key in ("difference", "ci_low", "ci_high"))  # no -0
    return f"{one['task']} {one['metric']} {value:+.3g} [{low:.3g}, {high:.3g}]"


def _why_not_on(slot: IterationSlot, gate: Gate, result: Mapping[str, Any]) -> EvalkitError | None:
    if gate.action != "stop" or result["outcome"] in _LETS_PASS[gate.require]:
        return None
    key = f"stages.{slot.stage_index}.gate"
    hint = f"everything so far is kept; --set {key}.action=warn goes on all the same"
    if gate.metric is not None and result.get("metrics"):
        nearest = did_you_mean(gate.metric, result["metrics"])
        hint = f"{nearest}; --set {key}.metric=NAME decides again, --set {key}.action=warn goes on"
    return EvalkitError(f"the gate ends the run: {_told(slot, gate, result)}", hint)
