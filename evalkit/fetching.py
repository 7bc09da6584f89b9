"""Fetches whole models from the Hub into its cache on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from evalkit.errors import PrerequisiteError, RecipeError, gist, missing_extra

# Other formats of the same weights, which nothing here reads.
CHECK_TIMEOUT_S = 10.0
_IGNORED = ["*.pth", "*.gguf", "original/*"]


class Fetched(NamedTuple):
    """A model's folder in the Hub's cache, and the commit that it holds."""

    folder: Path
    revision: str


def check_model(model: str, revision: str | None) -> None:
    """Asks whether `fetch_model` would find a repository, without fetching it; else the cache.

    Raises:
        RecipeError: `model` cannot be a Hub id.
        PrerequisiteError: the Hub does not have it, does not let us read it, or cannot be reached
            while the cache lacks it; or huggingface_hub is not installed.
    """
    try:
        import httpx
        from huggingface_hub import HfApi, snapshot_download
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
        api.model_info(model, revision=revision, timeout=CHECK_TIMEOUT_S)
        api.auth_check(model)
    except GatedRepoError as error:
        hint = "accept its terms on its page, then hf auth login, or set HF_TOKEN"
        raise PrerequisiteError(f"{model} is gated, and closed to this machine", hint) from error
    except RevisionNotFoundError as error:
        hint = "give a branch, a tag or a commit of it"
        raise PrerequisiteError(f"{model} has no revision {revision}", hint) from error
    except RepositoryNotFoundError as error:
        hint = "check its name; a private one needs a token (hf auth login)"
        raise PrerequisiteError(f"the Hub has no model {model}", hint) from error
    except HFValidationError as error:
        hint = "give a folder that save_pretrained wrote, or a Hub id such as org/name"
        raise RecipeError(f"{model} is neither a folder nor a Hub id", hint) from error
    except (HfHubHTTPError, httpx.HTTPError, OSError, RuntimeError) as error:
        try:
            snapshot_download(model, revision=revision, local_files_only=True)
        except (HfHubHTTPError, OSError, ValueError):
            raise PrerequisiteError(
                f"the model {model} is not in this machine's cache, and the Hub cannot be reached",
                f"connect, or bring it along: hf download {model}",
            ) from error


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
