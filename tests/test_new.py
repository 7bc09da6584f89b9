"""`evalkit new`: recipes from three answers, each of which can be run."""

import io
import json
from itertools import product
from pathlib import Path

import pytest
import yaml

from evalkit.cli import main
from evalkit.pipeline.new_recipe import METHODS
from evalkit.recipe_file import read_recipe

ROWS = [
    {"prompt": "Hello?", "chosen": "Hello!", "rejected": "No."},
    {"prompt": "And now?", "chosen": "Now.", "rejected": "No."},
]


class Terminal(io.StringIO):
    """Typed answers, as from a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


def _run(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize(
    ("base", "method", "data"),
    list(product(["pocket", "mine"], METHODS, ["pocket", "pairs.jsonl"])),
)
@pytest.mark.usefixtures("unplugged")
def test_every_answer_makes_a_recipe_that_can_be_planned(
    desk: Path, tiny_llama: Path, capsys: pytest.CaptureFixture[str],
    base: str, method: str, data: str,
) -> None:  # fmt: skip
    (desk / "mine").symlink_to(tiny_llama)
    flags = ["--base", base, "--method", method, "--data", data, "--publish", "me"]
    assert _run("new", "demo", *flags) == 0
    capsys.readouterr()
    # What `evalkit train-and-publish` says of data and plug-ins that are on this machine.
    code = _run("train-and-publish", "demo.yaml", "--dry-run", "--set", "evaluation.benchmarks=[]")
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert "would push to" in captured.out
    stages = read_recipe(Path("demo.yaml")).recipe.stages
    assert [stage.method.name for stage in stages] == ([] if method == "none" else [method])


def test_every_section_of_a_recipe_has_a_comment_above_it() -> None:
    assert _run("new", "a/demo", "--base", "org/model@v1", "--method", "spin",
                "--data", "org/data", "--publish", "me") == 0  # fmt: skip
    lines = Path("a/demo.yaml").read_text().splitlines()
    sections = [n for n, line in enumerate(lines) if line[:1].isalpha() and line[:4] != "seed"]
    assert [lines[n].split(":")[0] for n in sections] == [
        "name", "base", "stages", "evaluation", "variants", "card", "publish",
    ]  # fmt: skip
    assert [n for n in sections if not lines[n - 1].startswith("#")] == []
    recipe = yaml.safe_load(Path("a/demo.yaml").read_text())
    assert recipe["base"] == {"model": "org/model", "revision": "v1"}
    assert recipe["stages"][0]["prompts"]["dataset"] == "org/data"


def test_it_asks_what_the_flags_do_not_say(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("\nspin\n\n"))
    assert _run("new", "demo") == 0
    captured = capsys.readouterr()
    assert captured.err.count("?") == 0
    assert "Base model" in captured.err
    assert "Prompts" in captured.err
    assert "wrote demo.yaml" in captured.out
    assert "Base model" not in captured.out
    recipe = read_recipe(Path("demo.yaml")).recipe
    assert recipe.base.builder is not None
    assert recipe.stages[0].method.name == "spin"


def test_without_a_terminal_it_asks_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert _run("new", "demo", "--base", "pocket") == 2
    assert "give --method: there is no terminal to ask on" in capsys.readouterr().err
    assert _run("new", "demo", "--base", "pocket", "--method", "none") == 0


def test_a_recipe_is_not_written_over_unless_forced(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--base", "pocket", "--method", "none"]
    Path("demo.yaml").write_text("mine")
    assert _run("new", "demo", *flags) == 1
    assert "is there already" in capsys.readouterr().err
    assert Path("demo.yaml").read_text() == "mine"
    assert _run("new", "demo.yaml", *flags, "--force", "--json") == 0
    assert json.loads(capsys.readouterr().out)["recipe"] == "demo.yaml"
    assert read_recipe(Path("demo.yaml")).recipe.name == "demo"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("demo --base pocket --method spo --data pocket", "did you mean 'sppo'"),
        ("demo --base ./nowhere --method none", "there is no folder ./nowhere"),
        ("demo --base pocket --method sft --data pair.jsonl", "did you mean 'pairs.jsonl'"),
        ("demo --base pocket --method sft --data my/pairs.ndjson", "there is no data at my/pairs"),
        ("demo --base pocket --method sft --data my/p.jsonl.gz", "there is no data at my/p.jsonl"),
        ("demo --base pocket --method sft --data what?", "there is no data at what?"),
        ("my--demo --base pocket --method none", "NAME  name: "),
        ("demo --base pocket --method none --publish a/b", "--publish a/b  publish.namespace"),
    ],
)
def test_a_wrong_answer_is_told_and_nothing_written(
    desk: Path, capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    before = sorted(desk.iterdir())
    assert _run("new", *words.split()) == 1
    assert said in capsys.readouterr().err
    assert sorted(desk.iterdir()) == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of the Hub's client
def test_the_pocket_recipe_runs_as_it_is_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Made smaller on the command line only, so that a test can wait for it."""
    flags = ["--base", "pocket", "--method", "sppo", "--data", "pocket", "--publish", "me"]
    assert _run("new", "demo", *flags) == 0
    smaller = [
        "base.builder.steps=60", "stages.0.prompts.count=96", "stages.0.prompts_per_iteration=48",
        "stages.0.method.samples=3", "evaluation.benchmarks.0.limit=16",
        "evaluation.benchmarks.1.instructions.count=16", "variants=[w4a16_rtn]",
    ]  # fmt: skip
    words = [word for one in smaller for word in ("--set", one)]
    assert _run("train-and-publish", "demo.yaml", *words) == 0
    assert "published:   4 repositories" in capsys.readouterr().out
