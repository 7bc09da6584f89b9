"""What AlpacaEval's length-controlled win rate knows beside a model's own annotations.

How difficult each of the 805 instructions is, and what the judge said to two baselines that were
told to be long and to be short. Either the file that alpaca_eval itself downloads, where it is on
this machine, or a folder.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.errors import PrerequisiteError, RecipeError
from evalkit.fetching import HubFile, cached_file

# Source: tatsu-lab/alpaca_eval, metrics/glm_winrate.py (release 0.6.6), which reads it unpinned.
HUB_DATASET = "tatsu-lab/alpaca_eval"
HUB_FILE = "df_gamed.csv"
HUB_SHA256 = "97aeec3f1c7de6dee6fd31fe66f1702623f4614c3efe1c6fc5f4927cd5fd674d"
# sha256 of the JSON list of the 805 instructions in the order of its baseline file, which is that
# of the difficulties.
ORDER_SHA256 = "c5770d532bf3f697768ed9a57a05d8b58b2617321ca65070620f059676e7c99a"
DIFFICULTY_FILE = "instruction_difficulty.csv"
GAMED_FILE = "gamed_reconstructed.csv"
_GAMED_COLUMNS = ("preference", "std_delta_len", "instruction_difficulty")
_HINT = (
    f"hf download {HUB_DATASET} {HUB_FILE} --repo-type dataset, or give a folder (--aux DIR) that "
    f"holds {HUB_FILE}, or {DIFFICULTY_FILE} and {GAMED_FILE}"
)

Floats = NDArray[np.float64]


class Gamed(NamedTuple):
    """Judged outputs of the long and the short baseline against the plain one.

    gap_N: tanh of the length difference over its standard deviation. won_N: from 0 to 1.
    """

    gap_N: Floats
    difficulty_N: Floats
    won_N: Floats


class Auxiliary(NamedTuple):
    """The auxiliary data, and where it is from: file names with their sha256.

    difficulty_N: by row of the annotations, which is how alpaca_eval looks it up.
    """

    difficulty_N: Floats
    gamed: Gamed
    origin: Mapping[str, str]


def read(folder: Path | None = None) -> Auxiliary:
    """The auxiliary data from a folder; by default the Hub's file, as far as it is prefetched.

    Raises:
        PrerequisiteError: there is none on this machine.
        RecipeError: the files are damaged, or the Hub's is not the one that it was.
    """
    if folder is None:
        prefetched = prefetched_file()
        if prefetched is None:
            raise PrerequisiteError(
                f"the length-controlled win rate needs {HUB_FILE} of {HUB_DATASET}, which is not "
                "on this machine",
                _HINT,
            )
        return _from_hub_file(prefetched)
    if (folder / HUB_FILE).is_file():
        return _from_hub_file(folder / HUB_FILE)
    if holds(folder):
        return _from_two_files(folder)
    if not folder.is_dir():
        raise RecipeError(f"there is no folder {folder}", _HINT)
    missing = [name for name in (DIFFICULTY_FILE, GAMED_FILE) if not (folder / name).is_file()]
    raise RecipeError(f"{folder} holds no {' and no '.join(missing)}", _HINT)


def in_published_order(instructions: Sequence[str]) -> bool:
    """Whether these are AlpacaEval's own instructions, each at its difficulty's place."""
    return hashlib.sha256(json.dumps(list(instructions)).encode()).hexdigest() == ORDER_SHA256


def holds(folder: Path) -> bool:
    """Whether the auxiliary data lies in a folder."""
    both = all((folder / name).is_file() for name in (DIFFICULTY_FILE, GAMED_FILE))
    return both or (folder / HUB_FILE).is_file()


def prefetched_file() -> Path | None:
    """The Hub's file in the Hub's cache on this machine; nothing is downloaded.

    Raises:
        RecipeError: it is not the one that it was.
    """
    try:
        found = cached_file(HubFile(HUB_DATASET, HUB_FILE, sha256=HUB_SHA256))
    except PrerequisiteError:  # no huggingface_hub, hence no cache
        return None
    return None if found is None else found.path


def _from_hub_file(file: Path) -> Auxiliary:
    content, digest = _content(file)
    if digest != HUB_SHA256:
        raise RecipeError(
            f"{file} is not the published one: its sha256 is {digest}, and not {HUB_SHA256}",
            "remove it and fetch it again",
        )
    return from_gamed_table(content, file, {HUB_FILE: digest})


def from_gamed_table(content: str, file: Path, origin: Mapping[str, str]) -> Auxiliary:
    """All of it from `df_gamed.csv` alone: difficulties are those of each index's first row."""
    rows = _rows(content, file, ("index", *_GAMED_COLUMNS))
    first: dict[str, dict[str, str]] = {}
    for row in rows:
        first.setdefault(row["index"], row)
    difficulty_N = _column(list(first.values()), "instruction_difficulty", file)
    return Auxiliary(difficulty_N, _gamed(rows, file), origin)


def _from_two_files(folder: Path) -> Auxiliary:
    easy, hard = folder / DIFFICULTY_FILE, folder / GAMED_FILE
    difficulties, difficulty_digest = _content(easy)
    gamed, gamed_digest = _content(hard)
    return Auxiliary(
        _column(
            _rows(difficulties, easy, ("instruction_difficulty",)), "instruction_difficulty", easy
        ),
        _gamed(_rows(gamed, hard, _GAMED_COLUMNS), hard),
        {DIFFICULTY_FILE: difficulty_digest, GAMED_FILE: gamed_digest},
    )


def _gamed(rows: list[dict[str, str]], file: Path) -> Gamed:
    rows = [row for row in rows if row["preference"] not in ("", "nan")]  # as upstream's fit does
    won_N, delta_N, difficulty_N = (_column(rows, name, file) for name in _GAMED_COLUMNS)
    return Gamed(np.tanh(delta_N), difficulty_N, won_N)


def _content(file: Path) -> tuple[str, str]:
    try:
        content = file.read_bytes()
        return content.decode("utf-8"), hashlib.sha256(content).hexdigest()
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"cannot read {file}: {error}", _HINT) from error


def _rows(content: str, file: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(content))
    lacking = [name for name in columns if name not in (reader.fieldnames or ())]
    if lacking:
        raise RecipeError(f"{file} has no column '{lacking[0]}'", "is it the right file?")
    return list(reader)


def _column(rows: list[dict[str, str]], name: str, file: Path) -> Floats:
    try:
        values = np.array([float(row[name]) for row in rows])
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{file}: '{name}' is no number: {error}") from error
    if not len(values) or not np.isfinite(values).all():
        raise RecipeError(f"{file}: '{name}' is missing somewhere", "is the file complete?")
    return values
