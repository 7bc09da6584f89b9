"""What a recipe says of lm-evaluation-harness's tasks."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from evalkit.benchmarks import lm_eval_data
from evalkit.errors import did_you_mean
from evalkit.roles import Options


class LmEvalOptions(Options):
    """Which tasks, and how their prompts are made.

    tasks: names of tasks, groups or tags, as `lm-eval ls tasks` lists them.
    num_fewshot: for all tasks, or by task, group or tag; others keep their own default.
    include_path: a folder of task definitions beside the harness's own, or
        `pocket` for the packaged ones.
    data: files instead of a task's dataset, its template unchanged: by split, as in
        {gsm8k: {train: train.jsonl, test: test.jsonl}}, or one with the rows that are asked, of
        which examples are drawn, too: {arc_challenge: test.parquet}.
    revisions: commits, tags or branches of the tasks' datasets, by their Hub ids; default what this
        machine has of them, else the newest. The commits are part of a run.
    limit: only the first so many documents of each task (a fraction below 1).
    apply_chat_template: ask as a chat. fewshot_as_multiturn: then each shot is a turn of it.
    """

    tasks: tuple[str, ...] = Field(min_length=1)
    num_fewshot: int | dict[str, int] | None = None
    limit: int | float | None = Field(default=None, gt=0)
    include_path: str | None = Field(default=None, exclude=True)  # contents decide, not places:
    data: dict[str, dict[str, str]] = Field(default_factory=dict, exclude=True)  # `data_digests`
    revisions: dict[str, str] = Field(default_factory=dict, exclude=True)  # the commits decide
    apply_chat_template: bool = False
    fewshot_as_multiturn: bool = True

    @field_validator("data", mode="before")
    @classmethod
    def _one_file_is_what_is_asked(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {task: {lm_eval_data.ASKED: files} if isinstance(files, str) else files
                for task, files in value.items()}  # fmt: skip

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
