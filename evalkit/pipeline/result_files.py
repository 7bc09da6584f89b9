"""Finds and reads the result files of other tools, and puts those of one model together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from evalkit import registry
from evalkit.console import say
from evalkit.errors import RecipeError, gist
from evalkit.pipeline import plugins
from evalkit.records import ResultSet, dumps
from evalkit.roles import Imported, Importer, PluginRef


class Reading(NamedTuple):
    """One result, and the file it was read from."""

    file: Path
    imported: Imported


def read(paths: Sequence[Path], importer: str | None = None) -> list[Reading]:
    """Every result in the files and folders, each file once.

    importer: the one that reads them, by name or path; by default the first that recognises each.

    Raises:
        RecipeError: one of the paths holds nothing that an importer recognises.
    """
    readers = _importers(importer)
    found: dict[Path, list[Reading]] = {}
    for path in paths:
        files = [(file, reader) for file in _files(path)
                 if (reader := _importer(readers, file)) is not None
                 and (path.is_file() or reader.yields_to(file) is None)]  # fmt: skip
        if not files:
            raise _nothing_in(path)
        for file, reader in files:
            if file.resolve() not in found:
                found[file.resolve()] = [_checked(file, one) for one in reader.read(file)]
    return [one for readings in found.values() for one in readings]


def _checked(file: Path, one: Imported) -> Reading:
    """Refuses a result that does not say where it comes from, or cannot be kept as a record.

    A card would show the first as measured; NaN in what the second says of itself is no JSON.
    """
    imported = one.result.provenance.get("imported")
    if not isinstance(imported, dict) or not {"tool", "file", "sha256"} <= set(imported):
        raise RecipeError(
            f"the importer of {file} does not say what it read",
            "provenance needs 'imported': {tool, file, sha256}, see roles.Imported",
        )
    try:
        dumps([one.result.scores, one.result.provenance])
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{file} says what no record can hold: {gist(error, 90)}") from None
    return Reading(file, one)


def _importers(name: str | None) -> list[Importer]:
    """The named one, or all; one of another package that is broken hurts only who names it."""
    if name is not None:
        return [plugins.make("importers", PluginRef(name=name))]
    made: list[Importer] = []
    for known in registry.names("importers"):
        try:
            made.append(plugins.make("importers", PluginRef(name=known)))
        except RecipeError as error:
            say(f"note: {error.message}")
    return made


def combined(model: str, readings: Sequence[Reading]) -> tuple[ResultSet, ...]:
    """All results of one model; which of two for one number counts, evalkit does not choose."""
    seen: dict[tuple[str, str, str], Reading] = {}
    results: dict[tuple[str, str, str], ResultSet] = {}
    for one in readings:
        result = one.imported.result
        same = (result.provenance["imported"]["sha256"], one.imported.model, result.benchmark)
        if same in results:
            continue  # the same file in two places
        results[same] = result
        for score in result.scores:
            key = (result.benchmark, score.task, score.metric)
            if key in seen:
                raise RecipeError(
                    f"two results of {model} for {score.metric} of {score.task}: "
                    f"{seen[key].file} and {one.file}",
                    "give the files one by one, and of these the one that counts",
                )
            seen[key] = one
    return tuple(results.values())


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for entry in sorted(path.rglob("*")):
        hidden = any(part.startswith(".") for part in entry.relative_to(path).parts)
        if entry.is_file() and not hidden:
            yield entry


def _importer(importers: Sequence[Importer], file: Path) -> Importer | None:
    return next((one for one in importers if one.recognises(file)), None)


def _nothing_in(path: Path) -> RecipeError:
    known = [
        f"{name} ({registry.summary('importers', name).rstrip('.')})"
        for name in registry.names("importers")
    ]
    what = "no importer recognises results in" if path.exists() else "there is no"
    return RecipeError(f"{what} {path}", f"importers: {'; '.join(known)}")
