"""A dataset of the Hugging Face Hub, at one commit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field, model_validator

from evalkit import frontmatter
from evalkit.errors import CardError, PrerequisiteError, Problem, RecipeError
from evalkit.fingerprint import fingerprint
from evalkit.roles import Options, Prefetched
from evalkit.sources.hub_snapshot import Snapshot, commit_of, fetch, open_snapshot
from evalkit.sources.own_data import OwnDataOptions, OwnDataSource
from evalkit.sources.readers import read_table
from evalkit.sources.rows import OptionError, Table
from evalkit.sources.splits import choose, data_files, matches, splits_of

_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


class DatasetOptions(OwnDataOptions):
    """A dataset by its Hub id.

    dataset: its id. config: one of those that its card declares, or a folder of it.
    revision: a branch, a tag or a commit. Its commit is part of a run: to go on with one after its
        branch has moved, give the commit that its receipts name.
    files: a pattern of files to read instead of a split, such as `data/*.jsonl`.
    """

    dataset: str
    config: str | None = None
    revision: str = Field("main", exclude=True)  # the commit decides, however it is named
    files: str | None = None

    @model_validator(mode="after")
    def _one_way_to_name_files(self) -> DatasetOptions:
        if self.files is not None and (self.split is not None or self.config is not None):
            raise ValueError("'files' stands beside 'split' or 'config': give one or the other")
        return self


class DatasetSource(OwnDataSource):
    """The rows of a split of a Hub dataset."""

    Options: ClassVar[type[Options]] = DatasetOptions
    requires: ClassVar[tuple[tuple[str, str], ...]] = (("huggingface_hub", "hub"),)
    options: DatasetOptions

    def check(self) -> list[Problem]:
        """An id that can be none; the Hub is not asked."""
        name = self.options.dataset
        if Path(name).expanduser().exists() or name.startswith((".", "/", "~")):
            return [
                Problem(
                    "dataset",
                    f"{name} is a path, not a dataset of the Hub",
                    f"for files of your own: {{name: file, path: {name}}}",
                )
            ]
        if not _ID.fullmatch(name):
            hint = "it looks like HuggingFaceH4/ultrachat_200k"
            return [Problem("dataset", f"'{name}' is no id of a dataset", hint)]
        return []

    def table(self) -> Table:
        """Every row of the split, fetched first where the cache lacks it.

        Raises:
            PrerequisiteError: the dataset is not in the cache, and the Hub cannot be reached.
        """
        name = self.options.dataset
        commit = commit_of(name, self.options.revision)
        names = self._files(open_snapshot(name, commit))
        shown = {f"{name}/{file}": path
                 for file, path in zip(names, fetch(name, commit, names), strict=True)}  # fmt: skip
        return read_table(self._name(), shown)

    def prefetch(self) -> list[Prefetched]:
        """The files of the split."""
        name = self.options.dataset
        commit = commit_of(name, self.options.revision)
        names = self._files(open_snapshot(name, commit))
        fetch(name, commit, names)
        return [Prefetched("dataset", name, commit, ", ".join(names))]

    def description(self) -> Mapping[str, str]:
        """Name, digest, dataset and commit; the revision as written where that is not known here.

        A commit fixes the contents, so nothing has to be fetched for the digest.
        """
        written = self.options.revision
        try:
            commit = commit_of(self.options.dataset, written)
            revision = commit
        except (PrerequisiteError, RecipeError):
            commit, revision = written, f"{written} (unresolved)"
        return {
            "name": self._name(),
            "digest": fingerprint([self.settings(), commit]),
            "dataset": self.options.dataset,
            "revision": revision,
            **self.dropped(),
        }

    def _name(self) -> str:
        parts = (self.options.config, self.options.split, self.options.files)
        detail = ", ".join(part for part in parts if part)
        return f"{self.options.dataset} ({detail})" if detail else self.options.dataset

    def _files(self, snapshot: Snapshot) -> list[str]:
        options, whole = self.options, snapshot.dataset
        if options.files is not None:
            found = [n for n in data_files(snapshot.names) if matches(n, options.files)]
            if not found:
                held = ", ".join(data_files(snapshot.names)[:8]) or "no data files"
                raise OptionError(
                    "files", f"{whole} has no file '{options.files}'", f"it has {held}"
                )
            return found
        if not data_files(snapshot.names):
            raise RecipeError(
                f"{whole} has no JSONL, JSON, CSV, TSV or Parquet file",
                "the Hub converts many datasets: try revision: refs/convert/parquet",
            )
        splits = splits_of(snapshot.names, _metadata(snapshot), options.config, whole)
        return choose(splits, options.split, whole)


def _metadata(snapshot: Snapshot) -> Mapping[str, object]:
    try:
        return frontmatter.parse(snapshot.card).metadata
    except CardError:
        return {}  # then file names decide, as for a dataset without a card


PLUGIN = DatasetSource
