"""Step `publish`: every checkpoint staged with its card and records, pushed, read back."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.cards import results_folder
from evalkit.errors import EvalkitError, Problem
from evalkit.family import Family, Member
from evalkit.fingerprint import fingerprint
from evalkit.pipeline import carding, evaluation
from evalkit.pipeline.checkpoints import checkpoint_of
from evalkit.pipeline.family import repo_id
from evalkit.pipeline.layout import checkpoint_names
from evalkit.pipeline.step import Plan, RunOptions, Step, StepContext
from evalkit.recipe import LOCAL_HUB, Publish, Recipe, as_data
from evalkit.records import Release, from_json, to_json
from evalkit.roles import PluginRef
from evalkit.rundir import RunDir

if TYPE_CHECKING:
    from evalkit.hub.client import HubTarget
    from evalkit.hub.plan import ReleasePlan

NAME = "publish"
RELEASES = "releases.json"
HUB_PACKAGES = ("huggingface_hub", "starlette", "uvicorn")
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
            yield Problem.of("endpoint", error)


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
    return lines + [f"  {repo_id}" for repo_id in repo_ids(plan.recipe)]


def repo_ids(recipe: Recipe) -> list[str]:
    """The repositories that publishing the recipe's family makes or updates."""
    found = (repo_id(recipe, name) for name in checkpoint_names(recipe))
    return [one for one in found if one is not None]


def read_releases(run: RunDir) -> list[Release]:
    """What the finished `publish` step returned; empty if it is not finished."""
    file = run.folder(NAME) / RELEASES
    if not file.is_file():
        return []
    return [from_json(Release, row) for row in json.loads(file.read_text("utf-8"))]


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
    _link_tree(Path(checkpoint.path), staged)
    card = context.run.folder(carding.NAME) / member.title / carding.CARD_FILE
    (staged / carding.CARD_FILE).unlink(missing_ok=True)  # it may be a link to the run's own file
    shutil.copyfile(card, staged / carding.CARD_FILE)
    for ref in context.recipe.evaluation.benchmarks:
        _stage_records(context, member, ref, staged / results_folder(ref.key))
    return staged


def _stage_records(context: StepContext, member: Member, ref: PluginRef, target: Path) -> None:
    measured = context.run.folder(evaluation.step_name(member.checkpoint.name, ref))
    target.mkdir(parents=True)
    shutil.copyfile(measured / evaluation.RESULT, target / evaluation.RESULT)
    for file in sorted((measured / evaluation.RAW).rglob("*")):
        if file.is_file():
            place = target / file.relative_to(measured / evaluation.RAW)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)


def _link_tree(source: Path, target: Path) -> None:
    """Hard links where the disk allows them: weights are large and are only read."""
    shutil.copytree(source, target, copy_function=_link_or_copy)


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
