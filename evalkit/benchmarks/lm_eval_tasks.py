"""Tasks of EleutherAI's lm-evaluation-harness, through its own `simple_evaluate`.

Prompts, few-shot examples, filters and metrics are the harness's; log-likelihoods
and responses come from our scorer and engine.
"""

import importlib.util
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from evalkit.benchmarks import lm_eval_data, lm_eval_folder
from evalkit.benchmarks.lm_eval_options import LmEvalOptions
from evalkit.benchmarks.lm_eval_quiet import quiet
from evalkit.benchmarks.provenance import common, versions
from evalkit.errors import EvalkitError, Problem, ScoreError, did_you_mean, missing_extra
from evalkit.loading import file_digest
from evalkit.records import ResultSet
from evalkit.roles import (
    Benchmark,
    BenchmarkContext,
    EvaluationItem,
    Judge,
    PluginRef,
    Prefetched,
    Source,
)

if TYPE_CHECKING:
    from evalkit.benchmarks.lm_eval_loading import TaskLoader

RESULTS_FILE = "lm_eval_results.json"
# The harness's own defaults: other seeds would draw other few-shot examples.
SEEDS = {
    "random_seed": 0,
    "numpy_random_seed": 1234,
    "torch_random_seed": 1234,
    "fewshot_random_seed": 1234,
}


class LmEvalTasks(Benchmark):
    """Any task the harness knows, or that a folder of task definitions adds."""

    label = "lm-evaluation-harness"
    needs: ClassVar[frozenset[str]] = frozenset({"scorer", "engine"})
    requires: ClassVar[tuple[tuple[str, str], ...]] = (("lm_eval", "eval"), ("datasets", "eval"))
    version: ClassVar[int] = 3
    Options = LmEvalOptions

    def data_digests(self) -> Mapping[str, str]:
        """Of the folder of task definitions, helpers included; of each file of local data.

        And the commit of each dataset of the Hub, `unknown` where it is neither here nor in reach.
        """
        folder = self._folder()
        found = {} if folder is None else {"include_path": lm_eval_folder.digest_of(folder)}
        for task, files in self.options.data.items():
            found |= {f"data.{task}.{split}": file_digest(Path(f)) for split, f in files.items()}
        return found | {f"dataset {name}": commit for name, commit in self._commits().items()}

    def check(self) -> list[Problem]:
        """Unknown tasks, missing folders and files."""
        folder = self._folder()
        if folder is not None and not folder.is_dir():
            hint = "give a folder with YAML files of tasks, or leave include_path out"
            return [Problem("include_path", f"there is no folder {folder}", hint)]
        if folder is not None and (damaged := lm_eval_folder.damaged(folder)):
            return damaged
        wrong = lm_eval_data.problems_of(self.options.data)
        if wrong:
            return wrong
        if folder is not None and set(self.options.tasks) <= lm_eval_folder.declared(folder):
            return []  # without importing the harness, which takes seconds
        if any(importlib.util.find_spec(package) is None for package, _ in self.requires):
            return []  # nothing can be asked of it; `requires` has it reported
        with quiet():
            known = self._task_manager().all_tasks
        return [
            Problem("tasks", f"the harness knows no task '{task}'", _near(task, known))
            for task in self.options.tasks
            if task not in known
        ]

    def item_metrics(self, open_source: Callable[[PluginRef], Source]) -> set[str] | None:
        """Those that the tasks' definitions name."""
        if importlib.util.find_spec("lm_eval") is None:
            return None
        from evalkit.benchmarks.lm_eval_metrics import metric_names

        with quiet():
            return metric_names(self.options.tasks, self._task_manager().task_index)

    def items(self, open_source: Callable[[PluginRef], Source]) -> list[EvaluationItem]:
        """Every document of every task, as it is asked without examples."""
        if importlib.util.find_spec("lm_eval") is None:
            raise missing_extra("lm_eval", "eval")
        from evalkit.benchmarks.lm_eval_items import items_of

        with tempfile.TemporaryDirectory() as definitions, quiet():
            loaded = self._loader(Path(definitions)).load(self.options.tasks)
            return list(items_of(loaded["tasks"], self.options.limit))

    def check_tokenizer(self, tokenizer: Any) -> list[Problem]:
        """A chat template is asked for, and there is none."""
        if not self.options.apply_chat_template or tokenizer.chat_template:
            return []
        hint = "set apply_chat_template: false, or give the tokenizer a chat_template"
        return [Problem("apply_chat_template", "the base has no chat template to apply", hint)]

    def check_data(
        self, open_source: Callable[[PluginRef], Source], judge: Judge | None
    ) -> list[Problem]:
        """Local data that a template cannot make its first prompt of; datasets out of reach."""
        wrong = self._local_data_problems() if self.options.data else []
        if wrong or not self._reads_hub():
            return wrong
        from evalkit.benchmarks import lm_eval_datasets, lm_eval_needs

        with quiet():
            hub, index = self._hub_datasets(), self._task_manager().task_index
            wrong += lm_eval_datasets.problems_of(hub, self.options.revisions)
            return wrong + lm_eval_needs.problems_of(index, self.options.tasks)

    def prefetch(self) -> list[Prefetched]:
        """The datasets of all tasks, as the harness itself loads them; what else they read."""
        if importlib.util.find_spec("lm_eval") is None:
            raise missing_extra("lm_eval", "eval")
        if not self._reads_hub():
            return []
        from evalkit.benchmarks import lm_eval_datasets, lm_eval_needs

        with tempfile.TemporaryDirectory() as definitions, quiet():
            index = self._task_manager().task_index
            data = lm_eval_needs.bring(index, self.options.tasks)
            loader = self._loader(Path(definitions))
            loader.load(self.options.tasks)
            return [*data, *lm_eval_datasets.brought(self._hub_datasets(), loader.commits)]

    def _reads_hub(self) -> bool:
        """Whether a task may read the Hub; found out without the harness, which takes seconds."""
        folder = self._folder()
        own = folder is not None and set(self.options.tasks) <= lm_eval_folder.declared(folder)
        return folder is None or not own or not lm_eval_folder.reads_files_alone(folder)

    def _hub_datasets(self) -> Any:
        """The datasets of all tasks but those that local data stands for."""
        from evalkit.benchmarks.lm_eval_datasets import datasets_of

        found = datasets_of(self._task_manager().task_index, self.options.tasks)
        kept = {one: [task for task in tasks if task not in self.options.data]
                for one, tasks in found.items()}  # fmt: skip
        return {one: tasks for one, tasks in kept.items() if tasks}

    def _commits(self) -> dict[str, str]:
        """The commits that the datasets of the Hub are read at."""
        lacking = any(importlib.util.find_spec(package) is None for package, _ in self.requires)
        if lacking or not self._reads_hub():
            return {}
        from evalkit.benchmarks.lm_eval_commits import commits_of

        with quiet():
            return commits_of(self._hub_datasets(), self.options.revisions)

    def _local_data_problems(self) -> list[Problem]:
        from evalkit.benchmarks.lm_eval_loading import TaskLoader, try_first_prompt

        with tempfile.TemporaryDirectory() as folder, quiet():
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
        require_harness()
        from evalkit.benchmarks import lm_eval_results

        if self.options.apply_chat_template and not context.tokenizer.chat_template:
            raise ScoreError(
                f"{context.checkpoint.name} has no chat template to apply",
                "set apply_chat_template: false",
            )
        with tempfile.TemporaryDirectory() as definitions, quiet():
            results, loader = self._evaluate(context, Path(definitions))
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
        rows = {task: loader.rows[task] for task in self.options.data}
        departures = lm_eval_data.departures(
            self.options.data, rows, self.options.limit, loader.foreign
        )
        scores = lm_eval_results.scores_of(results, self._settings())
        groups = results["group_subtasks"]
        return ResultSet(
            benchmark="lm_eval_tasks",
            checkpoint=context.checkpoint.name,
            checkpoint_digest=context.checkpoint.digest,
            scores=tuple(
                lm_eval_data.labelled(score, departures, groups, self.options.data)
                for score in scores
            ),
            provenance={
                **self._provenance(context, raw),
                **({"datasets": loader.commits} if loader.commits else {}),
                "data": lm_eval_results.task_digests(results, ("doc_hash", "target_hash")),
            },
            samples=tuple(lm_eval_results.samples_of(results)),
        )

    def _evaluate(
        self, context: BenchmarkContext, definitions: Path
    ) -> tuple[dict[str, Any], "TaskLoader"]:
        """The harness's results, and what has loaded its tasks."""
        import lm_eval

        model = self._model(context)
        shots = self.options.num_fewshot
        loader = self._loader(definitions)
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
        return results, loader

    def _loader(self, definitions: Path) -> "TaskLoader":
        """What loads the tasks; definitions: an empty folder, kept until they are loaded."""
        from evalkit.benchmarks.lm_eval_loading import TaskLoader

        shots = self.options.num_fewshot
        by_task = shots if isinstance(shots, dict) else {}
        if self.options.data:
            known = _full_task_manager(self._folder()).task_index
            lm_eval_data.write_definitions(self.options.data, known, definitions)
        manager = self._task_manager(definitions, set(self.options.tasks))
        return TaskLoader(manager, by_task, self._commits())

    def _model(self, context: BenchmarkContext) -> Any:
        from lm_eval.models.utils import resolve_max_length
        from transformers import AutoConfig

        from evalkit.benchmarks.lm_eval_model import Answering, HarnessModel

        checkpoint = context.checkpoint
        config = AutoConfig.from_pretrained(checkpoint.path, revision=checkpoint.revision)
        limit = resolve_max_length(config, context.tokenizer)
        return HarnessModel(
            context.tokenizer,
            Answering(checkpoint.name, limit, context.seed),
            open_scorer=context.open_scorer,
            open_engine=context.open_engine,
            progress=context.progress,
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


def require_harness() -> None:
    """Raises PrerequisiteError where lm_eval is not installed."""
    if importlib.util.find_spec("lm_eval") is None:
        raise missing_extra("lm_eval", "eval")


def __getattr__(name: str) -> Any:
    """`ScoringLM`, whose file needs lm_eval and torch, on first use."""
    if name != "ScoringLM":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from evalkit.benchmarks.lm_eval_scoring import ScoringLM

    return ScoringLM


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
