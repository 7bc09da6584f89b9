"""AlpacaEval: how often a judge prefers the model's output to a baseline's.

The protocol of tatsu-lab/alpaca_eval for any instruction set and judge; its files are
written in its own format. Only numbers of the same edition, baseline and judge compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from evalkit.benchmarks import alpaca_eval_official as official
from evalkit.benchmarks.alpaca_eval_differences import differences
from evalkit.benchmarks.alpaca_eval_files import (
    ANNOTATIONS_FILE as ANNOTATIONS_FILE,
)
from evalkit.benchmarks.alpaca_eval_files import (
    GOLD,
    Judged,
    Side,
    gold_side,
    instruction_text,
    read_outputs,
    side_of_file,
    unreadable,
    write_files,
)
from evalkit.benchmarks.alpaca_eval_files import (
    OUTPUTS_FILE as OUTPUTS_FILE,
)
from evalkit.benchmarks.alpaca_eval_judging import judged, shows_model_first, spending
from evalkit.benchmarks.alpaca_eval_samples import Answers, samples
from evalkit.benchmarks.provenance import common, signature
from evalkit.errors import EvalkitError, PrerequisiteError, Problem, RecipeError, ScoreError
from evalkit.fetching import HubFile, fetch_file
from evalkit.fingerprint import derive_seed
from evalkit.loading import file_digest
from evalkit.metrics import alpaca_eval_data
from evalkit.metrics.alpaca_eval_judge import OFFICIAL_TASK
from evalkit.metrics.length_controlled import (
    Judged as LengthsJudged,
)
from evalkit.metrics.length_controlled import (
    LengthControlled,
    length_controlled_minimal,
    length_controlled_winrate,
)
from evalkit.metrics.win_rate import win_rate_scores
from evalkit.records import Comparison, Prompt, ResultSet
from evalkit.rendering import prompt_token_ids
from evalkit.roles import (
    Benchmark,
    BenchmarkContext,
    EvaluationItem,
    GenerationRequest,
    Judge,
    Options,
    PairRequest,
    PluginRef,
    Prefetched,
    Sampling,
    Source,
)


class AlpacaEvalOptions(Options):
    """What is asked, against which baseline, and how the model answers.

    instructions: a source of prompts; default AlpacaEval's own 805, of the Hub.
    baseline: `gold` for the instructions' own reference responses, or a
        model_outputs.json whose instructions are matched by their text.
    outputs: a model_outputs.json by the name of the checkpoint that made it; the others are asked.
    auxiliary: a folder with the data of the published length control; default the Hub's file,
        where it is prefetched. Only AlpacaEval's own instructions and baseline have it.
    temperature, top_p: how answers are drawn; 0 is greedy. max_new_tokens: where one is cut.
    order_seed: draws which output is shown first; 0 draws as alpaca_eval does.
    edition: the label of the instruction set in task names; default the source's name. `official`
        stands for AlpacaEval's own numbers, and wants its data, annotator and judge.
    """

    instructions: PluginRef = official.DATASET
    baseline: str = Field(default=GOLD, exclude=True)  # its contents decide
    outputs: dict[str, str] = Field(default_factory=dict, exclude=True)  # likewise
    auxiliary: Path | None = Field(default=None, exclude=True)  # likewise
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_new_tokens: int = Field(default=512, gt=0)
    order_seed: int = official.ORDER_SEED
    edition: str | None = None


class AlpacaEval(Benchmark):
    """Pairwise win rate against a baseline, with and without the judge's length bias."""

    label = "AlpacaEval"
    needs: ClassVar[frozenset[str]] = frozenset({"engine", "judge"})
    version: ClassVar[int] = 3
    Options = AlpacaEvalOptions
    options: AlpacaEvalOptions

    def sources(self) -> list[PluginRef]:
        """The instruction set."""
        return [self.options.instructions]

    def data_digests(self) -> Mapping[str, str]:
        """Of the files of outputs, and of the data of the length control."""
        files = {} if self.options.baseline == GOLD else {"baseline": self.options.baseline}
        files |= {f"outputs.{name}": file for name, file in sorted(self.options.outputs.items())}
        digests = {}
        for key, file in files.items():
            try:
                digests[key] = file_digest(Path(file))
            except OSError as error:
                raise unreadable(Path(file), error) from error
        auxiliary = self._auxiliary()
        return digests | ({} if auxiliary is None else dict(auxiliary.origin))

    def check(self) -> list[Problem]:
        """Files of outputs that are not there or are none; a length control without its data."""
        named = [] if self.options.baseline == GOLD else [("baseline", self.options.baseline)]
        named += [(f"outputs.{name}", file) for name, file in self.options.outputs.items()]
        problems = []
        for where, file in named:
            try:
                read_outputs(Path(file))
            except RecipeError as error:
                problems.append(Problem.of(where, error))
        try:
            self._auxiliary()
        except EvalkitError as error:
            problems.append(Problem.of("auxiliary", error))
        return problems

    def check_data(
        self, open_source: Callable[[PluginRef], Source], judge: Judge | None
    ) -> list[Problem]:
        """No prompts, prompts that outputs are lacking for, or that the judge cannot judge."""
        try:
            prompts = _prompts(open_source(self.options.instructions))
        except EvalkitError as error:
            return [Problem.of("instructions", error)]
        try:
            baseline = self._baseline(prompts)
        except EvalkitError as error:
            return [Problem.of("baseline", error)]
        problems = []
        for name, file in self.options.outputs.items():
            try:
                side_of_file(Path(file), prompts)
            except EvalkitError as error:
                problems.append(Problem.of(f"outputs.{name}", error))
        found = judge.check_prompts(prompts) if judge else []
        problems += [problem._replace(where="instructions") for problem in found]
        if not found and judge is not None and self.options.edition == official.OFFICIAL:
            problems += self._unofficial(prompts, baseline, judge)
        return problems

    def prefetch(self) -> list[Prefetched]:
        """The data of the published length control, for AlpacaEval's own instructions."""
        if self.options.auxiliary is not None or not official.is_dataset(self.options.instructions):
            return []
        repo, name = alpaca_eval_data.HUB_DATASET, alpaca_eval_data.HUB_FILE
        found = fetch_file(HubFile(repo, name, sha256=alpaca_eval_data.HUB_SHA256))
        return [Prefetched("dataset", repo, found.revision, name)]

    def item_metrics(self, open_source: Callable[[PluginRef], Source]) -> set[str]:
        """Preferences and lengths: a length-controlled rate is one of all items together."""
        return {"win_rate", "avg_length"}

    def fitted_differences(self, a: ResultSet, b: ResultSet, seed: int) -> Iterator[Comparison]:
        """Of the length-controlled win rate, the published one where both have it."""
        return differences(a, b, self._auxiliary(), seed)

    def items(self, open_source: Callable[[PluginRef], Source]) -> list[EvaluationItem]:
        """Every instruction."""
        prompts = _prompts(open_source(self.options.instructions))
        return [EvaluationItem(one.id, self._task(), (instruction_text(one),)) for one in prompts]

    def judgements(self, open_source: Callable[[PluginRef], Source]) -> list[PairRequest]:
        """Every instruction once, with the baseline's output in place of the model's."""
        prompts = _prompts(open_source(self.options.instructions))
        outputs = self._baseline(prompts).outputs
        return [PairRequest(p, output, output) for p, output in zip(prompts, outputs, strict=True)]

    def run(self, context: BenchmarkContext) -> ResultSet:
        """Answers every instruction, has each answer judged against the baseline's."""
        source = context.open_source(self.options.instructions)
        prompts = _prompts(source)
        description = dict(source.description())
        baseline = self._baseline(prompts)
        answers, engine = self._answers(context, prompts)
        judge = context.open_judge()
        identity = dict(judge.identity())
        if self.options.edition == official.OFFICIAL:
            for problem in self._unofficial(prompts, baseline, judge):
                raise ScoreError(problem.message, problem.hint)
        texts = [instruction_text(prompt) for prompt in prompts]
        firsts = [shows_model_first(text, self.options.order_seed) for text in texts]
        pairs = list(zip(prompts, answers.side.outputs, baseline.outputs, strict=True))
        preferences = judged(judge, pairs, firsts, context.progress)
        annotator = official.annotator_label(identity)
        found = Judged(
            prompts,
            answers.side,
            baseline,
            preferences,
            self._edition(),
            annotator,
            signature(identity, "pairs"),
        )
        controlled = self._length_controlled(found, context.seed)
        write_files(context.folder, found, controlled)
        values = [preference.value for preference in preferences]
        settings = self._settings(found, identity, given=not answers.ended)
        scores = win_rate_scores(self._task(), values, answers.side.lengths, settings, controlled)
        return ResultSet(
            benchmark="alpaca_eval",
            checkpoint=context.checkpoint.name,
            checkpoint_digest=context.checkpoint.digest,
            scores=tuple(scores),
            provenance={
                **common(context),
                "protocol": "AlpacaEval pairwise, order drawn per instruction as alpaca_eval does",
                "order_seed": self.options.order_seed,
                "few_shot": 0,
                "data": {
                    **description,
                    "baseline": baseline.name,
                    "baseline_digest": baseline.digest,
                },
                "judge": identity,
                "annotator": annotator,
                **engine,
                **spending(judge, preferences),
                **({} if controlled is None else controlled.description()),
                "intervals": "95 %: Student for the win rate, bootstrap with refit for the "
                "length-controlled one (C held)",
            },
            samples=tuple(samples(self._task(), found, answers)),
        )

    def _edition(self) -> str:
        if self.options.edition is None and self.options.instructions == official.DATASET:
            return "2"
        return self.options.edition or self.options.instructions.key

    def _task(self) -> str:
        is_official = self.options.edition == official.OFFICIAL
        return OFFICIAL_TASK if is_official else f"alpaca_eval_{self._edition()}"

    def _baseline(self, prompts: Sequence[Prompt]) -> Side:
        if self.options.baseline != GOLD:
            return side_of_file(Path(self.options.baseline), prompts)
        gold = gold_side(prompts)
        is_own = official.has_official_data(prompts, gold)
        return gold._replace(name=official.BASELINE) if is_own else gold

    def _unofficial(self, prompts: Sequence[Prompt], baseline: Side, judge: Judge) -> list[Problem]:
        seed = self.options.order_seed
        reason = official.departure(prompts, baseline, judge.identity(), seed)
        hint = "leave `edition` out, or give the set a name of your own"
        message = f"this is not AlpacaEval's official test: {reason}"
        return [Problem("edition", message, hint)] if reason else []

    def _settings(
        self, found: Judged, identity: Mapping[str, Any], *, given: bool
    ) -> dict[str, Any]:
        """What must be equal for two scores to compare."""
        sampling = {"outputs": "given"} if given else self._sampling()._asdict()
        settings = {"baseline": found.baseline.name, **sampling}
        if official.has_official_data(found.prompts, found.baseline):
            seed = self.options.order_seed
            reason = official.departure(found.prompts, found.baseline, identity, seed)
            settings |= {"not_comparable": reason} if reason else {}
        return settings

    def _sampling(self) -> Sampling:
        options = self.options
        return Sampling(options.temperature, options.top_p, options.max_new_tokens)

    def _answers(
        self, context: BenchmarkContext, prompts: Sequence[Prompt]
    ) -> tuple[Answers, dict[str, Any]]:
        """The model's outputs, and what made them, for provenance."""
        name = context.checkpoint.name
        if name in self.options.outputs:
            file = Path(self.options.outputs[name])
            side = side_of_file(file, prompts)
            origin = {"file": file.name, "sha256": file_digest(file), "generator": side.name}
            return Answers(side._replace(name=name)), {"outputs": origin}
        engine = context.open_engine()
        requests = [
            GenerationRequest(
                prompt_token_ids(context.tokenizer, prompt.messages),
                seed=derive_seed(context.seed, "alpaca_eval", prompt.id),
            )
            for prompt in prompts
        ]
        made = [one for (one,) in engine.generate(requests, self._sampling(), context.progress)]
        # Source: alpaca_eval, main.py, `evaluate_from_model`: outputs are stripped.
        side = Side(name, tuple(response.text.strip() for response in made))
        ended = tuple(response.finish_reason for response in made)
        return Answers(side, ended), {"engine": dict(engine.identity())}

    def _auxiliary(self) -> alpaca_eval_data.Auxiliary | None:
        """The data of the published length control, None where there is none on this machine.

        Raises:
            RecipeError: it is damaged.
        """
        if self.options.auxiliary is None and not official.is_dataset(self.options.instructions):
            return None
        try:
            return alpaca_eval_data.read(self.options.auxiliary)
        except PrerequisiteError:
            return None

    def _length_controlled(self, found: Judged, seed: int) -> LengthControlled | None:
        values = [preference.value for preference in found.preferences]
        lengths, references = found.model.lengths, found.baseline.lengths
        auxiliary = self._auxiliary()
        try:
            texts = [instruction_text(prompt) for prompt in found.prompts]
            own = official.has_official_data(found.prompts, found.baseline)
            if auxiliary is not None and own and alpaca_eval_data.in_published_order(texts):
                return length_controlled_winrate(
                    LengthsJudged(values, lengths, references), auxiliary, seed
                )
            return length_controlled_minimal(values, lengths, references, seed)
        except ScoreError:  # too few judged items for a fit: the win rate stands alone
            return None


PLUGIN = AlpacaEval


def _prompts(source: Source) -> list[Prompt]:
    prompts = source.prompts()
    if not prompts:
        raise ScoreError("there are no instructions to ask")
    return prompts
