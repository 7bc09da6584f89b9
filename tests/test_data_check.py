"""`evalkit data check`, and the examples of docs/data.md, which are all run here."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import own_data
import pytest
import yaml

from evalkit.cli import main
from evalkit.sources.inspection import quantiles

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "data.md").read_text("utf-8")
PAIRS = [
    {"prompt": "Name a river.", "chosen": "The Elbe.", "rejected": "Paris.", "category": "geo"},
    {"prompt": "Name a river.", "chosen": "The Rhine.", "rejected": "Rome.", "category": "geo"},
    {"prompt": "Say hi.", "chosen": "Hi.", "rejected": "Say hi. Ho.", "category": "chat"},
]


@pytest.fixture
def check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """`check(*words)` runs the command in a folder of its own: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["data", "check", *words])
        said = capsys.readouterr()
        return caught.value.code, said.out, said.err

    return run


@pytest.fixture
def report(check: Any) -> Any:
    """`report(*words)`: exit code and JSON document."""

    def run(*words: str) -> tuple[Any, Any]:
        code, out, _ = check(*words, "--json")
        return code, json.loads(out)

    return run


def test_good_data(tmp_path: Path, report: Any) -> None:
    own_data.write(tmp_path, PAIRS)
    code, found = report("mine.jsonl")
    assert code == 0
    assert found["ok"] is True
    assert found["rows"] == 3
    assert found["recognised"] == "preference pairs (prompt, chosen, rejected)"
    assert (found["repeated_prompts"], found["surplus_rows"]) == (1, 1)
    assert found["categories"] == {"geo": 2, "chat": 1}
    assert found["lengths"]["prompt"]["characters"] == {
        "min": 7, "median": 13, "90 %": 13, "99 %": 13, "max": 13, "mean": 11.0,
    }  # fmt: skip
    assert found["recipe"] == "prompts: {name: file, path: mine.jsonl}"
    assert found["tokens"] is None


def test_problems_are_counted_and_end_with_code_1(tmp_path: Path, report: Any) -> None:
    rows = [*PAIRS, *({**PAIRS[0], "chosen": ""} for _ in range(25)), {**PAIRS[0], "prompt": 3}]
    own_data.write(tmp_path, rows)
    code, found = report("mine.jsonl")
    assert (code, found["ok"], found["problem_rows"]) == (1, False, 26)
    assert found["problems_by_kind"] == [
        {"column": "chosen", "what": "is empty", "rows": 25},
        {"column": "prompt", "what": "is not a text", "rows": 1},
    ]
    assert len(found["problems"]) == 20
    assert found["problems"][0] == {
        "where": "mine.jsonl:4", "message": "column 'chosen' is empty",
    }  # fmt: skip
    code, found = report("mine.jsonl", "--set", "bad_rows=drop")
    assert (code, found["ok"], found["kept"]) == (0, True, {"usable": 3, "taken": 3})


def test_the_options_of_a_source(tmp_path: Path, report: Any) -> None:
    rows = [{"q": f"p{n}", "a": "x", "n": n} for n in range(20)]
    own_data.write(tmp_path / "data", rows, name="train")
    own_data.write(tmp_path / "data", rows[:3], name="test")
    words = ["data", "--columns", "prompt=q", "--columns", "response=a"]
    words += ["--filter", "{column: n, min: 5}", "--set", "shuffle=1", "--set", "count=4"]
    words += ["--set", "portion.keep=train", "--set", "portion.test_fraction=0.2"]
    code, found = report(*words)
    assert code == 0
    assert found["fields"] == {"prompt": "q", "response": "a"}
    assert found["kept"]["filter"] == 15
    assert found["kept"]["taken"] == 4
    reference = yaml.safe_load(found["recipe"])["prompts"]
    name = reference.pop("name")
    assert len(own_data.source(name, **reference).prompts()) == 4
    code, found = report("data", "--split", "test", "--columns", "prompt=q")
    assert (found["rows"], found["files"]) == (3, ["data/test.jsonl"])
    assert found["unused"] == ["a", "n"]


def test_notes(tmp_path: Path, report: Any) -> None:
    said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi there"}]
    own_data.write(tmp_path, [{"messages": said}, {"messages": said[:1]}])
    _, found = report("mine.jsonl")
    assert found["notes"] == [
        "deduplicate: true keeps the first of each, 1 fewer",
        "1 of 2 have no response; sft, dpo and spin need one",
        "1 responses begin with their prompt: is it part of them?",
    ]


def test_quantiles_are_by_nearest_rank() -> None:
    found = quantiles(range(1, 101))
    assert found == {"min": 1, "median": 50, "90 %": 90, "99 %": 99, "max": 100, "mean": 50.5}
    assert set(quantiles([7]).values()) == {7}


def test_tokens_as_training_sees_them(tmp_path: Path, tiny_llama: Path, report: Any) -> None:
    from evalkit import rendering
    from evalkit.loading import load_tokenizer
    from evalkit.records import Message

    own_data.write(tmp_path, PAIRS)
    tokenizer = load_tokenizer(tiny_llama)
    messages = (Message("user", "Name a river."),)
    prompt = rendering.prompt_token_ids(tokenizer, messages)
    response = rendering.response_token_ids(tokenizer, messages, "The Elbe.")
    room = len(prompt) + len(response)
    code, found = report("mine.jsonl", "--model", str(tiny_llama), "--max-length", str(room - 1))
    tokens = found["tokens"]
    assert code == 0
    assert tokens["preview"]["prompt_token_ids"] == list(prompt)
    assert tokens["preview"]["response_token_ids"] == list(response)
    assert tokens["preview"]["id"] == "row-1"
    assert tokens["lengths"]["prompt"]["max"] == len(prompt)
    assert tokens["cut"] >= 1
    assert tokens["dropped"] == 0
    own_data.write(tmp_path, PAIRS[:1])
    _, found = report("mine.jsonl", "--model", str(tiny_llama), "--max-length", str(len(prompt)))
    assert (found["tokens"]["cut"], found["tokens"]["dropped"]) == (0, 1), "no room for an answer"
    own_data.write(tmp_path, PAIRS)
    _, found = report("mine.jsonl", "--model", str(tiny_llama), "--max-length", "1")
    assert (found["tokens"]["cut"], found["tokens"]["dropped"]) == (0, 3)


def test_many_examples_are_measured_at_even_distances(tmp_path: Path, tiny_llama: Path) -> None:
    from evalkit.sources import token_lengths

    file = own_data.write(tmp_path, [{"prompt": f"p {n}"} for n in range(2500)])
    records = own_data.source("file", path=str(file)).prompts()
    found = token_lengths.measure(records, str(tiny_llama), None)
    assert (found.measured, found.of) == (2000, 2500)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["mine.jsnl"], 1, "there is no file mine.jsnl, and no dataset has such an id"),
        (["other.jsonl"], 1, "there is no file other.jsonl"),
        (["mine.jsonl", "--max-length", "5"], 2, "--max-length needs --model"),
        (["mine.jsonl", "--columns", "prompt"], 2, "--columns takes FIELD=COLUMN, not 'prompt'"),
        (["mine.jsonl", "--columns", "promt=x"], 1, "there is no field 'promt'"),
        (["mine.jsonl", "--filter", "{column: n, mn: 1}"], 1, "no test of a condition is called"),
        (["mine.jsonl", "--set", "shufle=1"], 1, "did you mean 'shuffle'?"),
        (["mine.jsonl", "--split", "train"], 1, "is one file, which has no splits"),
        (["mine.jsonl", "--revision", "main"], 1, "there is no such option"),
        (["mine.jsonl", "--model", "nowhere/model/x"], 1, "cannot load a tokenizer from nowhere"),
    ],
)
def test_wrong_usage(tmp_path: Path, check: Any, words: list[str], code: int, said: str) -> None:
    own_data.write(tmp_path, PAIRS)
    ended, out, error = check(*words)
    assert (ended, out) == (code, "")
    assert said in " ".join(error.split())


def test_it_needs_nothing_heavy(tmp_path: Path) -> None:
    own_data.write(tmp_path, PAIRS, "parquet")
    code = (
        "import sys, evalkit.cli\n"
        "try: evalkit.cli.main(['data', 'check', 'mine.parquet'])\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'pandas', 'huggingface_hub'}"
        " & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(ROOT)}, timeout=60,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"


# --- docs/data.md ---------------------------------------------------------------------------


def _fences(language: str) -> list[tuple[str, str]]:
    """What stands behind the language of each fence, and the text in it."""
    found = re.findall(rf"^```{language}(.*?)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [(title.strip(), text) for title, text in found]


@pytest.fixture
def examples(tmp_path: Path) -> Path:
    """A folder with every file that the page shows."""
    for name, text in _fences("json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, "utf-8")
    return tmp_path


@pytest.mark.parametrize("name", [n for n, _ in _fences("json") if n != "pairs.jsonl"])
def test_every_file_of_the_page_can_be_used(examples: Path, name: str) -> None:
    columns = {"prompt": "ask"} | {"id": None} if name == "other.jsonl" else {}
    source = own_data.source("file", path=str(examples / name), columns=columns)
    assert source.check() == []
    assert len(source.examine().records) == len((examples / name).read_text().splitlines())


def test_every_source_of_the_page_is_valid(examples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(examples)
    references = [one for _, text in _fences("yaml") for one in yaml.safe_load(text)]
    for reference in references:
        source = own_data.source(reference.pop("name"), **reference)
        assert source.check() == []
        assert "path" not in reference or source.prompts()
    assert len(references) >= 10


def test_the_page_shows_what_the_command_prints(examples: Path, check: Any) -> None:
    ((_, text),) = _fences("console")
    command, _, shown = text.partition("\n")
    words = shlex.split(command.removeprefix("$ evalkit data check "))
    code, out, _ = check(*words)
    assert code == 1
    assert out == shown
