"""What tasks of the harness need beside a model and a dataset: Python packages, and NLTK's data.

Read from the text of their helpers, of which nothing is imported: some download when they are.
Imported lazily: it needs lm_eval and datasets.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import datasets.config
import lm_eval

from evalkit.benchmarks.lm_eval_datasets import definitions
from evalkit.errors import PrerequisiteError, Problem, gist
from evalkit.roles import Prefetched

_FUNCTION = re.compile(r"!function +([\w.]+)\.\w+")
_INCLUDE = re.compile(r"^include: *[\"']?([^\s\"'#]+)", re.MULTILINE)
_NLTK_DATA = re.compile(r"nltk\.data\.find\(\s*[\"']([\w/]+)[\"']")
_HARNESS = Path(lm_eval.__file__).parent


def problems_of(index: Mapping[str, Any], names: Sequence[str]) -> list[Problem]:
    """Packages that are not installed; data of NLTK that is neither here nor in reach.

    index: the harness's own, of all that it knows.
    """
    problems: list[Problem] = []
    packages, data = _needs(index, names)
    for package, tasks in packages.items():
        if find_spec(package) is None:
            message = f"the Python package '{package}' is not installed, which {tasks[0]} imports"
            hint = "pip install 'evalkit[eval]', or what the task's own page names"
            problems.append(Problem("tasks", message, hint, prerequisite=True))
    if problems:
        return problems
    for resource, tasks in data.items():
        if not _is_here(resource) and (fault := _unreachable(_name(resource))):
            problems.append(
                Problem(
                    "tasks",
                    f"NLTK's data {resource}, which {tasks[0]} reads, is not on this machine, and"
                    f" cannot be fetched: {fault}",
                    "bring it along: evalkit prefetch RECIPE, or python -m nltk.downloader"
                    f" {_name(resource)}",
                    prerequisite=True,
                )
            )
    return problems


def bring(index: Mapping[str, Any], names: Sequence[str]) -> list[Prefetched]:
    """Brings the data of NLTK to where the datasets' cache lies, and says what.

    Raises:
        PrerequisiteError: it cannot be had.
    """
    found = []
    for resource in _needs(index, names)[1]:
        from nltk.downloader import Downloader

        downloader = Downloader()
        try:
            if not _is_here(resource):
                folder = _folder()
                folder.mkdir(parents=True, exist_ok=True)
                downloader.download(_name(resource), str(folder), quiet=True, raise_on_error=True)
            checksum = str(downloader.info(_name(resource)).sha256_checksum)
        except (OSError, ValueError) as error:
            raise PrerequisiteError(
                f"NLTK's data {resource} cannot be fetched: {gist(error)}", "check the network"
            ) from error
        found.append(Prefetched("nltk", _name(resource), checksum))
    return found


def know_nltk_data() -> None:
    """Has NLTK look beside the datasets' cache, too, where `bring` has put its data."""
    if find_spec("nltk") is None:
        return
    import nltk.data

    folder = str(_folder())
    if folder not in nltk.data.path:
        nltk.data.path.append(folder)


def _folder() -> Path:
    return Path(datasets.config.HF_DATASETS_CACHE).parent / "nltk_data"


def _name(resource: str) -> str:
    return resource.rsplit("/", 1)[-1]


def _is_here(resource: str) -> bool:
    import nltk.data

    know_nltk_data()
    try:
        nltk.data.find(resource)
    except LookupError:
        return False
    return True


def _unreachable(name: str) -> str:
    """Why NLTK's server cannot be asked about its data; empty where it can."""
    from huggingface_hub import constants
    from nltk.downloader import Downloader

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        Downloader().info(name)
    except (OSError, ValueError) as error:
        return gist(error)
    return ""


# --- reading helpers ------------------------------------------------------------------------


def _needs(
    index: Mapping[str, Any], names: Sequence[str]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Top-level packages, and data of NLTK, each with the tasks that need it."""
    packages: dict[str, list[str]] = {}
    data: dict[str, list[str]] = {}
    for name in names:
        for definition in definitions(index, name):
            task = str(definition.values.get("task", name))
            for helper in _all_helpers(definition.file) if definition.file else ():
                text = helper.read_text("utf-8")
                for package in _packages(helper, text):
                    packages.setdefault(package, []).append(task)
                for resource in _NLTK_DATA.findall(text):
                    data.setdefault(resource, []).append(task)
    return packages, data


@cache
def _all_helpers(definition: Path) -> tuple[Path, ...]:
    """The Python files that a definition names, and those of the harness that they import."""
    found: dict[Path, None] = {}
    waiting = list(_named_helpers(definition))
    while waiting:
        helper = waiting.pop()
        if helper not in found and helper.is_file():
            found[helper] = None
            waiting += [one for module in _imports(helper) for one in _own_files(module)]
    return tuple(found)


def _named_helpers(definition: Path) -> Iterator[Path]:
    text = definition.read_text("utf-8")
    for module in _FUNCTION.findall(text):
        yield definition.parent.joinpath(*module.split(".")).with_suffix(".py")
    for name in _INCLUDE.findall(text):
        included = definition.parent / name
        if included.is_file():
            yield from _named_helpers(included)


def _packages(helper: Path, text: str) -> Iterator[str]:
    for module in _imports(helper):
        top = module.split(".")[0]
        is_own = top == "lm_eval" or (helper.parent / f"{top}.py").is_file()
        if not is_own and top not in sys.stdlib_module_names:
            yield top


def _own_files(module: str) -> Iterator[Path]:
    """The harness's file of a module `lm_eval...`, which may be a name in one, too."""
    parts = module.split(".")
    if parts[0] == "lm_eval":
        for end in (len(parts), len(parts) - 1):
            yield _HARNESS.joinpath(*parts[1:end]).with_suffix(".py")


@cache
def _imports(file: Path) -> tuple[str, ...]:
    """Modules that importing a file imports; of a `from a import b` both `a` and `a.b`."""
    return tuple(_imported(ast.parse(file.read_text("utf-8")).body))


def _imported(statements: Sequence[ast.stmt]) -> Iterator[str]:
    for statement in statements:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and not statement.level and statement.module:
            yield statement.module
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)
        elif isinstance(statement, ast.Try) and any(map(_raises, statement.handlers)):
            yield from _imported(statement.body)  # what may be missing is caught, and goes on


def _raises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) for node in ast.walk(handler))
