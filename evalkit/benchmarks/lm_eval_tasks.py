"""Tasks of EleutherAI's lm-evaluation-harness, through its own `simple_evaluate`.

Prompts, few-shot examples, filters and metrics are the harness's; log-likelihoods
and responses come from our scorer and engine.
"""

import contextlib
import hashlib
import importlib.util
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from evalkit.benchmarks import lm_eval_data
from evalkit.benchmarks.provenance import common, versions
from evalkit.errors import EvalkitError, Problem, ScoreError, did_you_mean, missing_extra
from evalkit.loading import file_digest
from evalkit.records import ResultSet
from evalkit.roles import Benchmark, BenchmarkContext, Judge, Options, PluginRef, Source
from evalkit.yaml_file import syntax_fault

RESULTS_FILE = "lm_eval_results.json"
_DECLARATION = re.compile(r"^(?:task|group|tag): *[\"']?([\w.-]+)[\"']?\s*$", re.MULTILINE)
# The harness's own defaults: other seeds would draw other few-shot examples.
SEEDS = {
    "random_seed": 0,
    "numpy_random_seed": 1234,
    "torch_random_seed": 1234,
    "fewshot_random_seed": 1234,
}


class LmEvalOptions(Options):
    """Which tasks, and how their prompts are made.

    tasks: names of tasks, groups or tags, as `lm-eval ls tasks` lists them.
    num_fewshot: for all tasks, or by task, group or tag; others keep their own default.
    include_path: a folder of task definitions beside the harness's own, or
        `pocket` for the packaged ones.
    data: files instead of a task's dataset, by task and split, the task's template unchanged:
        {gsm8k: {train: train.jsonl, test: test.jsonl}}.
    limit: only the first so many documents of each task (a fraction below 1).
    apply_chat_template: ask as a chat. fewshot_as_multiturn: then each shot is a turn of it.
    """

    tasks: tuple[str, ...] = Field(min_length=1)
    num_fewshot: int | dict[str, int] | None = None
    limit: int | float | None = Field(default=None, gt=0)
    include_path: str | None = None
    data: dict[str, dict[str, str]] = Field(default_factory=dict)
    apply_chat_template: bool = False
    fewshot_as_multiturn: bool = True

    @field_validator("num_fewshot", mode="before")
    @classmethod
    def _shots_of_known_tasks(cls, value: Any, info: ValidationInfo) -> Any:
        by_task = value if isinstance(value, Mapping) else {}
        numbers = [*by_task.values()] if isinstance(value, Mapping) else [value]
        if value is not None and not all(type(n) is int and n >= 0 for n in numbers):
            raise ValueError(
                "neither a number from 0 nor one for each task: give 5, or {gsm8k: 5}, say"
            )
        unlisted = sorted(set(by_task) - set(info.data.get("tasks", by_task)))
        if unlisted:
            hint = did_you_mean(unlisted[0], info.data["tasks"])
            raise ValueError(f"'{unlisted[0]}' is not among the tasks: {hint}")
        return value


class LmEvalTasks(Benchmark):
    """Any task the harness knows, or that a folder of task definitions adds."""

    label = "lm-evaluation-harness"
    needs: ClassVar[frozenset[str]] = frozenset({"scorer", "engine"})
    requires: ClassVar[tuple[tuple[str, str], ...]] = (("lm_eval", "eval"), ("datasets", "eval"))
    version: ClassVar[int] = 2
    Options = LmEvalOptions

    def data_digests(self) -> Mapping[str, str]:
        """Of the folder of task definitions, helpers included; of each file of local data."""
        folder = self._folder()
        found = {} if folder is None else {"include_path": _folder_digest(folder)}
        for task, files in self.options.data.items():
            found |= {f"data.{task}.{split}": file_digest(Path(f)) for split, f in files.items()}
        return found

    def check(self) -> list[Problem]:
        """Unknown tasks, missing folders and files."""
        folder = self._folder()
        if folder is not None and not folder.is_dir():
            hint = "give a folder with YAML files of tasks, or leave include_path out"
            return [Problem("include_path", f"there is no folder {folder}", hint)]
        if folder is not None and (damaged := _damaged(folder)):
            return damaged
        wrong = lm_eval_data.problems_of(self.options.data)
        if wrong:
            return wrong
        if folder is not None and set(self.options.tasks) <= _declared(folder):
            return []  # without importing the harness, which takes seconds
        if any(importlib.util.find_spec(package) is None for package, _ in self.requires):
            return []  # nothing can be asked of it; `requires` has it reported
        with _quiet():
            known = self._task_manager().all_tasks
        return [
            Problem("tasks", f"the harness knows no task '{task}'", _near(task, known))
            for task in self.options.tasks
            if task not in known
        ]

    def check_tokenizer(self, tokenizer: Any) -> list[Problem]:
        """A chat template is asked for, and there is none."""
        if not self.options.apply_chat_template or tokenizer.chat_template:
            return []
        hint = "set apply_chat_template: false, or give the tokenizer a chat_template"
        return [Problem("apply_chat_template", "the base has no chat template to apply", hint)]

    def check_data(
        self, open_source: Callable[[PluginRef], Source], judge: Judge | None
    ) -> list[Problem]:
        """Local data that a task's own template cannot make its first prompt of."""
        if not self.options.data:
            return []
        from evalkit.benchmarks.lm_eval_loading import TaskLoader, try_first_prompt

        with tempfile.TemporaryDirectory() as folder, _quiet():
            known = _full_task_manager(self._folder()).task_index
            wrong = lm_eval_data.write_definitions(self.options.data, known, Path(folder))
            if wrong:
                return wrong
            loader = TaskLoader(self._task_manager(Path(folder), set(self.options.data)), {})
            for task in self.options.data:
                try:
                    try_first_prompt(loader, task, self._shots(task), SEEDS["fewshot_random_seed"])
                except EvalkitError as error:
                    wrong.append(Problem.of(f"data.{task}", error))
        return wrong

    def run(self, context: BenchmarkContext) -> ResultSet:
        """Measures the checkpoint on all tasks in one pass of the harness."""
        if importlib.util.find_spec("lm_eval") is None:
            raise missing_extra("lm_eval", "eval")
        from evalkit.benchmarks import lm_eval_results

        if self.options.apply_chat_template and not context.tokenizer.chat_template:
            raise ScoreError(
                f"{context.checkpoint.name} has no chat template to apply",
                "set apply_chat_template: false",
            )
        with tempfile.TemporaryDirectory() as definitions, _quiet():
            results, rows = self._evaluate(context, Path(definitions))
            # While the definitions are there: it knows a path by what is at it.
            raw = lm_eval_results.portable(
                results,
                model_name=context.checkpoint.name,
                model_digest=context.checkpoint.digest,
                chat_template_sha=common(context)["chat_template_sha256"],
                fewshot_as_multiturn=self.options.fewshot_as_multiturn,
            )
        context.folder.mkdir(parents=True, exist_ok=True)
        (context.folder / RESULTS_FILE).write_text(lm_eval_results.dumped(raw), encoding="utf-8")
        departures = lm_eval_data.departures(self.options.data, rows, self.options.limit)
        scores = lm_eval_results.scores_of(results, self._settings())
        groups = results["group_subtasks"]
        return ResultSet(
            benchmark="lm_eval_tasks",
            checkpoint=context.checkpoint.name,
            checkpoint_digest=context.checkpoint.digest,
            scores=tuple(lm_eval_data.labelled(score, departures, groups) for score in scores),
            provenance={
                **self._provenance(context, raw),
                "data": lm_eval_results.task_digests(results, ("doc_hash", "target_hash")),
            },
            samples=tuple(lm_eval_results.samples_of(results)),
        )

    def _evaluate(
        self, context: BenchmarkContext, definitions: Path
    ) -> tuple[dict[str, Any], dict[str, dict[str, int]]]:
        """The harness's results; and the rows of every split of local data, by task."""
        import lm_eval

        from evalkit.benchmarks.lm_eval_loading import TaskLoader

        model = self._model(context)
        shots = self.options.num_fewshot
        by_task = shots if isinstance(shots, dict) else {}
        if self.options.data:
            known = _full_task_manager(self._folder()).task_index
            lm_eval_data.write_definitions(self.options.data, known, definitions)
        loader = TaskLoader(self._task_manager(definitions, set(self.options.tasks)), by_task)
        results: dict[str, Any] = lm_eval.simple_evaluate(
            model=model,
            tasks=list(self.options.tasks),
            num_fewshot=None if isinstance(shots, dict) else shots,
            limit=self.options.limit,
            apply_chat_template=self.options.apply_chat_template,
            fewshot_as_multiturn=self.options.fewshot_as_multiturn,
            task_manager=loader,
            bootstrap_iters=0,  # our own intervals, see lm_eval_results
            log_samples=True,
            **SEEDS,
        )
        return results, {task: loader.rows[task] for task in self.options.data}

    def _model(self, context: BenchmarkContext) -> Any:
        from lm_eval.models.utils import resolve_max_length
        from transformers import AutoConfig

        from evalkit.benchmarks.lm_eval_model import ScoringLM

        checkpoint = context.checkpoint
        config = AutoConfig.from_pretrained(checkpoint.path, revision=checkpoint.revision)
        return ScoringLM(
            context.tokenizer,
            open_scorer=context.open_scorer,
            open_engine=context.open_engine,
            max_length=resolve_max_length(config, context.tokenizer),
            progress=context.progress,
            seed=context.seed,
            name=checkpoint.name,
        )

    def _task_manager(self, definitions: Path | None = None, tasks: set[str] | None = None) -> Any:
        """A manager that knows all `tasks`: of our folders alone if they suffice, which is quick.

        definitions: a folder of further definitions, which replace others of the same name.
        """
        from lm_eval.tasks import TaskManager

        given = [self._folder(), definitions if self.options.data else None]
        folders = [str(folder) for folder in given if folder is not None]
        if folders:
            manager = TaskManager(include_path=folders, include_defaults=False)
            if (tasks or set(self.options.tasks)) <= set(manager.all_tasks):
                return manager
        if self.options.data and definitions is not None:
            return TaskManager(include_path=folders)
        return _full_task_manager(self._folder())

    def _shots(self, task: str) -> int | None:
        shots = self.options.num_fewshot
        return shots.get(task) if isinstance(shots, dict) else shots

    def _folder(self) -> Path | None:
        if self.options.include_path == "pocket":
            from evalkit.pocket import tasks_folder

            return Path(tasks_folder())
        return None if self.options.include_path is None else Path(self.options.include_path)

    def _settings(self) -> dict[str, Any]:
        options = self.options
        settings: dict[str, Any] = {
            "harness": f"lm-eval {versions('lm_eval').get('lm_eval')}",
            "chat_template": options.apply_chat_template,
        }
        if options.apply_chat_template:
            settings["fewshot_as_multiturn"] = options.fewshot_as_multiturn
        if options.limit is not None:
            settings["limit"] = options.limit
        return settings

    def _provenance(self, context: BenchmarkContext, raw: dict[str, Any]) -> dict[str, Any]:
        return {
            **common(context, "lm_eval", "datasets"),
            "harness": f"lm-eval {versions('lm_eval').get('lm_eval')}",
            "harness_seeds": SEEDS,
            "task_versions": {task: str(version) for task, version in raw["versions"].items()},
            "task_hashes": raw["task_hashes"],
            "intervals": "95 %: Wilson for right or wrong items, Student for other means",
        }


PLUGIN = LmEvalTasks


def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = file.relative_to(folder)
        # Importing a helper leaves its compiled form beside it.
        if "__pycache__" not in name.parts and not any(p.startswith(".") for p in name.parts):
            digest.update(f"{name.as_posix()}\0{file_digest(file)}\n".encode())
    return digest.hexdigest()


def _damaged(folder: Path) -> list[Problem]:
    """Task files that are no YAML: the harness would only not know their tasks."""
    faults = ((file, syntax_fault(file)) for file in sorted(folder.rglob("*.yaml")))
    hint = "mend it, or move it elsewhere"
    return [Problem("include_path", fault, hint) for _, fault in faults if fault]


def _declared(folder: Path) -> set[str]:
    """Names of tasks, groups and tags that the definitions in a folder begin a line with."""
    return {
        name
        for file in folder.rglob("*.yaml")
        for name in _DECLARATION.findall(file.read_text("utf-8"))
    }


@cache
def _full_task_manager(folder: Path | None) -> Any:
    """With the harness's own thousands of definitions: seconds to read, hence once, if at all."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=None if folder is None else str(folder))


def _near(task: str, known: list[str]) -> str:
    hint = did_you_mean(task, known)
    if len(known) < 30:
        return hint
    # The harness knows thousands: name the nearest only.
    return hint.split("   (known:")[0] if "did you" in hint else "`lm-eval ls tasks` lists them"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The harness without its log lines, progress bars and its slow survey of the machine."""
    import datasets
    import lm_eval.api.task
    import lm_eval.evaluator

    logger, bars = logging.getLogger("lm_eval"), datasets.are_progress_bars_disabled()
    level, tqdm = logger.level, lm_eval.api.task.tqdm
    survey = lm_eval.evaluator.add_env_info
    git_hash = lm_eval.evaluator.get_git_commit_hash
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    lm_eval.api.task.tqdm = partial(tqdm, disable=True)
    # It would be the commit of whatever folder the user stands in.
    lm_eval.evaluator.get_git_commit_hash = lambda: None
    # It asks pip and the drivers for two seconds; its answer is of the machine, and dropped.
    lm_eval.evaluator.add_env_info = lambda storage: storage.update(
        {f"{name}_version": number for name, number in versions("lm_eval", "transformers").items()}
    )
    try:
        yield
    finally:
        logger.setLevel(level)
        lm_eval.api.task.tqdm = tqdm
        lm_eval.evaluator.add_env_info = survey
        lm_eval.evaluator.get_git_commit_hash = git_hash
        if not bars:
            datasets.enable_progress_bars()
