"""Files of a Hub dataset at one commit, from the Hub or from huggingface_hub's cache.

The commit is known before anything is read, so that every step of a run reads the same.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from evalkit import durable
from evalkit.console import no_foreign_bars
from evalkit.errors import EvalkitError, PrerequisiteError, RecipeError, did_you_mean, missing_extra

T = TypeVar("T")
CARD = "README.md"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT_S = 10.0
_NO_SPACE = 28  # errno.ENOSPC


class Resolved(NamedTuple):
    """The commit that a revision stands for, or why it cannot be known here."""

    commit: str | None
    error: EvalkitError | None = None


class Snapshot(NamedTuple):
    """A dataset at a commit: the names of all its files, and its card's text if it has one."""

    dataset: str
    commit: str
    names: tuple[str, ...]
    card: str


def commit_of(dataset: str, revision: str) -> str:
    """The commit of a branch, a tag or a commit; asked once per process.

    Raises:
        PrerequisiteError: the Hub cannot be reached and the cache does not know, access is missing,
            or huggingface_hub is not installed.
        RecipeError: there is no such dataset or revision.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    hub = _hub()
    found = _resolve(dataset, revision, hub.constants.ENDPOINT, str(hub.constants.HF_HUB_CACHE))
    if found.error is not None:
        raise found.error
    assert found.commit is not None
    return found.commit


def open_snapshot(dataset: str, commit: str) -> Snapshot:
    """What the dataset holds at a commit, with the errors of `commit_of`."""
    names = _names(dataset, commit)
    card = ""
    if CARD in names:
        (file,) = fetch(dataset, commit, [CARD])
        card = file.read_text("utf-8", errors="replace")
    return Snapshot(dataset, commit, names, card)


def fetch(dataset: str, commit: str, names: Sequence[str]) -> list[Path]:
    """Local paths of files, those fetched that the cache lacks, with the errors of `commit_of`."""
    hub = _hub()

    def download(**options: Any) -> list[Path]:
        folder = Path(
            hub.snapshot_download(
                dataset,
                repo_type="dataset",
                revision=commit,
                allow_patterns=[_literal(name) for name in names],
                endpoint=hub.constants.ENDPOINT,
                **options,
            )
        )
        files = [folder / name for name in names]
        if not all(file.is_file() for file in files):
            raise FileNotFoundError
        return files

    quiet = no_foreign_bars() if names == [CARD] or not sys.stderr.isatty() else nullcontext()
    with quiet:
        try:
            return download(local_files_only=True)
        except FileNotFoundError:  # also LocalEntryNotFoundError and IncompleteSnapshotError
            # Without a network, the client would try to download for half a minute.
            _asking(dataset, commit, lambda: _info(dataset, commit))
            return _asking(dataset, commit, download)


def _literal(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


@lru_cache(maxsize=256)
def _resolve(dataset: str, revision: str, endpoint: str, cache: str) -> Resolved:
    """endpoint, cache: decide the answer, so they are part of what it is kept under."""
    ref = _folder(cache, dataset) / "refs" / revision

    try:
        commit = str(_asking(dataset, revision, lambda: _info(dataset, revision)).sha)
    except PrerequisiteError as error:
        if ref.is_file():
            return Resolved(ref.read_text().strip())
        return Resolved(None, error)
    except EvalkitError as error:
        return Resolved(None, error)
    # The cache's own way of knowing a branch later on, when the Hub cannot be reached.
    with suppress(OSError):  # of a cache that is only read
        ref.parent.mkdir(parents=True, exist_ok=True)
        durable.write_text(ref, commit)
    return Resolved(commit)


def _names(dataset: str, commit: str) -> tuple[str, ...]:
    """All files at a commit, as the cache lists them, else the Hub: cached ones may be a part."""
    hub = _hub()
    try:
        tree = hub.get_cached_repo_tree(dataset, repo_type="dataset", revision=commit)
        return tuple(sorted(str(entry.path) for entry in tree))
    except hub.errors.CachedRepoTreeNotFoundError:
        info = _asking(dataset, commit, lambda: _info(dataset, commit))
        return tuple(sorted(one.rfilename for one in info.siblings))


def _info(dataset: str, revision: str) -> Any:
    hub = _hub()
    api = hub.HfApi(endpoint=hub.constants.ENDPOINT)
    return api.dataset_info(dataset, revision=revision, timeout=_TIMEOUT_S)


def _folder(cache: str, dataset: str) -> Path:
    return Path(cache) / f"datasets--{dataset.replace('/', '--')}"


def _hub() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ImportError as error:
        raise missing_extra("huggingface_hub", "hub") from error
    return huggingface_hub


# --- what can go wrong ----------------------------------------------------------------------


def _asking(dataset: str, revision: str, ask: Callable[[], T]) -> T:
    """What `ask` returns; what the client raises becomes an error that says what to do."""
    hub = _hub()
    errors, endpoint = hub.errors, hub.constants.ENDPOINT
    at = "" if revision == "main" else f" at {revision}"
    try:
        return ask()
    except errors.GatedRepoError as error:
        raise PrerequisiteError(
            f"the dataset {dataset} is gated, and this machine has no access to it",
            f"ask for access at {endpoint}/datasets/{dataset}, then run `hf auth login`",
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise _no_dataset(hub, dataset) from error
    except errors.RevisionNotFoundError as error:
        raise RecipeError(
            f"the dataset {dataset} has no revision '{revision}'", _revisions(hub, dataset)
        ) from error
    except errors.HFValidationError as error:
        raise RecipeError(
            f"'{dataset}' is no id of a dataset", "it looks like HuggingFaceH4/ultrachat_200k"
        ) from error
    except _lost_errors() as error:  # the client's HfHubHTTPError is an OSError too
        if getattr(error, "errno", None) == _NO_SPACE:
            raise PrerequisiteError(
                f"the disk of {hub.constants.HF_HUB_CACHE} is full", "free space, or set HF_HOME"
            ) from error
        raise _out_of_reach(hub, dataset, at, error) from error


def _lost_errors() -> tuple[type[Exception], ...]:
    """What a lost connection raises: the client speaks through httpx, or httpx2 in 2.x."""
    loaded = (sys.modules.get(name) for name in ("httpx", "httpx2"))
    return (OSError, *(module.TransportError for module in loaded if module))


def _out_of_reach(hub: Any, dataset: str, at: str, error: Exception) -> PrerequisiteError:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return PrerequisiteError(
            f"{hub.constants.ENDPOINT} refuses the dataset {dataset} ({status})",
            "run `hf auth login` with a token that may read it",
        )
    chosen = at.replace(" at ", " --revision ")
    why = f"answers {status}" if status else "cannot be reached"
    return PrerequisiteError(
        f"the dataset {dataset}{at} is not in this machine's cache, and"
        f" {hub.constants.ENDPOINT} {why}",
        f"connect, or bring it along: hf download --repo-type dataset {dataset}{chosen}",
    )


def _no_dataset(hub: Any, dataset: str) -> RecipeError:
    endpoint = hub.constants.ENDPOINT
    return RecipeError(
        f"{endpoint} has no dataset '{dataset}', or it is private and this machine has no token",
        _near(hub, dataset) or "check its spelling",
    )


def _near(hub: Any, dataset: str) -> str:
    """A hint that names a dataset of the same owner that is called alike; '' if none is."""
    lost: tuple[type[Exception], ...] = (ValueError, *_lost_errors())
    try:
        api = hub.HfApi(endpoint=hub.constants.ENDPOINT)
        listed = api.list_datasets(author=dataset.split("/")[0], limit=200)
        hint = did_you_mean(dataset, [one.id for one in listed])
    except lost:
        return ""  # the hint is all that is lost
    return hint.split("   ")[0] if hint.startswith("did you mean") else ""


def _revisions(hub: Any, dataset: str) -> str:
    try:
        api = hub.HfApi(endpoint=hub.constants.ENDPOINT)
        refs = api.list_repo_refs(dataset, repo_type="dataset")
        return f"it has {', '.join(one.name for one in (*refs.branches, *refs.tags))}"
    except _lost_errors():
        return "give a branch, a tag or a commit of 40 digits"
