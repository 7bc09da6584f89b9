"""A run's publication from outside: what it would do, where it stands, and how it is taken back."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from evalkit.console import no_progress
from evalkit.errors import PublishError, RecipeError
from evalkit.pipeline import carding, publishing
from evalkit.pipeline.step import RunOptions, StepContext
from evalkit.recipe import LOCAL_HUB, Publish, Recipe
from evalkit.recipe_document import Document
from evalkit.recipe_file import read_document, validated
from evalkit.rundir import RECIPE, RUNS, RunDir

if TYPE_CHECKING:
    from evalkit.hub.client import HubTarget
    from evalkit.hub.plan import ReleasePlan
    from evalkit.hub.remote import Outlook
    from evalkit.hub.rollback import Undoing
    from evalkit.hub.standing import Standing


class Publication(NamedTuple):
    """A family that is, or is to be, published from a run folder."""

    recipe: Recipe
    run: RunDir
    options: RunOptions

    @property
    def settings(self) -> Publish:
        """The recipe's section `publish`."""
        assert self.recipe.publish is not None
        return self.recipe.publish

    @property
    def place(self) -> str:
        """The Hub, in words."""
        local = self.settings.endpoint == LOCAL_HUB
        return f"the Hub in {self.options.hub_root}" if local else self.settings.endpoint


def find(family: Path, options: RunOptions, out: Path | None = None) -> Publication:
    """The publication of a recipe file, or of a run folder.

    Raises:
        RecipeError: there is neither, or it says nothing of publishing.
    """
    if not family.is_dir():
        return of_document(read_document(family, ()), options, out)
    if not (family / RECIPE).is_file():
        raise RecipeError(f"{family} is not a run: it has no {RECIPE}", "runs lie under runs/")
    return of_document(read_document(family / RECIPE, ()), options, family)


def of_document(document: Document, options: RunOptions, out: Path | None) -> Publication:
    """The publication of a recipe that was read, from `out` or else `runs/NAME`.

    Raises:
        RecipeError: the recipe is wrong, or says nothing of publishing.
    """
    recipe = validated(document).recipe
    if recipe.publish is None:
        raise RecipeError(
            f"{recipe.name} is not to be published: its recipe has no section 'publish'",
            "add publish: {namespace: NAME}",
        )
    return Publication(recipe, RunDir(out or RUNS / recipe.name), options)


def preview(found: Publication) -> list[Outlook] | None:
    """What publishing would do to each repository, file by file; None before the cards are made.

    A Hub that does not answer is told as such, and the files are planned all the same.

    Raises:
        PublishError: something in the files forbids publishing them.
    """
    from evalkit.hub.publish import preview as look
    from evalkit.hub.remote import Outlook

    if found.run.receipt(carding.NAME) is None:
        return None
    with staged(found) as plans:
        try:
            with _existing_hub(found) as target:
                return look(plans, target, receipts=publishing.receipts_folder(found.run))
        except PublishError as error:
            return [Outlook(plan, "unknown", None, error.message) for plan in plans]


def standings(found: Publication) -> list[Standing]:
    """Where each repository stands beside the run's files.

    Raises:
        PublishError: the family has no cards yet, or the Hub cannot be reached.
    """
    from evalkit.hub.standing import standings as look

    if found.run.receipt(carding.NAME) is None:
        raise PublishError(
            f"{found.run.path} holds no finished family: its cards are not made yet",
            "evalkit publish RECIPE makes and publishes them",
        )
    with staged(found) as plans, _existing_hub(found) as target:
        return look(plans, target, receipts=publishing.receipts_folder(found.run))


def take_back(found: Publication, dry_run: bool) -> list[Undoing]:
    """Undoes what publishing from this run did; with `dry_run` only says what that is.

    Raises:
        PublishError: the Hub cannot be reached, or refuses.
    """
    from evalkit.hub.rollback import rollback

    with _existing_hub(found) as target:
        if target is None:
            return []
        receipts = publishing.receipts_folder(found.run)
        if dry_run:
            return rollback(target, receipts=receipts, dry_run=True)
        with found.run.locked():
            done = rollback(target, receipts=receipts)
            found.run.forget(publishing.NAME)
            return done


@contextmanager
def staged(found: Publication) -> Iterator[list[ReleasePlan]]:
    """The family's plans, their files staged for as long as the block runs."""
    from evalkit.pipeline.staging import release_plans

    folder = found.run.cache(publishing.NAME)  # on the same disk, so that weights are linked
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    context = StepContext(found.recipe, found.run, folder, found.options, no_progress)
    try:
        yield release_plans(context, carding.read_family(found.run.folder(carding.NAME)))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _remove_empty(folder.parent)


@contextmanager
def _existing_hub(found: Publication) -> Iterator[HubTarget | None]:
    """The Hub; None for a local one that does not exist, which looking must not make."""
    local = found.settings.endpoint == LOCAL_HUB
    if local and not found.options.hub_root.is_dir():
        yield None
        return
    with publishing.hub_target(found.settings, found.options) as target:
        yield target


def preview_rows(outlooks: Sequence[Outlook], tag: str | None) -> list[dict[str, Any]]:
    """A preview as JSON values."""
    return [
        {
            "repo_id": seen.plan.repo_id,
            "kind": seen.plan.kind,
            "action": seen.action,
            "reason": seen.reason,
            "parent": seen.remote.head if seen.remote else None,
            "private": seen.remote.private if seen.remote else None,
            "tag": tag,
            "size_bytes": sum(file.size_bytes for file in seen.plan.files),
            "files": [dataclasses.asdict(file) for file in seen.plan.files],
        }
        for seen in outlooks
    ]


def preview_lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A preview for people: each repository, and under it its files."""
    lines = []
    for row in rows:
        onto = f" onto {row['parent'][:12]}" if row["parent"] else ""
        why = f" ({row['reason']})" if row["reason"] else ""
        lines.append(f"  {row['repo_id']}: {row['action']}{onto}{why}, {row['size_bytes']:,} bytes")
        lines += [
            f"    {file['sha256'][:12]}  {file['size_bytes']:>14,}  {file['path']}"
            for file in row["files"]
        ]
    return lines


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
