"""Fetches whole models from the Hub into its cache on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from evalkit.errors import PrerequisiteError, RecipeError, gist, missing_extra

# Other formats of the same weights, which nothing here reads.
_IGNORED = ["*.pth", "*.gguf", "original/*"]


class Fetched(NamedTuple):
    """A model's folder in the Hub's cache, and the commit that it holds."""

    folder: Path
    revision: str


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
