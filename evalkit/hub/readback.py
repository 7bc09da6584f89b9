"""Reads a commit back from a Hub: checksums of every file, and that card and model files load."""

import json
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evalkit.checkpoint_files import COMPANIONS, VOCABULARY_FILES
from evalkit.errors import PublishError, gist
from evalkit.hub import metadata
from evalkit.hub.client import HubTarget
from evalkit.hub.plan import CARD_FILE, ReleasePlan
from evalkit.hub.remote import differences, files_at, hub_errors
from evalkit.loading import file_digest

_CONFIG = "config.json"


def verify(api: Any, target: HubTarget, plan: ReleasePlan, commit: str) -> None:
    """Returns if `commit` holds exactly the plan, and its card, config and tokenizer load.

    Raises:
        PublishError: the Hub does not hold what was planned.
    """
    with hub_errors(target, f"reading {plan.repo_id} back"):
        wrong = differences(plan, files_at(api, plan.repo_id, plan.kind, commit))
        report = api.verify_repo_checksums(
            plan.repo_id, repo_type=plan.kind, revision=commit, local_dir=plan.folder
        )
        wrong += [f"{row['path']} has another checksum" for row in report.mismatches]
        if not wrong:
            wrong += _downloaded(api, plan, commit)
    if wrong:
        raise PublishError(
            f"{plan.repo_id} at {commit} is not what was planned: {'; '.join(wrong)}",
            "nobody but you can see it; publish again",
        )


def _downloaded(api: Any, plan: ReleasePlan, commit: str) -> list[str]:
    """What is wrong with the small files of a commit, fetched as anybody would fetch them."""
    digests = plan.digests()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in filter(_is_read, digests):
            api.hf_hub_download(
                plan.repo_id, path, repo_type=plan.kind, revision=commit, local_dir=folder
            )
            if file_digest(folder / path) != digests[path]:
                return [f"{path} downloads as another file"]
        return [*_card(folder), *(_model_files(folder) if plan.kind == "model" else ())]


def _is_read(path: str) -> bool:
    wanted = (CARD_FILE, _CONFIG, *COMPANIONS)
    return any(fnmatch(path, pattern) for pattern in wanted)


def _card(folder: Path) -> Iterator[str]:
    if not metadata.read((folder / CARD_FILE).read_text("utf-8")):
        yield f"{CARD_FILE} has no readable front matter"


def _model_files(folder: Path) -> Iterator[str]:
    """What of configuration and tokenizer transformers cannot load; never runs a repo's code."""
    config = json.loads((folder / _CONFIG).read_text("utf-8"))
    if not config:
        yield f"{_CONFIG} is empty"
    elif "auto_map" not in config and find_spec("transformers") is not None:
        yield from _loaded(folder)


def _loaded(folder: Path) -> Iterator[str]:
    from transformers import AutoConfig, AutoTokenizer

    try:
        AutoConfig.from_pretrained(folder)
    except Exception as error:  # whatever a library raises for a file that it cannot use
        yield f"{_CONFIG} does not load: {gist(error)}"
        return
    if any(file.is_file() for pattern in VOCABULARY_FILES for file in folder.glob(pattern)):
        try:
            AutoTokenizer.from_pretrained(folder)
        except Exception as error:
            yield f"the tokenizer does not load: {gist(error)}"
