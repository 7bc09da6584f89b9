"""Loads the harness's tasks with our shots, and says plainly when their data cannot be had.

Imported lazily: it needs lm_eval and datasets.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from datasets.exceptions import DatasetsError

from evalkit.benchmarks.lm_eval_commits import at_commits, loaded_commit
from evalkit.benchmarks.lm_eval_data import READERS, asked_split
from evalkit.benchmarks.lm_eval_needs import know_nltk_data
from evalkit.benchmarks.lm_eval_standard import QUESTION_FIELDS, has_standard_items
from evalkit.errors import PrerequisiteError, RecipeError


class TaskLoader:
    """Stands for a TaskManager in `simple_evaluate`, which takes its tasks from `load`.

    shots: few-shot examples by name of a task, group or tag; others keep their own default.
    commits: of the Hub's datasets, to load them at; afterwards those that they were loaded at.
    """

    def __init__(
        self, manager: Any, shots: Mapping[str, int], commits: Mapping[str, str] | None = None
    ) -> None:
        self._manager = manager
        self._shots = shots
        self._meant = dict(commits or {})
        self.commits = dict(self._meant)
        self.rows: dict[str, dict[str, int]] = {}  # by task and split, of all loaded
        self.foreign: set[str] = set()  # those over files that ask other questions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)

    def load(self, names: Sequence[str]) -> Any:
        """All tasks and groups, as TaskManager gives them.

        Raises:
            PrerequisiteError: a dataset can be neither fetched nor found on this machine, or a
                package that a task imports is missing.
            ScoreError: a dataset was read at another commit than was meant.
        """
        return self._manager.load([item for name in names for item in self._load_one(name)])

    def _load_one(self, name: str) -> list[Any]:
        try:
            know_nltk_data()
            with at_commits(self._meant):
                loaded = self._manager.load([name])
        except ModuleNotFoundError as error:
            raise PrerequisiteError(
                f"task {name} cannot be loaded: {_first_line(error)}",
                "pip install 'evalkit[eval]', or what the task's own page names",
            ) from error
        except (OSError, httpx.HTTPError, DatasetsError) as error:
            raise PrerequisiteError(
                f"the data of task {name} cannot be loaded: {_first_line(error)}",
                "check the network (HF_HUB_OFFLINE must not be set), or fetch the data beforehand;"
                " a gated dataset needs a token (hf auth login)",
            ) from error
        for task in loaded["tasks"].values():
            self.commits |= loaded_commit(task, self._meant)
            splits = dict(getattr(task, "dataset", None) or {})  # a task in Python may have none
            self.rows[task.task_name] = {
                name: split.num_rows for name, split in splits.items() if hasattr(split, "num_rows")
            }
            if _is_foreign(task, splits):
                self.foreign.add(task.task_name)
        if name in self._shots:
            for task in loaded["tasks"].values():
                _set_shots(task, self._shots[name], named=task.task_name == name)
        group = loaded["groups"].get(name)
        return list(loaded["tasks"].values()) if group is None else [group]


def _is_foreign(task: Any, splits: Mapping[str, Any]) -> bool:
    """Whether files stand for a task's dataset, and ask others than its standard questions."""
    field = QUESTION_FIELDS.get(task.task_name)
    if field is None or task.DATASET_PATH not in READERS.values():
        return False
    asked = splits.get(asked_split(vars(task.config)))
    if asked is None or field not in asked.column_names:
        return True
    return not has_standard_items(task.task_name, map(str, asked[field]))


def try_first_prompt(loader: TaskLoader, name: str, shots: int | None, seed: int) -> None:
    """Has a task make the prompt of its first document, examples included.

    Raises:
        RecipeError: its data lacks a split, a field or enough examples.
    """
    try:
        task = loader.load([name])["tasks"][name]
        if task.get_config("num_fewshot") != 0:
            default = task.get_config("num_fewshot") or 0
            task.set_config(key="num_fewshot", value=default if shots is None else shots)
        task.set_fewshot_seed(seed=seed)
        task.build_all_requests(limit=1)
    except Exception as error:  # the harness's template meets anybody's rows: it may be anything
        cause = _root(error)
        raise RecipeError(
            f"task {name} cannot make a prompt of this data: {type(cause).__name__}: "
            f"{_first_line(cause)}",
            "its rows must have the fields, and its splits the names, of the standard dataset",
        ) from error


def _set_shots(task: Any, shots: int, *, named: bool) -> None:
    # A task whose definition says 0 is always asked so: its prompt holds its examples already.
    if task.get_config("num_fewshot") != 0:
        task.set_config(key="num_fewshot", value=shots)
    elif named and shots:
        raise RecipeError(
            f"task {task.task_name} is always asked without few-shot examples, not with {shots}",
            "set its num_fewshot to 0",
        )


def _root(error: BaseException) -> BaseException:
    return error if error.__cause__ is None else _root(error.__cause__)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
