"""Data of one's own: JSONL, JSON, CSV, TSV or Parquet, one file or a folder of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from evalkit.errors import Problem, RecipeError, did_you_mean
from evalkit.fingerprint import fingerprint
from evalkit.loading import file_digest
from evalkit.roles import Options
from evalkit.sources.own_data import OwnDataOptions, OwnDataSource
from evalkit.sources.readers import ending, read_table
from evalkit.sources.rows import OptionError, Table
from evalkit.sources.splits import choose, data_files, splits_by_name


class FileOptions(OwnDataOptions):
    """path: a file, or a folder whose files are told apart by split."""

    path: str = Field(exclude=True)  # the digest of the contents decides, not where they lie


class FileSource(OwnDataSource):
    """The rows of a file, or of a split of a folder."""

    Options: ClassVar[type[Options]] = FileOptions
    options: FileOptions

    def check(self) -> list[Problem]:
        """Everything that reading the data shows to be wrong with it or with options for it."""
        return self.problems("path")

    def table(self) -> Table:
        """Every row of the file, or of the folder's split."""
        return read_table(self.options.path, self._files())

    def description(self) -> Mapping[str, str]:
        """The name of the file or folder, and a digest of its bytes and of the options set."""
        root = self._path()
        contents = [
            (str(file.relative_to(root)) if root.is_dir() else ending(root.name), _digest_of(file))
            for file in self._files().values()
        ]
        name = root.name or root.resolve().name
        if self.options.split is not None:
            name = f"{name} ({self.options.split})"
        return {
            "name": name,
            "digest": fingerprint([contents, self.settings()]),
            **self.dropped(),
        }

    def _path(self) -> Path:
        return Path(self.options.path).expanduser()

    def _files(self) -> dict[str, Path]:
        """Files by the names that people are shown."""
        root, shown = self._path(), self.options.path.rstrip("/")
        if root.is_dir():
            return {f"{shown}/{name}": root / name for name in self._of_split(root)}
        if not root.exists():
            raise OptionError("path", f"there is no file {shown}", _near(root))
        if self.options.split is not None:
            raise OptionError(
                "split",
                f"{shown} is one file, which has no splits",
                "leave split out; to hold out a part of it, use portion",
            )
        return {shown: root}

    def _of_split(self, root: Path) -> list[str]:
        every = [str(file.relative_to(root)) for file in root.rglob("*") if file.is_file()]
        names = data_files(every)
        if not names:
            arrow = any(name.endswith(".arrow") for name in every)
            raise RecipeError(
                f"the folder {self.options.path} holds no file of rows",
                "datasets.load_from_disk(folder).to_parquet(file) writes one"
                if arrow
                else "put JSONL, JSON, CSV, TSV or Parquet files there",
            )
        return choose(splits_by_name(names), self.options.split, self.options.path)


def _near(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder} either"
    return did_you_mean(path.name, [one.name for one in folder.iterdir() if ending(one.name)])


def _digest_of(file: Path) -> str:
    """sha256 of a file; kept while it stays as it is, for every step of a plan asks for it."""
    try:
        stat = file.stat()
        return _digest(file, stat.st_mtime_ns, stat.st_size, stat.st_ino)
    except OSError as error:
        raise RecipeError(f"cannot read {file}: {error.strerror}", "check the path") from error


@lru_cache(maxsize=1024)
def _digest(file: Path, *_changes: int) -> str:
    return file_digest(file)


PLUGIN = FileSource
