"""Where FastChat's data lies: in a folder laid out as its own, or in a Space of the Hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from evalkit.errors import PrerequisiteError, RecipeError, gist
from evalkit.fetching import FetchedFile, HubFile, cached_file, fetch_file
from evalkit.roles import Prefetched

SPACE = "lmsys/mt-bench"
QUESTIONS_FILE = "question.jsonl"
_TIMEOUT_S = 10.0
_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Below `fastchat/llm_judge`, and in the Space, `data/` holds the prompts and `data/mt_bench/` the
# rest; a folder of it may be given at any height.
# Source: lm-sys/FastChat, fastchat/llm_judge/download_mt_bench_pregenerated.py (release 0.2.36).
_BELOW = ("", "mt_bench", "data/mt_bench", "data", "..")
_IN_SPACE = ("data/mt_bench", "data", "")


class LocalData(NamedTuple):
    """A folder of this machine."""

    folder: Path

    def find(self, name: str) -> Path | None:
        """A file such as `question.jsonl` or `reference_answer/gpt-4.jsonl`; None if not there."""
        places = (self.folder / below / name for below in _BELOW)
        return next((file for file in places if file.is_file()), None)

    def description(self) -> dict[str, str]:
        """For provenance: of a folder of one's own nothing can be said."""
        return {}


class SpaceData(NamedTuple):
    """A Space of the Hub: taken from this machine's cache, and fetched where that lacks it."""

    space: str
    revision: str

    def find(self, name: str) -> Path | None:
        """A file by its name below the data folder; None if the Space has none.

        Raises:
            PrerequisiteError: the cache lacks it, and the Hub does not give it.
            RecipeError: there is no such Space.
        """
        found = self._fetched(name)
        return None if found is None else found.path

    def description(self) -> dict[str, str]:
        """For provenance: the Space, and the commit that this machine's cache has of it."""
        questions = self._fetched(QUESTIONS_FILE)
        commit = self.revision if questions is None else questions.revision
        return {"space": self.space, "revision": commit}

    def prefetch(self, names: list[str]) -> Prefetched:
        """Brings files to this machine, those that the Space has.

        Raises:
            EvalkitError: it cannot be reached, or there is no such Space.
        """
        found = {name: file for name in names if (file := self._fetched(name)) is not None}
        commit = next((file.revision for file in found.values()), self.revision)
        return Prefetched("space", self.space, commit, ", ".join(found))

    def _fetched(self, name: str) -> FetchedFile | None:
        files = [self._file(f"{below}/{name}".removeprefix("/")) for below in _IN_SPACE]
        for file in files:
            if (cached := cached_file(file)) is not None:
                return cached
        listed = self._names()
        found = next((file for file in files if file.name in listed), None)
        return None if found is None else fetch_file(found)

    def _names(self) -> set[str]:
        """All its files. Asked before any is fetched: that would be tried for half a minute."""
        import httpx
        from huggingface_hub import HfApi, constants
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

        api = HfApi(endpoint=constants.ENDPOINT)
        try:
            info = api.space_info(self.space, revision=self.revision, timeout=_TIMEOUT_S)
        except RevisionNotFoundError as error:
            hint = "give a branch, a tag or a commit of it"
            raise RecipeError(
                f"the space {self.space} has no revision {self.revision}", hint
            ) from error
        except RepositoryNotFoundError as error:
            raise RecipeError(f"the Hub has no space {self.space}", "check its name") from error
        except (httpx.HTTPError, OSError) as error:  # the client's HfHubHTTPError is an OSError
            raise PrerequisiteError(
                f"the space {self.space} is not in this machine's cache, and {constants.ENDPOINT}"
                f" does not give it: {gist(error, 90)}",
                f"connect, or bring it along: hf download --repo-type space {self.space}; or give"
                " a folder that holds its files",
            ) from error
        return {one.rfilename for one in info.siblings or ()}

    def _file(self, name: str) -> HubFile:
        return HubFile(self.space, name, self.revision, "space")


def open_data(where: str, revision: str = "main") -> LocalData | SpaceData | None:
    """The folder or Space that `where` names; None where it is a file, or names neither."""
    path = Path(where).expanduser()
    if path.is_dir():
        return LocalData(path)
    return SpaceData(where, revision) if not path.exists() and _is_id(where) else None


def _is_id(where: str) -> bool:
    return bool(_ID.fullmatch(where)) and not where.endswith((".jsonl", ".json", ".gz"))
