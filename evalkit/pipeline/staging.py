"""Folders that hold exactly what each repository of a family will: weights, card, records."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from evalkit.cards import results_folder
from evalkit.checkpoint_files import COMPANIONS
from evalkit.console import say
from evalkit.family import Family, Member
from evalkit.hub.plan import ReleasePlan, plan_release
from evalkit.pipeline import carding, evaluation, pair_datasets, release_checks
from evalkit.pipeline.checkpoints import checkpoint_of
from evalkit.pipeline.step import StepContext
from evalkit.roles import PluginRef
from evalkit.score_records import FOLDER as RECORDS

CHECKPOINT_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json", *COMPANIONS)


def release_plans(context: StepContext, family: Family) -> list[ReleasePlan]:
    """A plan for each repository of the family, its files staged in `context.folder`.

    Raises:
        PublishError: naming everything in a repository that forbids publishing it.
    """
    plans = [
        _planned(context, family, member, member.repo_id)
        for member in family.members
        if member.repo_id is not None
    ]
    publish = context.recipe.publish
    if publish is not None and publish.datasets:
        plans += pair_datasets.release_plans(context, family)
    return plans


def _planned(context: StepContext, family: Family, member: Member, repo_id: str) -> ReleasePlan:
    folder = _stage(context, member)
    base = family.members[0]
    theirs = None if base.is_ours else Path(checkpoint_of(context, base.checkpoint.name).path)
    return plan_release(
        folder,
        repo_id,
        checkpoint=member.checkpoint.name,
        note=_note(member),
        found=release_checks.problems(family, member, folder, theirs),
    )


def _stage(context: StepContext, member: Member) -> Path:
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
    shutil.rmtree(staged / RECORDS, ignore_errors=True)  # of one's own model, an earlier card's
    written = context.run.folder(carding.NAME) / member.title
    shutil.copytree(written, staged, copy_function=_replace, dirs_exist_ok=True)
    for ref in context.recipe.evaluation.benchmarks:
        _stage_raw(context, member, ref, staged / results_folder(ref.key))
    return staged


def _stage_raw(context: StepContext, member: Member, ref: PluginRef, target: Path) -> None:
    """The raw files of a benchmark, beside the result that came with the card."""
    measured = context.run.folder(evaluation.step_name(member.checkpoint.name, ref))
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


def _replace(source: str, target: str) -> None:
    """Copies over what may be a link to the run's own file, which must stay as it is."""
    Path(target).unlink(missing_ok=True)
    shutil.copyfile(source, target)


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
