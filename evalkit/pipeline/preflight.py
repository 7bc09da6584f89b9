"""Checks a recipe against plug-ins, data and this machine, before any expensive work."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit import baselines
from evalkit.errors import EvalkitError, PrerequisiteError, Problem, RecipeError
from evalkit.fetching import check_model
from evalkit.loading import config_of
from evalkit.pipeline import (
    carding,
    contamination,
    gating,
    head_to_head,
    launch_checks,
    plugins,
    publishing,
    recovery,
    rendering_check,
    stage_check,
    succession,
)
from evalkit.pipeline.evaluation import open_source
from evalkit.pipeline.plan import GOALS
from evalkit.pipeline.responses import iteration_prompts
from evalkit.pipeline.step import Kind, Launch
from evalkit.recipe import Recipe
from evalkit.recipe_document import Document, KeyPath
from evalkit.recipe_file import STAND_INS, RecipeFile, intact_sections, problems_error
from evalkit.roles import Judge, PluginRef
from evalkit.stages import Stage

MIN_FREE_BYTES = 1_000_000_000


def check(
    file: RecipeFile, goal: str, only_plan: bool = False, launch: Launch | None = None
) -> list[Problem]:
    """Raises one RecipeError that carries every problem of what a goal needs, or returns.

    only_plan: what this machine lacks (a package, a token, the network) is returned, not raised:
        a plan can be printed without it.
    launch: how training steps are to be started, if not in one process.

    Raises:
        RecipeError: the recipe asks for something impossible, or something is not there.
    """
    problems = list(_problems(file, _kinds(file.recipe, goal)))
    if launch is not None and file.recipe.stages:
        problems += launch_checks.check(launch, file)
    if goal == "publish" and file.recipe.publish is None:
        problems.append(
            Problem(
                file.where(()),
                "the recipe has no section 'publish'",
                "add 'publish: {namespace: ...}'",
            )
        )
    if goal == "card":
        problems += _placed(file, ("base",), carding.check(file.recipe))
    lacking = [problem for problem in problems if problem.prerequisite]
    if problems and not (only_plan and len(lacking) == len(problems)):
        raise problems_error(problems)
    return lacking


def with_every_problem(error: RecipeError, document: Document, goal: str) -> RecipeError:
    """A recipe's error of form, together with what can be seen wrong in its intact sections."""
    # What would be published follows from all sections, so it cannot be told from some of them.
    file = intact_sections(document)
    more = _problems(file, _kinds(file.recipe, goal) - {"publish"})
    return problems_error([*error.problems, *more])


def _kinds(recipe: Recipe, goal: str) -> set[Kind]:
    """The kinds of step that a goal has; a gate that stops brings measuring along."""
    stops = any(stage.gate.action == "stop" for stage in recipe.stages)
    return {*GOALS[goal], *(("evaluate",) if stops else ())}


def check_machine(out: Path) -> None:
    """Raises PrerequisiteError if the run's folder cannot be written or its disk is nearly full."""
    parent = next(
        folder for folder in (out, *out.parents, *out.absolute().parents) if folder.exists()
    )
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise PrerequisiteError(f"{parent} is no folder to write in", "choose another with --out")
    free = shutil.disk_usage(parent).free
    if free < MIN_FREE_BYTES:
        raise PrerequisiteError(
            f"only {free / 1e9:.1f} GB are free on the disk of {out}",
            "free some space, or choose another folder with --out",
        )


def _problems(file: RecipeFile, kinds: set[Kind]) -> Iterator[Problem]:
    recipe = file.recipe
    yield from _base_problems(file)
    yield from _plugin_problems(file, "engines", recipe.engine, ("engine",))
    for number, stage in enumerate(recipe.stages):
        yield from _stage_problems(file, stage, ("stages", number))
        if not _is_set_aside(file, "evaluation"):
            yield from _placed(file, ("stages", number), gating.check(recipe, stage))
    if "quantize" in kinds:
        yield from _calibration_problems(file)
        for number, variant in enumerate(recipe.variants):
            yield from _variant_problems(file, variant, ("variants", number))
    if rendering_check.tokenizer_of(recipe) is not None:
        assert recipe.base.model is not None  # it is a whole folder
        yield from _placed(file, (), succession.model_problems(recipe, recipe.base.model))
    if "evaluate" in kinds:
        yield from _evaluation_problems(file)
    for kind, ref, key in _beyond(file.recipe, kinds):
        yield from _placed(file, key, _form_problems(kind, ref))
    if "recovery" in kinds:
        yield from _placed(file, ("recovery",), recovery.check(recipe))
    named = baselines.problems_of(recipe.evaluation.baselines)
    yield from _placed(file, ("evaluation", "baselines"), named)
    if kinds & {"card", "publish"} and not _is_set_aside(file, "card"):
        yield from _placed(file, (), carding.check_terms(recipe))
    if "publish" in kinds and recipe.publish is not None:
        yield from _placed(file, ("publish",), publishing.check(recipe))


def _beyond(recipe: Recipe, kinds: set[Kind]) -> Iterator[tuple[str, PluginRef, KeyPath]]:
    """Plug-ins that a goal does not come to: a slip in their options is told now, not in a week."""
    if "quantize" not in kinds:
        if recipe.calibration is not None:
            yield "sources", recipe.calibration, ("calibration",)
        for number, ref in enumerate(recipe.variants):
            yield "schemes", ref, ("variants", number)
    if "evaluate" not in kinds:
        if recipe.evaluation.judge is not None:
            yield "judges", recipe.evaluation.judge, ("evaluation", "judge")
        for number, ref in enumerate(recipe.evaluation.benchmarks):
            yield "benchmarks", ref, ("evaluation", "benchmarks", number)


def _form_problems(kind: str, ref: PluginRef) -> list[Problem]:
    """An unknown plug-in, or options it does not have; neither data nor machine is looked at."""
    try:
        plugins.make(kind, ref)
    except RecipeError as error:
        return list(error.problems) or [Problem.of("", error)]
    return []


def _base_problems(file: RecipeFile) -> Iterator[Problem]:
    base = file.recipe.base
    if base.builder is not None:
        yield from _plugin_problems(file, "builders", base.builder, ("base", "builder"))
    elif base.model is not None and Path(base.model).is_dir():
        yield from _placed(file, ("base",), rendering_check.base_problems(file.recipe, base.model))
    elif base.model is not None and (
        base.model.startswith((".", "/", "~")) or base.model.count("/") > 1
    ):
        where = f"{file.where(('base', 'model'))}  base.model"
        hint = "give the folder that save_pretrained wrote, or a Hub id such as org/name"
        yield Problem(where, f"there is no folder {base.model}", hint)
    elif base.own:
        where = f"{file.where(('base', 'own'))}  base.own"
        yield Problem(where, f"{base.model} is no folder: it has its card and its repository")
    elif base.model is not None and {"model": base.model} != STAND_INS["base"]:
        try:
            check_model(base.model, base.revision)
        except EvalkitError as error:
            yield from _placed(file, ("base",), [Problem.of("model", error)])


def _is_set_aside(file: RecipeFile, section: str) -> bool:
    """Whether a section was left out as it is wrong, which is told where it stands."""
    return section in file.document.data and section not in file.recipe.model_fields_set


def _stage_problems(file: RecipeFile, stage: Stage, key: KeyPath) -> Iterator[Problem]:
    """Problems of each iteration that differs from those before it; each is told once."""
    seen: list[Stage] = []
    told: set[tuple[str, str]] = set()
    for position in range(stage.iterations):
        own = stage.of_iteration(position)
        if own in seen:
            continue
        seen.append(own)
        place = (*key, "per_iteration", position) if stage.changes(position) else key
        for problem in _iteration_problems(file, stage, position, place):
            if (problem.message, problem.hint) not in told:
                told.add((problem.message, problem.hint))
                yield problem
    yield from _placed(file, key, succession.problems(stage))
    yield from _head_to_head_problems(file, stage, (*key, "head_to_head"))


def _head_to_head_problems(file: RecipeFile, stage: Stage, key: KeyPath) -> Iterator[Problem]:
    section = stage.head_to_head
    found: list[Problem] = []
    if section.source is not None:
        found += _plugin_problems(file, "sources", section.source, (*key, "source"))
    if section.other_judge is not None:
        found += _plugin_problems(file, "judges", section.other_judge, (*key, "other_judge"))
    yield from found
    if not found:
        yield from _placed(file, key[:-1], head_to_head.check(stage))


def _iteration_problems(
    file: RecipeFile, whole: Stage, position: int, key: KeyPath
) -> Iterator[Problem]:
    stage = whole.of_iteration(position)
    found = list(_plugin_problems(file, "methods", stage.method, (*key, "method")))
    found += _plugin_problems(file, "sources", stage.prompts, (*key, "prompts"))
    if stage.judge is not None:
        found += _plugin_problems(file, "judges", stage.judge, (*key, "judge"))
    yield from found
    if not found:
        yield from _placed(file, key, _need_problems(file.recipe, whole, position))


def _need_problems(recipe: Recipe, whole: Stage, position: int) -> Iterator[Problem]:
    """What an iteration's method must be given and is not; data is read for it."""
    stage = whole.of_iteration(position)
    needs = plugins.make("methods", stage.method).needs()
    yield from stage_check.problems(stage, needs)
    try:
        prompts = plugins.make("sources", stage.prompts).prompts()
        for later in range(position, whole.iterations):
            if whole.of_iteration(later).prompts == stage.prompts:
                iteration_prompts(whole, later, prompts)
    except EvalkitError as error:
        yield Problem.of("prompts", error)
        return
    for problem in rendering_check.row_problems(recipe, stage, prompts):
        yield problem._replace(where="prompts")
    if needs.judge and stage.judge is not None:
        for problem in plugins.make("judges", stage.judge).check_prompts(prompts):
            yield problem._replace(where="prompts")
    for wanted, field in ((needs.gold, "gold"), (needs.rejected, "rejected")):
        without = sum(getattr(prompt, field) is None for prompt in prompts)
        if wanted and without:
            yield Problem(
                "prompts",
                f"{stage.method.name} needs a {field} response for every prompt;"
                f" {without} of {len(prompts)} have none",
                f"use a method that does without, or data with a {field} response in every row",
            )


def _calibration_problems(file: RecipeFile) -> Iterator[Problem]:
    if file.recipe.calibration is not None:
        yield from _source_problems(file, file.recipe.calibration, ("calibration",))


def _source_problems(file: RecipeFile, ref: PluginRef, key: KeyPath) -> Iterator[Problem]:
    """Of a source of prompts, its data included."""
    found = list(_plugin_problems(file, "sources", ref, key))
    yield from found
    if not found:
        try:
            plugins.make("sources", ref).prompts()
        except EvalkitError as error:
            yield from _placed(file, key, [Problem.of("", error)])


def _variant_problems(file: RecipeFile, ref: PluginRef, key: KeyPath) -> Iterator[Problem]:
    found = list(_plugin_problems(file, "schemes", ref, key))
    # Of the document, as a section that is wrong is there all the same.
    given = file.document.data.get("stages") or file.document.data.get("calibration")
    if not found and plugins.make("schemes", ref).calibrated and not given:
        hint = "add 'calibration: {name: file, path: ...}', or use w4a16_rtn or fp8_dynamic"
        problem = Problem("", f"{ref.name} needs calibration data, and there is no stage", hint)
        found = list(_placed(file, key, [problem]))
    yield from found
    base = file.recipe.base.model
    if not found and base is not None and Path(base, "config.json").is_file():
        scheme = plugins.make("schemes", ref)
        yield from _placed(file, key, scheme.check_model(config_of(base)))


def _evaluation_problems(file: RecipeFile) -> Iterator[Problem]:
    section = file.recipe.evaluation
    judge: Judge | None = None
    if section.judge is not None:
        wrong = list(_plugin_problems(file, "judges", section.judge, ("evaluation", "judge")))
        yield from wrong
        judge = None if wrong else plugins.make("judges", section.judge)
    if section.audit is not None and section.audit.second is not None:
        key = ("evaluation", "audit", "second")
        yield from _plugin_problems(file, "judges", section.audit.second, key)
    yield from _placed(file, contamination.KEY, contamination.check(file.recipe))
    for number, ref in enumerate(section.contamination.sources if section.contamination else ()):
        yield from _source_problems(file, ref, (*contamination.KEY, "sources", number))
    for number, ref in enumerate(section.benchmarks):
        place = ("evaluation", "benchmarks", number)
        found = list(_plugin_problems(file, "benchmarks", ref, place))
        found = found or list(_benchmark_problems(file, ref, place, judge))
        yield from found


def _benchmark_problems(
    file: RecipeFile, ref: PluginRef, place: KeyPath, judge: Judge | None
) -> Iterator[Problem]:
    benchmark = plugins.make("benchmarks", ref)
    if "judge" in benchmark.needs and file.recipe.evaluation.judge is None:
        yield from _placed(
            file,
            place,
            [
                Problem(
                    "",
                    f"{ref.name} needs evaluation.judge",
                    "add 'judge: rule' to 'evaluation', say",
                )
            ],
        )
    wrong = [
        p for data in benchmark.sources() for p in _plugin_problems(file, "sources", data, place)
    ]
    yield from wrong
    if not wrong:
        yield from _placed(file, place, benchmark.check_data(open_source, judge))
    tokenizer = rendering_check.tokenizer_of(file.recipe)
    if tokenizer is not None:
        yield from _placed(file, place, benchmark.check_tokenizer(tokenizer))


def _plugin_problems(
    file: RecipeFile, kind: str, ref: PluginRef, key: KeyPath
) -> Iterator[Problem]:
    try:
        plugin: Any = plugins.make(kind, ref)
        problems = plugins.missing_packages(plugin) or plugin.check()
        if kind == "judges" and (engine := plugin.engine()) is not None:
            yield from _plugin_problems(file, "engines", engine, (*key, "engine"))
    except RecipeError as error:
        problems = list(error.problems) or [Problem.of("", error)]
    yield from _placed(file, key, problems)


def _placed(file: RecipeFile, key: KeyPath, problems: Any) -> Iterator[Problem]:
    """Problems whose `where` was an option's name, with file, line and whole key."""
    for problem in problems:
        parts = tuple(problem.where.split(".")) if problem.where else ()
        whole = (*key, *parts)
        dotted = ".".join(str(part) for part in whole)
        yield problem._replace(where=f"{file.where(whole)}  {dotted}")
