"""Looks for what must never leave the machine: secrets, private paths, pickles, foreign files.

The public Hub scans after the push, which is too late for a public repository.
"""

import getpass
import json
import math
import mmap
import re
import socket
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from evalkit import frontmatter
from evalkit.checkpoint_files import COMPANIONS, LICENCE_FILES, VOCABULARY_FILES
from evalkit.errors import Problem, gist
from evalkit.hub import metadata
from evalkit.private_text import PRIVATE_PATH, secrets

MODEL_FILES = (
    "README.md", ".gitattributes", "config.json", "*.safetensors", "*.safetensors.index.json",
    *COMPANIONS, "recipe.yaml", "lineage.json", "quantization.json", "*.png", "*.svg",
    ".eval_results/*.yaml", "eval/**", "records/*.json", "figures/*.png", "figures/*.svg",
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


# Accounts that many machines have; their names say nothing of anybody, and are words of their own.
_EVERYBODY = {
    "root", "user", "admin", "ubuntu", "debian", "ec2-user", "runner", "jovyan", "test", "model",
    "evalkit", "nobody", "docker", "vscode", "home", "localhost",
}  # fmt: skip
_NOT_FINITE = re.compile(rb'(?<![\w"])(?:NaN|-?Infinity)(?![\w"])')
_JSON_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


def file_problems(
    folder: Path, path: str, allowed: Sequence[str], namespace: str = ""
) -> list[Problem]:
    """What forbids publishing the file `path` of `folder` under `namespace`."""
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
        return _safetensors_problems(file, path, namespace)
    private = list(_text_problems(file, path, namespace))
    if private:
        return private  # what parsers say of a file quotes it
    return [
        *_json_problems(file, path),
        *_number_problems(file, path),
        *_card_problems(file, path),
    ]


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


def _text_problems(file: Path, path: str, namespace: str) -> Iterator[Problem]:
    if file.stat().st_size == 0:
        return
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
        yield from _secrets(text, path)
        for place in _private_paths(text, path):
            where = f"{path}:{_line(text, place.start())}"
            found = place[0].decode("utf-8", "replace")
            yield Problem(where, f"names a path of this machine: {found}", "remove it")
        for place in _names(text, namespace):
            where = f"{path}:{_line(text, place.start())}"
            found = place[0].decode("utf-8", "replace")
            yield Problem(where, f"names a user or host of this machine: {found}", "remove it")


def _names(text: mmap.mmap | bytes, namespace: str) -> Iterator[re.Match[bytes]]:
    """Where a text names this machine's user or host: as a folder, as `user@`, as a JSON value."""
    for name in sorted(_own_names() - {namespace}):
        word = re.escape(name.encode())
        places = (rb"/%b(?=[/\"'\s])", rb"\b%b@[\w-]", rb'(?<=[:\[,]) ?"%b"')
        for place in places:
            yield from re.finditer(place % word, text)


@cache
def _own_names() -> frozenset[str]:
    """Names of this machine's user and host, but for those that tell nothing."""
    try:
        found = {getpass.getuser(), socket.gethostname()}
    except (KeyError, OSError):  # a user id that no name belongs to
        found = {socket.gethostname()}
    return frozenset(name for name in found if len(name) > 3 and name.lower() not in _EVERYBODY)


def _secrets(text: mmap.mmap | bytes, path: str) -> Iterator[Problem]:
    for found in secrets(text):
        where = f"{path}:{_line(text, found.position)}"
        # the secret itself is never printed
        message = f"holds what looks like {found.what}"
        yield Problem(where, message, "remove it, and revoke the secret")


def _private_paths(text: mmap.mmap, path: str) -> list[re.Match[bytes]]:
    # Texts of benchmarks and vocabularies may well speak of /home; there only our own paths count.
    # Sentencepiece models even tell where their makers trained them.
    if path.startswith(("eval/", "data/")) or _is_allowed(path, VOCABULARY_FILES):
        own = {str(Path.home()), str(Path.cwd())} - {"/", "/root"}
        patterns = [re.escape(place.encode()) + rb"(?![\w-])" for place in sorted(own)]
        return [found for pattern in patterns for found in re.finditer(pattern, text)]
    return list(PRIVATE_PATH.finditer(text))


def _json_problems(file: Path, path: str) -> Iterator[Problem]:
    if file.suffix != ".json":
        return
    try:
        value = json.loads(file.read_text("utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        yield Problem(path, f"is not JSON: {error}", "write it again")
        return
    if "/" not in path and isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str) and re.match(r"(/[\w.-]+){2,}/?$", item):
                yield Problem(path, f"{key} is a path of this machine: {item}", "remove the key")


def _number_problems(file: Path, path: str) -> Iterator[Problem]:
    """Numbers that are none, where scores stand; a model's configuration may hold an infinity."""
    bad = Problem(path, "holds a number that is not finite", "a missing number is null")
    if file.suffix in (".json", ".jsonl") and not _is_configuration(path):
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if _NOT_FINITE.search(line) and _NOT_FINITE.search(_JSON_STRING.sub(b'""', line)):
                    yield bad._replace(where=f"{path}:{number}")
    elif file.suffix in (".yaml", ".yml"):
        try:
            value = yaml.safe_load(file.read_text("utf-8"))
        except (yaml.YAMLError, ValueError) as error:
            yield Problem(path, f"is not YAML: {gist(error)}", "write it again")
            return
        if not _is_finite(value):
            yield bad


def _is_configuration(path: str) -> bool:
    return path == "config.json" or _is_allowed(path, COMPANIONS)


def _card_problems(file: Path, path: str) -> Iterator[Problem]:
    if path == "README.md":
        text = file.read_text("utf-8", errors="replace")
        if frontmatter.split(text)[0] is None:
            yield Problem(path, "has no front matter", "make the card with `evalkit card`")
        for error in metadata.check(text, "model").errors:
            yield Problem(path, error, "make the card with `evalkit card`")


def _safetensors_problems(file: Path, path: str, namespace: str) -> list[Problem]:
    """Reads the header alone: it must be whole, fit the file, and hold no secret or name."""
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
    private = [("path", one) for one in PRIVATE_PATH.finditer(header)]
    private += [("user or host", one) for one in _names(header, namespace)]
    named = [
        Problem(path, f"names a {what} of this machine: {one[0].decode('utf-8', 'replace')}",
                "save it again without that metadata")
        for what, one in private
    ]  # fmt: skip
    return [*_secrets(header, path), *named]


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
