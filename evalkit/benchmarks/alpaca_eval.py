"""AlpacaEval: how often a judge prefers the model's output to a baseline's.

The protocol of tatsu-lab/alpaca_eval for any instruction set and judge; its files are
written in its own format. Only numbers of the same edition, baseline and judge compare.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from evalkit.benchmarks.provenance import common, judge_label, write_json
from evalkit.errors import EvalkitError, Problem, RecipeError, ScoreError
from evalkit.fingerprint import derive_seed
from evalkit.loading import file_digest
from evalkit.metrics.length_controlled import LengthControlled, length_controlled_minimal
from evalkit.metrics.win_rate import DRAW, is_missing, win_rate_scores
from evalkit.preferences import sigmoid
from evalkit.records import Prompt, Response, ResultSet, Sample, Score
from evalkit.rendering import prompt_token_ids
from evalkit.roles import (
    Benchmark,
    BenchmarkContext,
    Engine,
    GenerationRequest,
    Judge,
    Options,
    PairRequest,
    PluginRef,
    Sampling,
    Source,
    Verdict,
)

OUTPUTS_FILE = "model_outputs.json"
ANNOTATIONS_FILE = "annotations.json"
GOLD = "gold"
_OUTPUTS_HINT = "it must be a list of {instruction, output, generator}"


class AlpacaEvalOptions(Options):
    """What is asked, against which baseline, and how the model answers.

    instructions: a source of prompts.
    baseline: `gold` for the instructions' own reference responses, or a
        model_outputs.json whose instructions are matched by their text.
    temperature, top_p: how answers are drawn; 0 is greedy. max_new_tokens: where one is cut.
    edition: the label of the instruction set in task names; default the source's name.
    """

    instructions: PluginRef
    baseline: str = Field(default=GOLD, exclude=True)  # its contents decide
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_new_tokens: int = Field(default=512, gt=0)
    edition: str | None = None


class Baseline(NamedTuple):
    """The other side: its name and one output per instruction."""

    name: str
    outputs: tuple[str, ...]

    def description(self) -> dict[str, str]:
        """Its name, and a digest of what it says."""
        digest = hashlib.sha256(json.dumps(self.outputs).encode()).hexdigest()
        return {"baseline": self.name, "baseline_digest": digest}


class Names(NamedTuple):
    """What goes into AlpacaEval's files under `dataset`, `generator` and `annotator`."""

    edition: str
    model: str
    annotator: str


class Preference(NamedTuple):
    """One judged pair: from 1 (baseline) to 2 (model), None where the judge failed."""

    value: float | None
    model_first: bool | None
    reason: str = ""


class AlpacaEval(Benchmark):
    """Pairwise win rate against a baseline, with and without the judge's length bias."""

    label = "AlpacaEval"
    needs: ClassVar[frozenset[str]] = frozenset({"engine", "judge"})
    version: ClassVar[int] = 2
    Options = AlpacaEvalOptions

    def sources(self) -> list[PluginRef]:
        """The instruction set."""
        return [self.options.instructions]

    def data_digests(self) -> Mapping[str, str]:
        """The baseline file's."""
        if self.options.baseline == GOLD:
            return {}
        try:
            return {"baseline": file_digest(Path(self.options.baseline))}
        except OSError as error:
            raise _unreadable(Path(self.options.baseline), error) from error

    def check(self) -> list[Problem]:
        """A baseline file that is not there or is not one."""
        if self.options.baseline == GOLD:
            return []
        try:
            _read_outputs(Path(self.options.baseline))
        except RecipeError as error:
            return [Problem("baseline", error.message, error.hint)]
        return []

    def check_data(
        self, open_source: Callable[[PluginRef], Source], judge: Judge | None
    ) -> list[Problem]:
        """No prompts, prompts the baseline has no output for, or that the judge cannot judge."""
        try:
            prompts = _prompts(open_source(self.options.instructions))
        except EvalkitError as error:
            return [Problem.of("instructions", error)]
        problems = []
        try:
            self._baseline(prompts)
        except EvalkitError as error:
            problems.append(Problem.of("baseline", error))
        found = judge.check_prompts(prompts) if judge else []
        return problems + [problem._replace(where="instructions") for problem in found]

    def run(self, context: BenchmarkContext) -> ResultSet:
        """Answers every instruction, has each answer judged against the baseline's."""
        source = context.open_source(self.options.instructions)
        prompts = _prompts(source)
        description = dict(source.description())
        baseline = self._baseline(prompts)
        engine, judge = context.open_engine(), context.open_judge()
        responses = self._responses(engine, context, prompts)
        preferences = judged(judge, prompts, responses, baseline.outputs, context)
        edition = self.options.edition or self.options.instructions.key
        identities = {"judge": dict(judge.identity()), "engine": dict(engine.identity())}
        names = Names(edition, context.checkpoint.name, judge_label(identities["judge"]))
        _write_files(context.folder, names, prompts, responses, baseline, preferences)
        task = f"alpaca_eval_{edition}"
        controlled = _length_controlled(preferences, responses, baseline, context.seed)
        return ResultSet(
            benchmark="alpaca_eval",
            checkpoint=context.checkpoint.name,
            checkpoint_digest=context.checkpoint.digest,
            scores=tuple(self._scores(task, preferences, responses, baseline, controlled)),
            provenance={
                **common(context),
                "protocol": "AlpacaEval pairwise, order drawn per instruction",
                "data": {**description, **baseline.description()},
                **identities,
                **_fit(controlled),
                "intervals": "95 %: Student for the win rate, bootstrap with refit for the "
                "length-controlled one (C held)",
            },
            samples=tuple(_samples(task, prompts, responses, baseline, preferences)),
        )

    def _baseline(self, prompts: Sequence[Prompt]) -> Baseline:
        if self.options.baseline != GOLD:
            return _baseline_from_file(Path(self.options.baseline), prompts)
        without = [prompt.id for prompt in prompts if prompt.gold is None]
        if without:
            raise RecipeError(
                f"{len(without)} instructions have no reference response, first {without[0]}",
                "name a model_outputs.json as the baseline",
            )
        return Baseline(GOLD, tuple(str(prompt.gold) for prompt in prompts))

    def _sampling(self) -> Sampling:
        options = self.options
        return Sampling(options.temperature, options.top_p, options.max_new_tokens)

    def _responses(
        self, engine: Engine, context: BenchmarkContext, prompts: Sequence[Prompt]
    ) -> list[Response]:
        requests = [
            GenerationRequest(
                prompt_token_ids(context.tokenizer, prompt.messages),
                seed=derive_seed(context.seed, "alpaca_eval", prompt.id),
            )
            for prompt in prompts
        ]
        answers = engine.generate(requests, self._sampling(), context.progress)
        return [answer[0] for answer in answers]

    def _scores(
        self,
        task: str,
        preferences: Sequence[Preference],
        responses: Sequence[Response],
        baseline: Baseline,
        controlled: LengthControlled | None,
    ) -> list[Score]:
        values = [preference.value for preference in preferences]
        lengths = [len(response.text) for response in responses]
        settings = {"baseline": baseline.name, **self._sampling()._asdict()}
        rate = None if controlled is None else controlled.win_rate
        return win_rate_scores(task, values, lengths, settings, rate)


PLUGIN = AlpacaEval


def _prompts(source: Source) -> list[Prompt]:
    prompts = source.prompts()
    if not prompts:
        raise ScoreError("there are no instructions to ask")
    return prompts


def instruction_text(prompt: Prompt) -> str:
    """An instruction as one text, which is how AlpacaEval's files know it."""
    return "\n\n".join(message.content for message in prompt.messages)


def judged(
    judge: Judge,
    prompts: Sequence[Prompt],
    responses: Sequence[Response],
    references: Sequence[str],
    context: BenchmarkContext,
) -> list[Preference]:
    """One preference per instruction; equal outputs are draws that no judge is asked about.

    Which output is shown first is drawn from the seed and the instruction, so that a
    judge's liking for a position cancels out and every model meets the same order.
    """
    firsts = [
        derive_seed(context.seed, "order", instruction_text(prompt)) % 2 == 0 for prompt in prompts
    ]
    asked = [
        index
        for index, (response, reference) in enumerate(zip(responses, references, strict=True))
        if response.text != reference
    ]
    requests = [
        PairRequest(prompts[i], responses[i].text, references[i])
        if firsts[i]
        else PairRequest(prompts[i], references[i], responses[i].text)
        for i in asked
    ]
    found = [Preference(DRAW, None, "equal outputs")] * len(prompts)
    verdicts = judge.compare(requests, context.progress) if requests else []
    for index, verdict in zip(asked, verdicts, strict=True):
        found[index] = _preference(verdict, firsts[index])
    return found


def _preference(verdict: Verdict, model_first: bool) -> Preference:
    if verdict.value is None:
        return Preference(None, model_first, verdict.reason or "no verdict")
    logit = verdict.value if model_first else -verdict.value
    return Preference(1 + sigmoid(logit), model_first, verdict.reason)


def _length_controlled(
    preferences: Sequence[Preference],
    responses: Sequence[Response],
    baseline: Baseline,
    seed: int,
) -> LengthControlled | None:
    values = [preference.value for preference in preferences]
    lengths = [len(response.text) for response in responses]
    try:
        return length_controlled_minimal(values, lengths, [len(o) for o in baseline.outputs], seed)
    except ScoreError:  # too few judged items for a fit: the win rate stands alone
        return None


def _samples(
    task: str,
    prompts: Sequence[Prompt],
    responses: Sequence[Response],
    baseline: Baseline,
    preferences: Sequence[Preference],
) -> list[Sample]:
    samples = []
    rows = zip(prompts, responses, baseline.outputs, preferences, strict=True)
    for prompt, response, reference, preference in rows:
        metrics = {"avg_length": float(len(response.text))}
        if preference.value is not None and not is_missing(preference.value):
            metrics["win_rate"] = 100 * (preference.value - 1)
        detail = {
            "prompt": instruction_text(prompt),
            "response": response.text,
            "finish_reason": response.finish_reason,
            "baseline": reference,
            "model_shown_first": preference.model_first,
            "reason": preference.reason,
        }
        samples.append(Sample(prompt.id, task, metrics, detail))
    return samples


def _fit(controlled: LengthControlled | None) -> dict[str, Any]:
    if controlled is None:
        return {}
    fit = {"C": controlled.C, "length_weight": controlled.length_weight, "bias": controlled.bias}
    return {"length_controlled_minimal": fit}


def _write_files(
    folder: Path,
    names: Names,
    prompts: Sequence[Prompt],
    responses: Sequence[Response],
    baseline: Baseline,
    preferences: Sequence[Preference],
) -> None:
    outputs, annotations = [], []
    rows = zip(prompts, responses, baseline.outputs, preferences, strict=True)
    for prompt, response, reference, preference in rows:
        shared = {
            "dataset": prompt.category or names.edition,
            "instruction": instruction_text(prompt),
        }
        outputs.append({**shared, "output": response.text, "generator": names.model})
        annotations.append(
            {
                **shared,
                "output_1": reference,
                "generator_1": baseline.name,
                "output_2": response.text,
                "generator_2": names.model,
                "annotator": names.annotator,
                "preference": preference.value,
                # Costs and times are facts of a run, not of its result.
                "price_per_example": None,
                "time_per_example": None,
                "raw_completion": None,
            }
        )
    write_json(folder / OUTPUTS_FILE, outputs)
    write_json(folder / ANNOTATIONS_FILE, annotations)


def _baseline_from_file(file: Path, prompts: Sequence[Prompt]) -> Baseline:
    rows = _read_outputs(file)
    outputs = {row["instruction"]: row["output"] for row in rows}
    texts = [instruction_text(prompt) for prompt in prompts]
    without = [text for text in texts if text not in outputs]
    if without:
        raise RecipeError(
            f"{file.name} has no output for {len(without)} instructions, first {without[0]!r:.80}",
            "a baseline must answer every instruction",
        )
    names = sorted({str(row.get("generator", file.stem)) for row in rows})
    return Baseline("+".join(names), tuple(outputs[text] for text in texts))


def _read_outputs(file: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from error
    if not isinstance(rows, list) or not rows:
        raise RecipeError(f"{file} holds no model outputs", _OUTPUTS_HINT)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise RecipeError(f"{file}: row {number} is not an object", _OUTPUTS_HINT)
        for key in ("instruction", "output"):
            if not isinstance(row.get(key), str):
                raise RecipeError(f"{file}: row {number} has no text '{key}'", _OUTPUTS_HINT)
    return rows


def _unreadable(file: Path, error: Exception) -> RecipeError:
    reason = error.strerror if isinstance(error, OSError) else error
    return RecipeError(f"cannot read the baseline {file}: {reason}", _OUTPUTS_HINT)
