"""The folder behind an embedded Hub: contents, repositories, collections and tokens.

    blobs/ab/<sha256>                 contents, each once
    incoming/                         uploads under way
    repos/<kind>/<namespace>/<name>/  repo.json, refs.json, commits/<id>.json, discussions/<n>.json
    collections/<namespace>/<slug>.json
    tokens.json                       users, mode 600

Nothing is held in memory: the folder can be copied, or killed and reopened, at any time.
"""

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evalkit.durable import read_json, sync_folder, write_json
from evalkit.errors import PrerequisiteError
from evalkit.hub import gitoid
from evalkit.hub.blobs import Blobs
from evalkit.hub.collections import Collections
from evalkit.hub.refused import RefusedError
from evalkit.hub.repository import MAIN, Entry, Repository
from evalkit.hub.tokens import Tokens
from evalkit.records import Release

KINDS = ("model", "dataset")
PLURALS = {f"{kind}s": kind for kind in KINDS}
FORMAT = 1
HUB_FILE = "hub.json"
_NAME = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_RESERVED = {"api", "datasets", "spaces", "collections", "models"}
_LFS_SUFFIXES = (
    "7z", "arrow", "avro", "bin", "bz2", "ckpt", "ftz", "gguf", "gz", "h5", "joblib", "lz4", "mds",
    "mlmodel", "model", "msgpack", "npy", "npz", "onnx", "ot", "parquet", "pb", "pickle", "pkl",
    "pt", "pth", "rar", "safetensors", "tar", "tflite", "tgz", "wasm", "xz", "zip", "zst",
)  # fmt: skip
GITATTRIBUTES = "".join(
    f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in _LFS_SUFFIXES
)


def refuse_foreign(root: Path) -> None:
    """Raises PrerequisiteError if a folder holds something, and is not a Hub's."""
    if (root / HUB_FILE).exists() or not root.is_dir():
        return
    # locks and the tokens may be there before the first server
    names = (child.name for child in root.iterdir())
    if any(name[0] != "." and name != "tokens.json" for name in names):
        raise PrerequisiteError(
            f"{root} is neither empty nor a Hub folder", "choose another --root"
        )


def holds(root: Path, release: Release) -> bool:
    """Whether the Hub folder `root` still has a release as the newest commit of its repository.

    Reads the folder alone: starts no server, makes nothing.
    """
    files = [root / "repos" / kind / release.repo_id / "refs.json" for kind in KINDS]
    heads = [read_json(file, {"branches": {}})["branches"].get(MAIN) for file in files]
    return release.commit in heads


class Store:
    """A Hub folder, made when it is not there. Safe for many threads of one process."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._check_format()
        self._lock = threading.RLock()
        self.blobs = Blobs(root)
        self.tokens = Tokens(root)
        self.collections = Collections(root, self._lock)

    def repository(self, kind: str, repo_id: str) -> Repository:
        """The repository of that name, which may not exist.

        Raises:
            RefusedError: nothing can be called that (400).
        """
        names = repo_id.split("/")
        if kind not in KINDS:
            raise RefusedError(400, f"this Hub keeps models and datasets, no {kind}s")
        if len(names) != 2 or not all(_NAME.fullmatch(name) for name in names):
            raise RefusedError(400, f"{repo_id!r} cannot be the name of a repository")
        if names[0] in _RESERVED or names[1].endswith((".git", ".ipynb")):
            raise RefusedError(400, f"{repo_id!r} is a reserved name")
        return Repository(self._repos / kind / repo_id, kind, repo_id, self._lock)

    def repositories(self, kind: str) -> list[Repository]:
        """Every repository of a kind, by name."""
        files = sorted((self._repos / kind).glob("*/*/refs.json"))
        ids = (f"{file.parent.parent.name}/{file.parent.name}" for file in files)
        return [self.repository(kind, repo_id) for repo_id in ids]

    def create(self, kind: str, repo_id: str, *, private: bool, author: str) -> Repository:
        """A new repository that holds only `.gitattributes`.

        Raises:
            RefusedError: there is one (409).
        """
        repository = self.repository(kind, repo_id)
        first = {".gitattributes": self.put_regular(GITATTRIBUTES.encode())}
        with self._lock:
            if repository.exists:
                raise RefusedError(409, "You already created this model repo")
            shutil.rmtree(repository.folder, ignore_errors=True)  # of one half deleted by a kill
            repository.create(private, author, first)
        return repository

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Holds the store for a change of several files."""
        with self._lock:
            yield

    def delete(self, repository: Repository) -> None:
        """Removes a repository. Its contents stay, for another may use them."""
        with self._lock:
            (repository.folder / "refs.json").unlink()  # from here on it does not exist
            sync_folder(repository.folder)
            shutil.rmtree(repository.folder)

    def put_regular(self, content: bytes) -> Entry:
        """Stores the content of a regular (not LFS) file."""
        return Entry(self.blobs.put(content), len(content), False, gitoid.blob_oid(content))

    def lfs_entry(self, sha256: str, announced_bytes: int | None = None) -> Entry:
        """The tree entry of an LFS content that has been uploaded.

        Raises:
            RefusedError: it has not been, or has another size (400).
        """
        size_bytes = self.blobs.size(sha256) if re.fullmatch(r"[0-9a-f]{64}", sha256) else None
        if size_bytes is None or announced_bytes not in (None, size_bytes):
            raise RefusedError(400, f"the content {sha256} was not uploaded, or has another size")
        pointer = gitoid.lfs_pointer(sha256, size_bytes)
        return Entry(sha256, size_bytes, True, gitoid.blob_oid(pointer))

    def read(self, entry: Entry) -> bytes:
        """The content of a small file."""
        return self.blobs.path(entry.sha256).read_bytes()

    @property
    def _repos(self) -> Path:
        return self.root / "repos"

    def _check_format(self) -> None:
        refuse_foreign(self.root)
        file = self.root / HUB_FILE
        found = read_json(file)
        if found is None:
            write_json(file, {"evalkit_hub": FORMAT})
        elif found.get("evalkit_hub") != FORMAT:
            raise PrerequisiteError(
                f"{self.root} was written by another version of evalkit", "choose another --root"
            )
