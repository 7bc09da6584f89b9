"""Splits: files told apart by name, and by what a dataset's card declares."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import own_data
import pytest
import yaml

from evalkit.errors import RecipeError
from evalkit.sources.rows import OptionError
from evalkit.sources.splits import choose, data_files, matches, splits_by_name, splits_of

# What `datasets` 5.2 makes of the same names: see test_datasets_agrees.
NAMES: dict[str, tuple[list[str], dict[str, list[str]]]] = {
    "one file": (["my_file.csv"], {"train": ["my_file.csv"]}),
    "two files of no name": (["a.jsonl", "b.jsonl"], {"train": ["a.jsonl", "b.jsonl"]}),
    "names": (
        ["train.csv", "test.csv", "valid.csv"],
        {"train": ["train.csv"], "test": ["test.csv"], "validation": ["valid.csv"]},
    ),
    "numbered": (
        ["train_0.csv", "train_1.csv", "dev-0.csv"],
        {"train": ["train_0.csv", "train_1.csv"], "validation": ["dev-0.csv"]},
    ),
    "in a folder": (
        ["data/train.csv", "data/test.csv"],
        {"train": ["data/train.csv"], "test": ["data/test.csv"]},
    ),
    "folders": (
        ["data/train/a.csv", "data/train/b.csv", "data/test/a.csv"],
        {"train": ["data/train/a.csv", "data/train/b.csv"], "test": ["data/test/a.csv"]},
    ),
    "shards": (
        ["data/train-00000-of-00002.csv", "data/train-00001-of-00002.csv",
         "data/random-00000-of-00001.csv"],
        {"train": ["data/train-00000-of-00002.csv", "data/train-00001-of-00002.csv"],
         "random": ["data/random-00000-of-00001.csv"]},
    ),
    "a word that is part of another": (["testimony.csv"], {"train": ["testimony.csv"]}),
}  # fmt: skip


@pytest.mark.parametrize(("names", "splits"), NAMES.values(), ids=NAMES)
def test_splits_by_name(names: list[str], splits: dict[str, list[str]]) -> None:
    assert splits_by_name(names) == splits


@pytest.mark.parametrize("names", [names for names, _ in NAMES.values()], ids=NAMES)
def test_datasets_agrees(tmp_path: Path, names: list[str]) -> None:
    """The library that set the conventions finds the same splits."""
    library = pytest.importorskip("datasets.data_files")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("prompt\nHi\n")
    found: dict[str, set[str]] = {}
    for split, patterns in library.get_data_patterns(str(tmp_path)).items():
        for pattern in patterns:
            with suppress(FileNotFoundError):  # of several patterns, some fit nothing
                files = library.resolve_pattern(pattern, str(tmp_path))
                names_found = {str(Path(file).relative_to(tmp_path)) for file in files}
                found.setdefault(str(split), set()).update(names_found)
    assert found == {split: set(files) for split, files in splits_by_name(names).items()}


def test_hashed_shards_as_the_hub_has_them() -> None:
    name = "data/train_sft-00000-of-00003-a3ecf92756993583.parquet"
    assert splits_by_name([name]) == {"train_sft": [name]}


def test_what_is_no_data() -> None:
    names = ["README.md", "dataset_infos.json", ".git/x.json", "data/.hidden.csv", "LICENSE",
             "b.csv", "a.JSONL.GZ", "x.parquet.gz", "loader.py"]  # fmt: skip
    assert data_files(names) == ["a.JSONL.GZ", "b.csv"]


CARD = """
configs:
- config_name: default
  data_files:
  - {split: train_sft, path: data/train_sft-*}
  - {split: test_sft, path: [data/test_sft-*]}
- {config_name: all, data_files: "**/*.csv"}
- {config_name: some, data_files: [a.csv, data/*]}
- {config_name: mapped, data_files: {train: a.csv}}
- {config_name: folder, data_dir: sub}
"""
FILES = ["a.csv", "data/train_sft-0.csv", "data/test_sft-0.csv", "sub/train.csv", "sub/test.csv"]


@pytest.mark.parametrize(
    ("config", "splits"),
    [
        (None, {"train_sft": [FILES[1]], "test_sft": [FILES[2]]}),
        ("all", {"train": sorted(FILES)}),
        ("some", {"train": ["a.csv", FILES[2], FILES[1]]}),
        ("mapped", {"train": ["a.csv"]}),
        ("folder", {"train": ["sub/train.csv"], "test": ["sub/test.csv"]}),
    ],
)
def test_splits_that_a_card_declares(config: str | None, splits: Any) -> None:
    assert splits_of(FILES, yaml.safe_load(CARD), config, "me/data") == splits


def test_configurations_without_a_card() -> None:
    """The Hub's own conversions have a folder for each; old datasets a file."""
    names = ["main/train/0000.parquet", "main/test/0000.parquet", "other/train/0000.parquet"]
    assert splits_of(names, {}, "other", "x") == {"train": [names[2]]}
    files = ["alpaca_eval.json", "alpaca_eval_gpt4_baseline.json"]
    splits = splits_of(files, {}, "alpaca_eval_gpt4_baseline", "x")
    assert choose(splits, "eval", "x") == [files[1]]


@pytest.mark.parametrize(
    ("config", "message", "hint"),
    [
        ("defualt", "me/data has no configuration 'defualt'", "did you mean 'default'?"),
        (None, "me/data has several configurations", "name one of a, b, for example config: a"),
    ],
)
def test_wrong_configurations(config: str | None, message: str, hint: str) -> None:
    card = yaml.safe_load(CARD)
    if config is None:
        card = {"configs": [{"config_name": n, "data_files": "*"} for n in "ab"]}
    with pytest.raises(OptionError) as caught:
        splits_of(FILES, card, config, "me/data")
    assert (caught.value.option, caught.value.message) == ("config", message)
    assert hint in caught.value.hint


@pytest.mark.parametrize("declared", [{"data_files": "nothing/*"}, {"data_dir": "nowhere"}])
def test_a_card_whose_files_are_not_there(declared: dict[str, str]) -> None:
    splits = splits_of(FILES, {"configs": [{"config_name": "a", **declared}]}, None, "me/data")
    with pytest.raises(OptionError, match=r"no data where the configs of its README\.md say"):
        choose(splits, None, "me/data")


@pytest.mark.parametrize("folder", [".", "./", ""])
def test_a_card_may_name_the_root(folder: str) -> None:
    names = ["train.csv", "test.csv"]
    card = {"configs": [{"config_name": "a", "data_dir": folder}]}
    assert splits_of(names, card, None, "x") == {"train": ["train.csv"], "test": ["test.csv"]}


@pytest.mark.parametrize(
    ("name", "pattern", "fits"),
    [
        ("data/a.csv", "data/*", True), ("data/x/a.csv", "data/*", False),
        ("data/x/a.csv", "data/**", True), ("a.csv", "**/*.csv", True),
        ("x/y/a.csv", "**/*.csv", True), ("x/y/a.csv", "**/y/*.csv", True),
        ("x/a.csv", "./x/a.csv", True), ("data/train-01.csv", "data/train-[0-9]*", True),
        ("data/a.csv", "a.csv", False),
    ],
)  # fmt: skip
def test_patterns(name: str, pattern: str, fits: bool) -> None:
    assert matches(name, pattern) is fits


# --- a folder of one's own ------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two splits in three files, and what else lies about."""
    own_data.write(tmp_path, [{"prompt": "a"}], "parquet", "data/train-00000-of-00002")
    own_data.write(tmp_path, [{"prompt": "b"}], "parquet", "data/train-00001-of-00002")
    own_data.write(tmp_path, [{"prompt": "c"}], "parquet", "data/test-00000-of-00001")
    (tmp_path / "README.md").write_text("# Data")
    return tmp_path


def _said(path: Path, **options: Any) -> list[str]:
    prompts = own_data.source("file", path=str(path), **options).prompts()
    return [prompt.messages[0].content for prompt in prompts]


def test_a_folder_is_read_by_split(folder: Path) -> None:
    assert _said(folder) == ["a", "b"]
    assert _said(folder, split="test") == ["c"]


def test_rows_of_several_files_have_ids_of_their_own(folder: Path) -> None:
    ids = [prompt.id for prompt in own_data.source("file", path=str(folder)).prompts()]
    assert ids == ["train-00000-of-00002-row-1", "train-00001-of-00002-row-1"]


def test_a_folders_digest_follows_the_files_of_its_split(folder: Path) -> None:
    def digest(split: str) -> str:
        return str(own_data.source("file", path=str(folder), split=split).description()["digest"])

    train, test = digest("train"), digest("test")
    own_data.write(folder, [{"prompt": "d"}], "parquet", "data/test-00000-of-00001")
    assert digest("train") == train
    assert digest("test") != test


def test_a_file_of_a_folder_may_be_named_as_split(tmp_path: Path) -> None:
    own_data.write(tmp_path, [{"prompt": "a"}], name="train_sft")
    own_data.write(tmp_path, [{"prompt": "b"}], name="train_gen")
    assert _said(tmp_path, split="train_gen") == ["b"]


def test_an_unknown_split_names_those_that_are(folder: Path) -> None:
    (problem,) = own_data.source("file", path=str(folder), split="trian").check()
    assert (problem.where, problem.message) == ("split", f"{folder} has no split 'trian'")
    assert problem.hint == "did you mean 'train'?   (known: test, train)"


def test_several_splits_without_train_must_be_chosen(tmp_path: Path) -> None:
    own_data.write(tmp_path, [{"prompt": "a"}], name="test")
    own_data.write(tmp_path, [{"prompt": "b"}], name="dev")
    (problem,) = own_data.source("file", path=str(tmp_path)).check()
    assert (problem.where, problem.message) == ("split", f"{tmp_path} has several splits")
    assert problem.hint == "name one of test, validation, for example split: test"


def test_a_missing_shard_is_seen(folder: Path) -> None:
    (folder / "data/train-00000-of-00002.parquet").unlink()
    with pytest.raises(RecipeError) as caught:
        _said(folder)
    assert caught.value.message == (
        f"{folder} lacks 1 of the 2 files data/train-*-of-00002, first number 00000"
    )


def test_one_split_in_two_formats_is_not_read_twice(tmp_path: Path) -> None:
    own_data.write(tmp_path, [{"prompt": "a"}], "jsonl", "train")
    own_data.write(tmp_path, [{"prompt": "a"}], "parquet", "train")
    with pytest.raises(RecipeError, match="has the same split in several formats"):
        _said(tmp_path)


def test_folders_without_rows(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        _said(tmp_path)
    assert caught.value.message == f"the folder {tmp_path} holds no file of rows"
    (tmp_path / "data-00000-of-00001.arrow").write_bytes(b"")
    with pytest.raises(RecipeError) as caught:
        _said(tmp_path)
    assert "load_from_disk" in caught.value.hint


def test_mixed_files_of_one_split_are_seen(tmp_path: Path) -> None:
    own_data.write(tmp_path, [{"prompt": "a"}], name="train-a")
    own_data.write(tmp_path, [{"messages": [{"role": "user", "content": "b"}]}], name="train-b")
    with pytest.raises(RecipeError, match=r"train-a\.jsonl:1  has no 'messages': among conversat"):
        _said(tmp_path)
