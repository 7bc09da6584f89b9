"""Which files make up a split: by their names, or as a dataset card's `configs` say.

Source: the conventions of Hub datasets (huggingface.co/docs/datasets/repository_structure).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from evalkit.errors import RecipeError, did_you_mean
from evalkit.sources.readers import ending, without_ending
from evalkit.sources.rows import OptionError

Splits = dict[str, list[str]]
DEFAULT = "train"
KEYWORDS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
# They lie beside data and describe it.
_NO_DATA = {"config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json"}
_NO_DATA |= {"state.json", "package.json", "tokenizer.json", "tokenizer_config.json"}
_SHARD = re.compile(r"(\w+(?:\.\w+)*)-(\d{5})-of-(\d{5})(?:-[0-9a-f]+)?")
_BETWEEN_WORDS = re.compile(r"[-._ 0-9]+")


class Config(NamedTuple):
    """One configuration of a Hub dataset: patterns of files by split, or a folder of them."""

    name: str
    patterns: Mapping[str, tuple[str, ...]]
    folder: str = ""
    default: bool = False


def data_files(names: Iterable[str]) -> list[str]:
    """Those files that hold rows, sorted; hidden ones and descriptions are left out."""
    return sorted(
        name
        for name in names
        if ending(name)
        and PurePosixPath(name).name not in _NO_DATA
        and not any(part.startswith((".", "__")) for part in PurePosixPath(name).parts)
    )


def splits_by_name(names: Collection[str]) -> Splits:
    """Splits of data files, by shard names, else folders, else words in file names, else `train`.

    names: relative to the folder of the data.
    """
    sharded: Splits = {}
    for name in names:
        found = _SHARD.fullmatch(without_ending(PurePosixPath(name).name))
        if found:
            sharded.setdefault(found[1], []).append(name)
    if sharded:
        return sharded
    for word_of in (_folder_split, _file_split):
        splits: Splits = {}
        for name in names:
            split = word_of(name)
            if split:
                splits.setdefault(split, []).append(name)
        if splits:
            return splits
    return {DEFAULT: list(names)} if names else {}


def _folder_split(name: str) -> str | None:
    for part in reversed(PurePosixPath(name).parts[:-1]):
        if _keyword(part):
            return _keyword(part)
    return None


def _file_split(name: str) -> str | None:
    return _keyword(without_ending(PurePosixPath(name).name))


def _keyword(text: str) -> str | None:
    words = _BETWEEN_WORDS.split(text.lower())
    return next((KEYWORDS[word] for word in words if word in KEYWORDS), None)


def choose(splits: Splits, split: str | None, whole: str) -> list[str]:
    """The files of one split; of the only one, or of `train`, where none is named.

    whole: what the splits are of, for messages.

    Raises:
        OptionError: there is no such split, none at all, or it must be named.
        RecipeError: shards are missing, or one split holds files of several formats.
    """
    if not splits:
        said = f"{whole} has no data where the configs of its README.md say"
        raise OptionError("config", said, "name the files instead, such as files: '**/*.parquet'")
    if split is None:
        if len(splits) > 1 and DEFAULT not in splits:
            raise OptionError("split", f"{whole} has several splits", _known(splits))
        split = DEFAULT if DEFAULT in splits else next(iter(splits))
    if split in splits or KEYWORDS.get(split) in splits:
        files = splits[split if split in splits else KEYWORDS[split]]
    else:
        files = [n for names in splits.values() for n in names if _is_called(n, split)]
    if not files:
        hint = did_you_mean(split, splits)
        raise OptionError("split", f"{whole} has no split '{split}'", hint)
    _check_whole(files, whole)
    return files


def _is_called(name: str, split: str) -> bool:
    return without_ending(PurePosixPath(name).name) == split


def _known(splits: Collection[str]) -> str:
    return f"name one of {', '.join(sorted(splits))}, for example split: {min(splits)}"


def _check_whole(files: Sequence[str], whole: str) -> None:
    formats = sorted({ending(name) for name in files})
    if len(formats) > 1:
        raise RecipeError(
            f"{whole} has the same split in several formats: {', '.join(files[:4])}",
            "name one file, or keep the others elsewhere",
        )
    shards: dict[tuple[str, str], set[int]] = {}
    for name in files:
        path = PurePosixPath(name)
        found = _SHARD.fullmatch(without_ending(path.name))
        if found:
            key = (str(path.parent / found[1]), found[3])
            shards.setdefault(key, set()).add(int(found[2]))
    for (stem, of), numbers in shards.items():
        missing = sorted(set(range(int(of))) - numbers)
        if missing:
            raise RecipeError(
                f"{whole} lacks {len(missing)} of the {int(of)} files {stem}-*-of-{of},"
                f" first number {missing[0]:05d}",
                "fetch it again",
            )


# --- a dataset card's configs ---------------------------------------------------------------


def configs_of(metadata: Mapping[str, Any]) -> list[Config]:
    """The configurations that a card's front matter declares; none where it declares no files."""
    declared = metadata.get("configs")
    found = []
    for entry in declared if isinstance(declared, list) else []:
        if isinstance(entry, Mapping) and ("data_files" in entry or "data_dir" in entry):
            found.append(
                Config(
                    str(entry.get("config_name", "default")),
                    _patterns(entry.get("data_files")),
                    str(entry.get("data_dir") or "").strip("./"),
                    bool(entry.get("default")),
                )
            )
    return found


def _patterns(value: Any) -> dict[str, tuple[str, ...]]:
    """`data_files` in each of its forms: a pattern, a list of them, or one entry per split."""
    if value is None:
        return {}
    entries = value if isinstance(value, list) else [value]
    if all(isinstance(entry, Mapping) for entry in entries):
        found: dict[str, tuple[str, ...]] = {}
        for entry in entries:
            pairs = (
                [(entry["split"], entry.get("path"))] if "split" in entry else list(entry.items())
            )
            for split, path in pairs:
                paths = path if isinstance(path, list) else [path]
                found[str(split)] = (*found.get(str(split), ()), *(str(one) for one in paths))
        return found
    return {DEFAULT: tuple(str(entry) for entry in entries)}


def splits_of(
    names: Iterable[str], metadata: Mapping[str, Any], config: str | None, whole: str
) -> Splits:
    """The splits of a Hub dataset, in the configuration asked for.

    names: of all its files. metadata: its card's front matter.

    Raises:
        OptionError: there is no such configuration, or it must be named.
    """
    files, configs = data_files(names), configs_of(metadata)
    if configs:
        return _splits_of_config(files, _chosen(configs, config, whole))
    if config is None or config == "default":
        return splits_by_name(files)
    # Without a declaration, a folder or a file of that name stands for it.
    inside = [name for name in files if name.startswith(f"{config}/") or _is_called(name, config)]
    if not inside:
        known = {name.split("/")[0] if "/" in name else without_ending(name) for name in files}
        raise OptionError(
            "config", f"{whole} has no configuration '{config}'", did_you_mean(config, known)
        )
    return splits_by_name(inside)


def _chosen(configs: Sequence[Config], name: str | None, whole: str) -> Config:
    if name is None:
        defaults = [one for one in configs if one.default or one.name == "default"]
        if defaults or len(configs) == 1:
            return (defaults or configs)[0]
        names = sorted(one.name for one in configs)
        raise OptionError(
            "config",
            f"{whole} has several configurations",
            f"name one of {', '.join(names)}, for example config: {names[0]}",
        )
    for one in configs:
        if one.name == name:
            return one
    raise OptionError(
        "config",
        f"{whole} has no configuration '{name}'",
        did_you_mean(name, [one.name for one in configs]),
    )


def _splits_of_config(files: Sequence[str], config: Config) -> Splits:
    if not config.patterns:
        folder = f"{config.folder}/" if config.folder else ""
        return splits_by_name([name for name in files if name.startswith(folder)])
    splits: Splits = {}
    for split, patterns in config.patterns.items():
        whole = [f"{config.folder}/{one}" if config.folder else one for one in patterns]
        splits[split] = [name for name in files if any(matches(name, one) for one in whole)]
    return {split: found for split, found in splits.items() if found}


def matches(name: str, pattern: str) -> bool:
    """Whether a path fits a pattern: `*` stays within a folder, `**` spans any number of them."""
    return _parts_match(name.split("/"), pattern.removeprefix("./").split("/"))


def _parts_match(names: Sequence[str], patterns: Sequence[str]) -> bool:
    if not patterns:
        return not names
    if patterns[0] == "**":
        return any(_parts_match(names[start:], patterns[1:] or ["*"])
                   for start in range(len(names)))  # fmt: skip
    return (
        bool(names) and fnmatchcase(names[0], patterns[0]) and _parts_match(names[1:], patterns[1:])
    )
