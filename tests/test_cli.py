"""The command line: its flags, its help, its messages; and what it does not import."""

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from evalkit.cli import cli, main
from evalkit.cli.app import CONTEXT, echo_json

ROOT = Path(__file__).parent.parent
RECIPE_FLAGS = {
    "--out", "--set", "--until", "--redo", "--dry-run", "--hub-root", "--replace", "--children",
    "--report-to", "--launch", "--processes",
    "--json",
}  # fmt: skip
MEASURING = {"--benchmark", "--judge", "--engine", "--revision"}
QUANTIZING = {"--scheme", "--calibration"}
CARD = {"--license", "--title"}
FROM = {
    "--from", "--importer", "--as", "--base", "--config", "--language", "--license-link",
    "--license-name", "--model", "--parameters", "--relation",
}  # fmt: skip
OF_DATA = {
    "--columns", "--config", "--filter", "--max-length", "--model", "--revision", "--set",
    "--split",
}  # fmt: skip
# Frozen: people's scripts depend on these. A change here is a change for them.
FLAGS = {
    "": {"--debug", "--version"},
    "train-and-publish": RECIPE_FLAGS,
    "train": RECIPE_FLAGS,
    "quantize": RECIPE_FLAGS | QUANTIZING | {"--revision"},
    "evaluate": RECIPE_FLAGS | QUANTIZING | MEASURING,
    "publish": RECIPE_FLAGS
    | QUANTIZING
    | MEASURING
    | CARD
    | {"--namespace", "--endpoint", "--rollback"},
    "compare": MEASURING | {"--set", "--out", "--redo", "--dry-run", "--children", "--json"},
    "new": {"--base", "--method", "--data", "--publish", "--force", "--json"},
    "prefetch": {"--to", "--set", "--json"},
    "doctor": {"--recipe", "--json"},
    "card build": RECIPE_FLAGS | QUANTIZING | MEASURING | CARD | FROM,
    "card lint": {
        "--base-card",
        "--config",
        "--fix",
        "--ignore",
        "--rule",
        "--strict",
        "--json",
    },
    "card rules": {"--json"},
    "card verify": MEASURING
    | {
        "--run",
        "--results",
        "--importer",
        "--strict",
        "--rerun",
        "--limit",
        "--model",
        "--out",
        "--redo",
        "--children",
        "--json",
    },
    "card diff": {"--json"},
    "show": {"--json"},
    "status": {"--out", "--hub-root", "--json"},
    "list": {"--json"},
    "data check": OF_DATA | {"--json"},
    "data contamination": {"--against", "--ngram", "--json"},
    "score alpaca-eval": {"--aux", "--c", "--against", "--json"},
    "score mt-bench": {"--baseline", "--json"},
    "judge audit": {"--second", "--json"},
    "judge calibrate": {
        "--aux",
        "--baseline",
        "--judge",
        "--recipe",
        "--official",
        "--limit",
        "--order-seed",
        "--out",
        "--dry-run",
        "--json",
    },
    "judge rank": {"--json"},
    "hub serve": {"--root", "--port", "--host", "--json"},
    "hub token": {"--root", "--user", "--json"},
    "lm-eval": {"--json"},
    "leaderboard export": {"--out", "--definition", "--format", "--baseline", "--json"},
    "import": {"--as", "--model", "--importer", "--out", "--json"},
}


def _flags(command: click.Command, name: str = "") -> dict[str, set[str]]:
    if isinstance(command, click.Group) and name:
        own: dict[str, set[str]] = {}
    else:
        options = (p for p in command.params if isinstance(p, click.Option))
        own = {name: {flag for option in options for flag in option.opts}}
    if isinstance(command, click.Group):
        for word, child in command.commands.items():
            own |= _flags(child, f"{name} {word}".strip())
    return own


def _failing(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as caught:
        main(list(words))
    assert isinstance(caught.value.code, int)
    return caught.value.code, capsys.readouterr().err


def _recipe(tmp_path: Path, **changes: tuple[str, str]) -> Path:
    text = (ROOT / "tests" / "recipes" / "micro.yaml").read_text()
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return file


def test_the_set_of_flags_is_frozen() -> None:
    assert _flags(cli) == FLAGS


def test_every_command_prints_json() -> None:
    without = [name for name, flags in _flags(cli).items() if name and "--json" not in flags]
    assert without == []


def test_the_exit_codes_stand_in_the_help() -> None:
    shown = cli.get_help(click.Context(cli, info_name="evalkit", **CONTEXT))
    for code in ("0", "1", "2", "130"):
        assert re.search(rf"^ +{code}  \w", shown, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["show", "NOWHERE", "--json"], 1, "is not a run"),
        (["evaluate", "org/model", "--json"], 2, "needs --benchmark"),
        (["train", "--json"], 2, "Missing argument"),
        (["list", "judgs", "--json"], 1, "no kind of plug-in"),
    ],
)
def test_an_error_is_json_on_the_last_line_of_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str
) -> None:
    words = [str(tmp_path) if word == "NOWHERE" else word for word in words]
    with pytest.raises(SystemExit) as caught:
        main(words)
    captured = capsys.readouterr()
    assert caught.value.code == code
    assert captured.out == ""
    error = json.loads(captured.err.splitlines()[-1])["error"]
    assert message in error["message"]
    assert set(error) == {"message", "hint", "problems"}


def test_problems_of_a_recipe_are_json_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _recipe(tmp_path, option=("eta: 20", "etta: 20"))
    _, said = _failing(capsys, "train", str(file), "--json")
    (problem,) = json.loads(said)["error"]["problems"]
    assert problem["where"].endswith("stages.0.method.etta")
    assert "did you mean 'eta'" in problem["hint"]


def test_a_slip_in_a_later_section_is_told_by_train_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _recipe(tmp_path, option=("limit: 24", "limitt: 24"))
    code, said = _failing(capsys, "train", str(file), "--dry-run")
    assert code == 1
    assert f"{file}:27  evaluation.benchmarks.0.limitt: there is no such option" in said


def test_a_wrong_set_is_told_by_its_flag_and_not_by_a_line_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(_recipe(tmp_path)), "--set", "seed=three", "--set", "variants=[fp-8]"]
    _, said = _failing(capsys, *words)
    assert "  --set seed=three  seed: " in said
    assert "  --set variants=[fp-8]  variants.0: no scheme is called 'fp-8'" in said
    assert "mine.yaml:" not in said


def test_help_and_list_import_nothing_heavy() -> None:
    code = (
        "import sys, evalkit.cli\n"
        "for words in (['--help'], ['list'], ['train-and-publish', '--help']):\n"
        "    try: evalkit.cli.main(words)\n"
        "    except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'pandas', 'transformers', 'jinja2', 'numpy', 'lm_eval'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_the_readme_shows_the_help_as_it_is() -> None:
    context = click.Context(cli, info_name="evalkit", terminal_width=100, **CONTEXT)
    readme = (ROOT / "README.md").read_text()
    assert cli.get_help(context) in readme


def test_every_problem_of_a_recipe_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _recipe(
        tmp_path,
        scheme=("fp8_dynamic]", "fp-8]"),
        judge=("    judge: rule\n    training", "    judge: rulle\n    training"),
        option=("eta: 20", "etta: 20"),
        key=("license: apache-2.0", "licence: apache-2.0"),
    )
    code, said = _failing(capsys, "train-and-publish", str(file), "--out", str(tmp_path / "run"))
    assert code == 1
    assert "5 problems" in said
    assert f"{file}:35  variants.1: no scheme is called 'fp-8'" in said
    assert "did you mean 'fp8_dynamic'" in said
    assert "stages.0.method.etta: there is no such option" in said
    assert "did you mean 'eta'" in said
    assert "did you mean 'rule'" in said
    assert "did you mean 'license'" in said
    assert not (tmp_path / "run").exists()


def test_too_few_prompts_are_told_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _recipe(tmp_path, count=("split: self_play, count: 96", "split: self_play, count: 90"))
    code, said = _failing(capsys, "train", str(file), "--out", str(tmp_path / "run"))
    assert code == 1
    assert "takes prompts 49 to 96, but pocket has 90" in said
    assert "prompts_per_iteration" in said


def test_a_dry_run_prints_the_plan_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(
            ["train-and-publish", str(_recipe(tmp_path)), "--dry-run", "--out", str(tmp_path / "r")]
        )
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "iter2-w4a16_gptq" in shown
    assert "would push to a Hub served from" in shown
    assert "  micro/Micro-SPPO-Iter2-W4A16" in shown
    assert not (tmp_path / "r").exists()


def test_goals_cut_the_same_plan_short(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", str(_recipe(tmp_path)), "--dry-run"])
    shown = capsys.readouterr().out
    assert "iter2-train" in shown
    assert "eval-" not in shown
    assert "publish" not in shown


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["train", "RECIPE", "--dry-run", "--until", "iter2-trian"], "did you mean 'iter2-train'"),
        (["train", "RECIPE", "--dry-run", "--redo", "iter1-jugde"], "did you mean 'iter1-judge'"),
        (
            ["train", "RECIPE", "--dry-run", "--until", "base", "--redo", "iter1-train"],
            "known: base",
        ),
        (["list", "judgs"], "did you mean 'judges'"),
        (["train", "nowhere.yaml"], ""),
    ],
)
def test_typos_get_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], hint: str
) -> None:
    file = str(_recipe(tmp_path))
    code, said = _failing(capsys, *(file if word == "RECIPE" else word for word in words))
    assert code == 1
    assert said.startswith("error: ")
    assert "Traceback" not in said
    assert hint in said


def test_wrong_usage_exits_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert _failing(capsys, "train")[0] == 2
    assert _failing(capsys, "tarin", "x")[0] == 2


def test_list_as_json_names_the_plugins(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["list", "schemes", "--json"])
    known = json.loads(capsys.readouterr().out)
    assert set(known["schemes"]) == {"fp8_dynamic", "w4a16_gptq", "w4a16_rtn"}


def test_a_folder_that_is_no_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = _failing(capsys, "show", str(tmp_path))
    assert code == 1
    assert "is not a run" in said


def test_json_holds_no_number_that_json_lacks() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        echo_json({"value": float("nan")})
