"""Looks for what must never leave the machine: secrets, private paths, pickles, foreign files.

The public Hub scans after the push, which is too late for a public repository.
"""

import json
import math
import mmap
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from evalkit import frontmatter
from evalkit.checkpoint_files import COMPANIONS, LICENCE_FILES, VOCABULARY_FILES
from evalkit.errors import Problem
from evalkit.hub import metadata

MODEL_FILES = (
    "README.md", ".gitattributes", "config.json", "*.safetensors", "*.safetensors.index.json",
    *COMPANIONS, "recipe.yaml", "lineage.json", "quantization.json", "*.png", "*.svg",
    ".eval_results/*.yaml", "eval/**", "figures/*.png", "figures/*.svg",
)  # fmt: skip
DATASET_FILES = (
    "README.md", *LICENCE_FILES, ".gitattributes",
    "*.jsonl", "*.parquet", "data/*.jsonl", "data/*.parquet", "dataset_infos.json",
)  # fmt: skip
_EVAL_SUFFIXES = (".json", ".jsonl", ".csv", ".md", ".txt", ".yaml", ".png", ".svg", "SHA256SUMS")

_NEVER = {
    "a pickle, which runs code when loaded": ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle"),
    "training state": (
        "optimizer*",
        "scheduler*",
        "rng_state*",
        "training_args*",
        "trainer_state*",
    ),
    "an environment file": (".env", ".env.*", "*.env"),
    "a key file": ("*.pem", "*.key", "id_rsa*", "id_ed25519*", ".netrc", "credentials*"),
}
_SECRETS = {
    "a Hugging Face token": rb"(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30,}",
    "an OpenAI or Anthropic key": rb"(?<![A-Za-z0-9-])sk-(?:(?:proj|ant|svcacct)-[\w-]{20,}"
    rb"|[A-Za-z0-9]{32,})",
    "an AWS access key": rb"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])",
    "an AWS secret key": rb"(?i:aws_secret_access_key)[\"'\s]*[=:][\"'\s]*[A-Za-z0-9/+]{40}",
    "a private key": rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "a GitHub token": rb"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{60,})",
    "a Google key": rb"(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])",
    "a Slack token": rb"(?<![A-Za-z0-9])xox[abprs]-[A-Za-z0-9-]{20,}",
}
_SECRET = re.compile(b"|".join(b"(%b)" % pattern for pattern in _SECRETS.values()))
_PRIVATE_PATH = re.compile(
    rb"(?<![\w./:@-])(?:/home/[\w.-]+|/Users/[\w.-]+|/root/|/tmp/|/mnt/|/var/folders/)[\w./-]*"
    rb"|(?<![\w])[A-Za-z]:\\\\?Users\\\\?[\w.-]+"
)


def file_problems(folder: Path, path: str, allowed: Sequence[str]) -> list[Problem]:
    """What forbids publishing the file `path` of `folder`."""
    file = folder / path
    if file.is_symlink() and not file.resolve().is_relative_to(folder.resolve()):
        return [Problem(path, "is a link to a file outside the folder", "copy the file")]
    if not file.is_file():
        return [Problem(path, "is not an ordinary file", "replace it by a file")]
    for what, patterns in _NEVER.items():
        if any(fnmatch(file.name, pattern) for pattern in patterns):
            return [Problem(path, f"is {what}", "remove it")]
    if not _is_allowed(path, allowed):
        return [Problem(path, "is no file that a release holds", "remove it")]
    if file.suffix == ".safetensors":
        return _safetensors_problems(file, path)
    return [*_text_problems(file, path), *_json_problems(file, path), *_card_problems(file, path)]


def _is_allowed(path: str, allowed: Sequence[str]) -> bool:
    if "eval/**" in allowed and path.startswith("eval/"):
        return path.endswith(_EVAL_SUFFIXES)
    # `*` must not reach into folders, so pattern and path are compared piece by piece
    pieces = path.split("/")
    for pattern in allowed:
        wanted = pattern.split("/")
        if len(wanted) == len(pieces) and all(map(fnmatch, pieces, wanted)):
            return True
    return False


def _text_problems(file: Path, path: str) -> Iterator[Problem]:
    if file.stat().st_size == 0:
        return
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
        yield from _secrets(text, path)
        for place in _private_paths(text, path):
            where = f"{path}:{_line(text, place.start())}"
            found = place[0].decode("utf-8", "replace")
            yield Problem(where, f"names a path of this machine: {found}", "remove it")


def _secrets(text: mmap.mmap | bytes, path: str) -> Iterator[Problem]:
    for found in _SECRET.finditer(text):
        what = list(_SECRETS)[(found.lastindex or 1) - 1]
        where = f"{path}:{_line(text, found.start())}"
        # the secret itself is never printed
        yield Problem(where, f"holds what looks like {what}", "remove it, and revoke the secret")


def _private_paths(text: mmap.mmap, path: str) -> list[re.Match[bytes]]:
    # Texts of benchmarks and vocabularies may well speak of /home; there only our own paths count.
    # Sentencepiece models even tell where their makers trained them.
    if path.startswith(("eval/", "data/")) or _is_allowed(path, VOCABULARY_FILES):
        own = {str(Path.home()), str(Path.cwd())} - {"/", "/root"}
        patterns = [re.escape(place.encode()) + rb"(?![\w-])" for place in sorted(own)]
        return [found for pattern in patterns for found in re.finditer(pattern, text)]
    return list(_PRIVATE_PATH.finditer(text))


def _json_problems(file: Path, path: str) -> Iterator[Problem]:
    if file.suffix != ".json":
        return
    try:
        value = json.loads(file.read_text("utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        yield Problem(path, f"is not JSON: {error}", "write it again")
        return
    if path.startswith("eval/") and not _is_finite(value):
        yield Problem(path, "holds a number that is not finite", "a missing number is null")
    if "/" not in path and isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str) and re.match(r"(/[\w.-]+){2,}/?$", item):
                yield Problem(path, f"{key} is a path of this machine: {item}", "remove the key")


def _card_problems(file: Path, path: str) -> Iterator[Problem]:
    if path == "README.md":
        text = file.read_text("utf-8", errors="replace")
        if frontmatter.split(text)[0] is None:
            yield Problem(path, "has no front matter", "make the card with `evalkit card`")
        for error in metadata.check(text, "model").errors:
            yield Problem(path, error, "make the card with `evalkit card`")


def _safetensors_problems(file: Path, path: str) -> list[Problem]:
    """Reads the header alone: it must be whole, fit the file, and hold no secret."""
    size_bytes = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size_bytes < 8 or length > min(size_bytes - 8, 100 * 1024**2):
            return [Problem(path, "is not a safetensors file, or cut off", "save it again")]
        header = stream.read(length)
    try:
        ends = [row["data_offsets"][1] for row in _tensors(json.loads(header))]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [Problem(path, f"has a broken header: {error!r}", "save it again")]
    if size_bytes != 8 + length + max(ends, default=0):
        return [Problem(path, "is cut off, or longer than its header says", "save it again")]
    return [*_secrets(header, path)]


def _tensors(header: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for name, row in header.items() if name != "__metadata__"]


def _is_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _line(text: mmap.mmap | bytes, position: int) -> int:
    return bytes(text[:position]).count(b"\n") + 1
