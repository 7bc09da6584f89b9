"""Step `publish`: every checkpoint staged with its card and records, pushed, read back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import EvalkitError, Problem
from evalkit.fingerprint import fingerprint
from evalkit.pipeline import carding, evaluation, pair_datasets
from evalkit.pipeline.family import repo_id
from evalkit.pipeline.layout import checkpoint_names
from evalkit.pipeline.step import Plan, RunOptions, Step, StepContext
from evalkit.recipe import LOCAL_HUB, Publish, Recipe, as_data
from evalkit.records import Release, to_json
from evalkit.rundir import PUBLICATION, RunDir, read_made_list

if TYPE_CHECKING:
    from evalkit.hub.client import HubTarget
    from evalkit.hub.publish import Options

NAME = "publish"
RELEASES = "releases.json"
HUB_PACKAGES = ("huggingface_hub", "starlette", "uvicorn")


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
    data = pair_datasets.dataset_ids(plan.recipe)
    lines += [f"  {one}{' (a dataset)' if one in data else ''}" for one in repo_ids(plan.recipe)]
    if plan.recipe.base.own:
        lines.append("with cards written here; the model's own folder is left as it is")
    return lines


def repo_ids(recipe: Recipe) -> list[str]:
    """The repositories that publishing the recipe's family makes or updates."""
    found = (repo_id(recipe, name) for name in checkpoint_names(recipe))
    models = [one for one in found if one is not None]
    return [*models, *pair_datasets.dataset_ids(recipe)]


def read_releases(run: RunDir) -> list[Release]:
    """What the finished `publish` step returned; empty if it is not finished."""
    file = run.folder(NAME) / RELEASES
    if not file.is_file():
        return []
    return read_made_list(Release, file)


def _publish(context: StepContext) -> Mapping[str, Any]:
    from evalkit.hub.publish import publish
    from evalkit.pipeline.staging import release_plans

    settings = context.recipe.publish
    assert settings is not None
    family = carding.read_family(context.run.folder(carding.NAME))
    with hub_target(settings, context.options) as target:
        releases = publish(
            release_plans(context, family),
            target,
            receipts=receipts_folder(context.run),
            progress=context.progress,
            options=how_to_publish(settings, context.options),
        )
    shutil.rmtree(context.folder / "staged")
    text = json.dumps(to_json(releases), indent=1, sort_keys=True)
    (context.folder / RELEASES).write_text(text + "\n", encoding="utf-8")
    return {"digest": fingerprint([release.files for release in releases])}


def how_to_publish(settings: Publish, options: RunOptions) -> Options:
    """The client's options that a recipe and the flags ask for."""
    from evalkit.hub.publish import Options

    return Options(settings.collection or "", options.replace, settings.tag or "")


def receipts_folder(run: RunDir) -> Path:
    """Where the journal lies: beside the steps, for what is on a Hub outlives a rebuilt step."""
    return run.path / PUBLICATION


@contextmanager
def hub_target(publish: Publish, options: RunOptions) -> Iterator[HubTarget]:
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
