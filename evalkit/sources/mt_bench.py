"""MT-Bench's own 80 questions of two turns, with GPT-4's reference answers where they are due.

From FastChat's data folder or the Hub's Space, neither of which ships with evalkit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from evalkit.errors import Problem
from evalkit.fastchat.answers import with_known_references
from evalkit.fastchat.place import QUESTIONS_FILE, SPACE, LocalData, SpaceData, open_data
from evalkit.fingerprint import fingerprint
from evalkit.loading import file_digest
from evalkit.records import Question
from evalkit.roles import Options, Prefetched
from evalkit.sources.own_data import OwnDataOptions, OwnDataSource
from evalkit.sources.readers import read_table
from evalkit.sources.rows import OptionError, Table

_HINT = (
    "give a folder such as FastChat's fastchat/llm_judge/data/mt_bench, with question.jsonl and"
    " reference_answer/gpt-4.jsonl in it"
)


class MtBenchDataOptions(OwnDataOptions):
    """Where FastChat's data is, and what is taken of it.

    data: a folder laid out as FastChat's, or the id of a Space of the Hub that holds one.
    revision: a branch, a tag or a commit of the Space.
    references: whose reference answers: a file in reference_answer/.
    """

    data: str = SPACE
    revision: str = "main"
    references: str = "gpt-4"


class MtBenchData(OwnDataSource):
    """The questions; those that the file of reference answers knows bring them along."""

    Options: ClassVar[type[Options]] = MtBenchDataOptions
    options: MtBenchDataOptions

    def check(self) -> list[Problem]:
        """A folder without the data; the Hub is not asked."""
        try:
            place = self._place()
            if isinstance(place, LocalData):
                self._files()
        except OptionError as error:
            return [Problem(error.option, error.message, error.hint)]
        return []

    def table(self) -> Table:
        """The rows of question.jsonl, fetched first where the cache lacks them.

        Raises:
            PrerequisiteError: the Space is not in the cache, and the Hub cannot be reached.
        """
        return read_table(self._name(), {f"{self._name()}/{QUESTIONS_FILE}": self._files()[0]})

    def questions(self) -> list[Question]:
        """The questions taken; the answers that some bring of their own are not GPT-4's."""
        asked = [
            replace(one, turns=tuple(replace(turn, reference=None) for turn in one.turns))
            for one in super().questions()
        ]
        return with_known_references(asked, self._files()[1])

    def prefetch(self) -> list[Prefetched]:
        """Both files of the Space."""
        place = self._place()
        if isinstance(place, LocalData):
            return []
        self._files()
        return [place.prefetch([QUESTIONS_FILE, self._references_file()])]

    def description(self) -> Mapping[str, str]:
        """Name, a digest of both files and of what is taken, and the Space with its revision."""
        settings = {key: value for key, value in self.settings().items()
                    if key not in ("data", "revision")}  # fmt: skip
        digests = [file_digest(file) for file in self._files()]
        return {
            "name": self._name(),
            "digest": fingerprint([digests, settings]),
            **self._place().description(),
            **self.dropped(),
        }

    def _place(self) -> LocalData | SpaceData:
        place = open_data(self.options.data, self.options.revision)
        if place is None:
            raise OptionError("data", f"there is no folder {self.options.data}", _HINT)
        return place

    def _files(self) -> tuple[Path, Path]:
        """Questions and reference answers."""
        place, names = self._place(), (QUESTIONS_FILE, self._references_file())
        found = [place.find(name) for name in names]
        for name, file in zip(names, found, strict=True):
            if file is None:
                option = "data" if name == QUESTIONS_FILE else "references"
                raise OptionError(option, f"{self.options.data} holds no {name}", _HINT)
        first, second = found
        assert first is not None
        assert second is not None
        return first, second

    def _references_file(self) -> str:
        return f"reference_answer/{self.options.references}.jsonl"

    def _name(self) -> str:
        return self.options.data if self.options.data == SPACE else Path(self.options.data).name


PLUGIN = MtBenchData
