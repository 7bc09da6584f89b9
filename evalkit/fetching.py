"""Fetches models, and single files, from the Hub into its cache on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from evalkit.console import no_foreign_bars
from evalkit.errors import PrerequisiteError, RecipeError, gist, missing_extra

# Other formats of the same weights, which nothing here reads.
CHECK_TIMEOUT_S = 10.0
_IGNORED = ["*.pth", "*.gguf", "original/*"]


class Fetched(NamedTuple):
    """A model's folder in the Hub's cache, and the commit that it holds."""

    folder: Path
    revision: str


class HubFile(NamedTuple):
    """A single file of a repository. sha256: of its contents, where only those will do."""

    repo: str
    name: str
    revision: str = "main"
    kind: Literal["model", "dataset", "space"] = "dataset"
    sha256: str | None = None


class FetchedFile(NamedTuple):
    """A file in the Hub's cache, and the commit that it is of."""

    path: Path
    revision: str


def check_model(model: str, revision: str | None, patterns: Sequence[str] | None = None) -> None:
    """Asks whether `fetch_model` would find a repository, without fetching it; else the cache.

    patterns: of the files that the cache must hold then; default all that a model needs.

    Raises:
        RecipeError: `model` cannot be a Hub id.
        PrerequisiteError: the Hub does not have it, does not let us read it, or cannot be reached
            while the cache lacks it; or huggingface_hub is not installed.
    """
    unreachable = _ask("model", model, revision)
    if unreachable is not None and not _is_cached(model, revision, patterns):
        raise PrerequisiteError(
            f"the model {model} is not in this machine's cache, and the Hub cannot be reached",
            f"connect, or bring it along: evalkit prefetch RECIPE, or hf download {model}",
        ) from unreachable


def check_dataset(dataset: str, revision: str | None = None) -> None:
    """Asks whether the Hub has a dataset that this machine may read.

    Raises:
        RecipeError: `dataset` cannot be a Hub id.
        PrerequisiteError: it does not, or cannot be reached; or huggingface_hub is not installed.
    """
    unreachable = _ask("dataset", dataset, revision)
    if unreachable is not None:
        raise PrerequisiteError(
            f"the dataset {dataset} is not in this machine's cache, and the Hub cannot be reached",
            "connect, or bring it along: evalkit prefetch RECIPE",
        ) from unreachable


def dataset_commit(dataset: str, revision: str | None) -> str | None:
    """The commit that the Hub has of a dataset, asked once; None where it does not tell."""
    from huggingface_hub import constants

    return _dataset_commit(dataset, revision, constants.ENDPOINT)


@lru_cache(maxsize=256)
def _dataset_commit(dataset: str, revision: str | None, endpoint: str) -> str | None:
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        api = HfApi(endpoint=endpoint)
        found = api.dataset_info(dataset, revision=revision, timeout=CHECK_TIMEOUT_S)
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError, RuntimeError):
        return None
    return str(found.sha) if found.sha else None


def _is_cached(model: str, revision: str | None, patterns: Sequence[str] | None) -> bool:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        snapshot_download(
            model, revision=revision, allow_patterns=_listed(patterns), local_files_only=True
        )
    except (HfHubHTTPError, OSError, ValueError):
        return False
    return True


def _listed(patterns: Sequence[str] | None) -> list[str] | None:
    return None if patterns is None else list(patterns)


def _ask(kind: Literal["model", "dataset"], name: str, revision: str | None) -> Exception | None:
    """None where the Hub has it and lets us read it; why it cannot be reached if it cannot.

    Raises:
        RecipeError, PrerequisiteError: as for `check_model`.
    """
    try:
        import httpx
        from huggingface_hub import HfApi
    except ImportError as error:
        raise missing_extra("huggingface_hub", "train") from error
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        api = HfApi()
        api.repo_info(name, repo_type=kind, revision=revision, timeout=CHECK_TIMEOUT_S)
        api.auth_check(name, repo_type=kind)
    except GatedRepoError as error:
        hint = "accept its terms on its page, then hf auth login, or set HF_TOKEN"
        raise PrerequisiteError(f"{name} is gated, and closed to this machine", hint) from error
    except RevisionNotFoundError as error:
        hint = "give a branch, a tag or a commit of it"
        raise PrerequisiteError(f"{name} has no revision {revision}", hint) from error
    except RepositoryNotFoundError as error:
        hint = "check its name; a private one needs a token (hf auth login)"
        raise PrerequisiteError(f"the Hub has no {kind} {name}", hint) from error
    except HFValidationError as error:
        hint = "give a Hub id such as org/name"
        if kind == "model":
            hint = "give a folder that save_pretrained wrote, or a Hub id such as org/name"
        raise RecipeError(f"{name} is neither a folder nor a Hub id", hint) from error
    except (HfHubHTTPError, httpx.HTTPError, OSError, RuntimeError) as error:
        return error
    return None


def fetch_config(model: str, revision: str | None) -> Path:
    """The config.json of a model repository, fetched alone: what `check_model` found readable.

    Raises:
        RecipeError: the repository has none.
        PrerequisiteError: it cannot be fetched.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(model, "config.json", revision=revision))
    except LocalEntryNotFoundError as error:
        raise PrerequisiteError(
            f"the Hub does not give config.json of {model}: {gist(error)}", "check the network"
        ) from error
    except EntryNotFoundError as error:
        raise RecipeError(
            f"{model} holds no config.json", "give the id of a transformers model"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise PrerequisiteError(
            f"the Hub does not give config.json of {model}: {gist(error)}", "check the network"
        ) from error


def cached_tokenizer_folder(model: str, revision: str | None) -> Path | None:
    """The folder of this machine's cache that holds a model's tokenizer; the Hub is not asked."""
    try:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(model, "tokenizer_config.json", revision=revision)
    except (ImportError, ValueError):  # ValueError: no Hub id
        return None
    return Path(found).parent if isinstance(found, str) else None


def fetch_model(model: str, revision: str | None, key: str, example: str) -> Fetched:
    """The files of a model repository, taken from the cache where they are there already.

    key, example: the recipe's key that names `model`, and an id that could stand there.

    Raises:
        RecipeError: `model` cannot be a Hub id.
        PrerequisiteError: it cannot be fetched, or huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise missing_extra("huggingface_hub", "train") from error
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(model, revision=revision, ignore_patterns=_IGNORED))
    except HFValidationError as error:
        raise RecipeError(
            f"{key}: {model} is neither a folder nor a Hub id",
            f"give a folder written by save_pretrained, or an id such as {example}",
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise PrerequisiteError(
            f"{key}: there is no folder {model}, and the Hub does not give it: {gist(error)}",
            "check the id and the network; a gated model needs a token (hf auth login)",
        ) from error
    return Fetched(folder, folder.name)  # the cache names a snapshot's folder by its commit


def fetch_some(model: str, revision: str, patterns: Sequence[str]) -> Path:
    """A folder with the files of a model repository that fit a pattern; it may not be there.

    Raises:
        PrerequisiteError: they cannot be fetched, or huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise missing_extra("huggingface_hub", "hub") from error
    from huggingface_hub.errors import HfHubHTTPError

    try:
        with no_foreign_bars():
            found = snapshot_download(model, revision=revision, allow_patterns=list(patterns))
    except (HfHubHTTPError, OSError) as error:
        raise PrerequisiteError(
            f"the Hub does not give {', '.join(patterns)} of {model}: {gist(error)}",
            "check the network",
        ) from error
    return Path(found)


def cached_file(file: HubFile) -> FetchedFile | None:
    """A file as the cache holds it; None where it does not. The Hub is not asked.

    Raises:
        RecipeError: it is there with other contents than `sha256` says.
        PrerequisiteError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError as error:
        raise missing_extra("huggingface_hub", "hub") from error
    try:
        return _checked(file, _download(file, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def fetch_file(file: HubFile) -> FetchedFile:
    """A file, taken from the cache where it is there already, with the errors of `cached_file`.

    Raises:
        RecipeError: there is no such repository or file.
        PrerequisiteError: it cannot be fetched.
    """
    found = cached_file(file)
    if found is not None:
        return found
    import httpx
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        # Of a Hub that is out of reach, the client would try to download for half a minute.
        HfApi(endpoint=constants.ENDPOINT).repo_info(
            file.repo, repo_type=file.kind, revision=file.revision, timeout=CHECK_TIMEOUT_S
        )
        return _checked(file, _download(file, local_files_only=False))
    except LocalEntryNotFoundError as error:
        raise _unreachable(file, error) from error
    except EntryNotFoundError as error:
        raise RecipeError(f"the {file.kind} {file.repo} holds no file {file.name}") from error
    except RepositoryNotFoundError as error:
        hint = "check its name; a private one needs a token (hf auth login)"
        raise RecipeError(f"the Hub has no {file.kind} {file.repo}", hint) from error
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise _unreachable(file, error) from error


def _download(file: HubFile, *, local_files_only: bool) -> FetchedFile:
    try:
        from huggingface_hub import constants, hf_hub_download
    except ImportError as error:
        raise missing_extra("huggingface_hub", "hub") from error
    path = hf_hub_download(
        file.repo,
        file.name,
        repo_type=file.kind,
        revision=file.revision,
        local_files_only=local_files_only,
        endpoint=constants.ENDPOINT,
    )
    snapshots = Path(path).parents[file.name.count("/")]
    return FetchedFile(Path(path), snapshots.name)  # a snapshot's folder is named by its commit


def _checked(file: HubFile, found: FetchedFile) -> FetchedFile:
    if file.sha256 is None:
        return found
    with found.path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != file.sha256:
        raise RecipeError(
            f"{file.name} of {file.repo} is not the published one: its sha256 is {digest}, and"
            f" not {file.sha256}",
            f"remove {found.path} and fetch it again, or give a folder that holds the right one",
        )
    return found


def _unreachable(file: HubFile, error: Any) -> PrerequisiteError:
    return PrerequisiteError(
        f"{file.name} of the {file.kind} {file.repo} is not in this machine's cache, and the Hub"
        f" does not give it: {gist(error, 90)}",
        "connect, or bring it along: evalkit prefetch RECIPE --to FOLDER",
    )
