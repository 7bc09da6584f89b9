"""Step `publish`: every checkpoint staged with its card and records, pushed, read back."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cards import FIGURES_FOLDER, results_folder
from evalkit.checkpoint_files import COMPANIONS
from evalkit.console import say
from evalkit.errors import EvalkitError, Problem
from evalkit.family import Family, Member
from evalkit.fingerprint import fingerprint
from evalkit.pipeline import carding, contamination, evaluation
from evalkit.pipeline.checkpoints import checkpoint_of
from evalkit.pipeline.family import repo_id
from evalkit.pipeline.layout import checkpoint_names
from evalkit.pipeline.step import Plan, RunOptions, Step, StepContext
from evalkit.recipe import LOCAL_HUB, Publish, Recipe, as_data
from evalkit.records import Release, to_json
from evalkit.roles import PluginRef
from evalkit.rundir import LINEAGE, RunDir, read_made_list

if TYPE_CHECKING:
    from evalkit.hub.client import HubTarget
    from evalkit.hub.plan import ReleasePlan

NAME = "publish"
RELEASES = "releases.json"
HUB_PACKAGES = ("huggingface_hub", "starlette", "uvicorn")
CHECKPOINT_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json", *COMPANIONS)
RECEIPTS = "publication"  # beside the steps: what is on a Hub outlives a rebuilt step


def step(recipe: Recipe) -> Step:
    """The step that publishes the family."""
    assert recipe.publish is not None
    measured = [
        evaluation.step_name(name, ref)
        for name in checkpoint_names(recipe)
        for ref in recipe.evaluation.benchmarks
    ]
    return Step(
        name=NAME,
        kind="publish",
        title=f"publish the family under {recipe.publish.namespace}/",
        settings={"publish": as_data(recipe.publish)},
        needs=(carding.NAME, *measured),
        work=_publish,
        expensive=False,
        holds=_still_there,
    )


def check(recipe: Recipe) -> Iterator[Problem]:
    """What can be seen to forbid publishing before any work is done."""
    assert recipe.publish is not None
    lacking = [package for package in HUB_PACKAGES if find_spec(package) is None]
    if lacking:
        hint = "pip install 'evalkit[hub]'"
        message = f"these Python packages are not installed: {', '.join(lacking)}"
        yield Problem("", message, hint, prerequisite=True)
        return
    from evalkit.hub.client import HubTarget, token_for
    from evalkit.hub.plan import name_problems
    from evalkit.hub.publish import check_rights

    try:
        names = repo_ids(recipe)
    except EvalkitError:
        return  # a method or scheme is wrong, and told where it stands
    if not names:
        yield Problem("", "there is nothing to publish: the base is not evalkit's own, and no"
                          " stage or variant makes another checkpoint")  # fmt: skip
    for name in names:
        for problem in name_problems(name):
            yield Problem("", f"{name} {problem.message}", problem.hint)
    if recipe.publish.endpoint != LOCAL_HUB:
        try:
            token = token_for(recipe.publish.endpoint)
            check_rights(HubTarget(recipe.publish.endpoint, token), names)
        except EvalkitError as error:
            # Whether this machine and its token get there; the plan can be shown all the same.
            yield Problem.of("endpoint", error)._replace(prerequisite=True)


def is_local(recipe: Recipe) -> bool:
    """Whether the recipe publishes to the Hub that evalkit serves itself."""
    return recipe.publish is not None and recipe.publish.endpoint == LOCAL_HUB


def intentions(plan: Plan, options: RunOptions) -> list[str]:
    """What a run of this plan would push where, a line each."""
    publish = plan.recipe.publish
    if publish is None or NAME not in plan.by_name:
        return []
    place = f"a Hub served from {options.hub_root}" if is_local(plan.recipe) else publish.endpoint
    visibility = "private" if publish.private else "public"
    lines = [f"would push to {place}, {visibility}:"]
    lines += [f"  {repo_id}" for repo_id in repo_ids(plan.recipe)]
    if plan.recipe.base.own:
        lines.append("with cards written here; the model's own folder is left as it is")
    return lines


def repo_ids(recipe: Recipe) -> list[str]:
    """The repositories that publishing the recipe's family makes or updates."""
    found = (repo_id(recipe, name) for name in checkpoint_names(recipe))
    return [one for one in found if one is not None]


def read_releases(run: RunDir) -> list[Release]:
    """What the finished `publish` step returned; empty if it is not finished."""
    file = run.folder(NAME) / RELEASES
    if not file.is_file():
        return []
    return read_made_list(Release, file)


def _publish(context: StepContext) -> Mapping[str, Any]:
    from evalkit.hub.publish import Options, publish

    settings = context.recipe.publish
    assert settings is not None
    family = carding.read_family(context.run.folder(carding.NAME))
    plans = _plans(context, family)
    options = Options(collection=settings.collection or "", replace=context.options.replace)
    with _target(settings, context.options) as target:
        releases = publish(
            plans,
            target,
            receipts=context.run.path / RECEIPTS,
            progress=context.progress,
            options=options,
        )
    shutil.rmtree(context.folder / "staged")
    text = json.dumps(to_json(releases), indent=1, sort_keys=True)
    (context.folder / RELEASES).write_text(text + "\n", encoding="utf-8")
    return {"digest": fingerprint([release.files for release in releases])}


def _plans(context: StepContext, family: Family) -> list[ReleasePlan]:
    from evalkit.hub.plan import plan_release

    return [
        plan_release(
            _stage(context, member),
            member.repo_id,
            checkpoint=member.checkpoint.name,
            note=_note(member),
        )
        for member in family.members
        if member.repo_id is not None
    ]


def _stage(context: StepContext, member: Member) -> Path:
    """A folder that holds exactly what the repository will: weights, card, records."""
    staged = context.folder / "staged" / member.title
    if staged.exists():
        shutil.rmtree(staged)
    checkpoint = checkpoint_of(context, member.checkpoint.name)
    # One's own folder may hold anything: an optimizer's state, other checkpoints, a card.
    patterns = CHECKPOINT_FILES if member.own else None
    left_out = _link_tree(Path(checkpoint.path), staged, patterns)
    if left_out:
        names = ", ".join(left_out)
        say(f"  not published with {member.title}, being no part of a checkpoint: {names}")
    card = context.run.folder(carding.NAME) / member.title / carding.CARD_FILE
    (staged / carding.CARD_FILE).unlink(missing_ok=True)  # it may be a link to the run's own file
    shutil.copyfile(card, staged / carding.CARD_FILE)
    (staged / LINEAGE).unlink(missing_ok=True)
    shutil.copyfile(card.with_name(LINEAGE), staged / LINEAGE)
    figures = context.run.folder(carding.NAME) / member.title / FIGURES_FOLDER
    if figures.is_dir():
        shutil.copytree(figures, staged / FIGURES_FOLDER)
    for ref in context.recipe.evaluation.benchmarks:
        _stage_records(context, member, ref, staged / results_folder(ref.key))
    return staged


def _stage_records(context: StepContext, member: Member, ref: PluginRef, target: Path) -> None:
    step_name = evaluation.step_name(member.checkpoint.name, ref)
    measured = context.run.folder(step_name)
    target.mkdir(parents=True)
    told = contamination.result_folder(context.run, context.recipe, step_name)
    shutil.copyfile(told / evaluation.RESULT, target / evaluation.RESULT)
    for file in sorted((measured / evaluation.RAW).rglob("*")):
        if file.is_file():
            place = target / file.relative_to(measured / evaluation.RAW)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)


def _link_tree(source: Path, target: Path, patterns: Sequence[str] | None) -> list[str]:
    """Hard links where the disk allows them: weights are large and are only read.

    Returns what was left out, matching none of the patterns if there are any.
    """
    left_out: list[str] = []

    def ignored(folder: str, names: list[str]) -> list[str]:
        place = Path(folder).relative_to(source)
        found = [name for name in names if not _fits((place / name).parts, patterns or ())]
        left_out.extend(str(place / name) for name in found)
        return found

    ignore = None if patterns is None else ignored
    shutil.copytree(source, target, copy_function=_link_or_copy, ignore=ignore)
    return sorted(left_out)


def _fits(pieces: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a path, or a folder above it, is what a pattern describes."""
    wanted = (pattern.split("/") for pattern in patterns)
    return any(len(pieces) <= len(one) and all(map(fnmatch, pieces, one)) for one in wanted)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)


def _note(member: Member) -> str:
    if member.variant is not None:
        return member.variant.label
    if member.iteration is not None:
        return f"iteration {member.iteration}"
    return "base"


@contextmanager
def _target(publish: Publish, options: RunOptions) -> Iterator[HubTarget]:
    """Where to push: the recipe's Hub, or one served here for as long as the step takes."""
    from evalkit.hub.client import HubTarget, token_for
    from evalkit.hub.serve import running

    if publish.endpoint == LOCAL_HUB:
        with running(options.hub_root, orgs=[publish.namespace]) as server:
            yield server.target(private=publish.private)
    else:
        yield HubTarget(publish.endpoint, token_for(publish.endpoint), publish.private)


def _still_there(run: RunDir, options: RunOptions) -> bool:
    """Whether a finished local publication is still in the Hub's folder."""
    from evalkit.hub.store import holds

    local = [release for release in read_releases(run) if release.endpoint == LOCAL_HUB]
    return all(holds(options.hub_root, release) for release in local)
