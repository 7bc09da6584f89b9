"""Commands that take a model in place of a recipe: what they compose, plan and refuse."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalkit.cli import main
from evalkit.errors import RecipeError
from evalkit.pipeline.composing import Model, ModelFlags, compose, read_model
from evalkit.pipeline.contrast import line_up
from evalkit.recipe_file import validated
from evalkit.rundir import PLAN, RECIPE

TASKS = "lm_eval_tasks:tasks=[pocket_exact],include_path=pocket,limit=4"
Said = tuple[int, str, str]


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def model(desk: Path, tiny_llama: Path) -> str:
    (desk / "my-model").symlink_to(tiny_llama)
    return "my-model"


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> Said:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    captured = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, captured.out, captured.err


# --- what is composed ------------------------------------------------------------------------


def test_a_model_and_flags_make_the_plan_of_the_recipe_that_says_the_same(
    model: str, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--benchmark", TASKS, "--scheme", "fp8-dynamic", "--dry-run", "--json"]
    _, composed, _ = _run(capsys, "evaluate", model, *flags)
    recipe = {
        "name": "my-model",
        "base": {"model": str(desk / model)},
        "evaluation": {
            "benchmarks": [
                {"name": "lm_eval_tasks", "tasks": ["pocket_exact"], "include_path": "pocket",
                 "limit": 4}
            ]
        },
        "variants": ["fp8_dynamic"],
        "card": {"title": "my-model", "license": "unknown"},
    }  # fmt: skip
    Path("same.yaml").write_text(yaml.safe_dump(recipe))
    _, written, _ = _run(capsys, "evaluate", "same.yaml", "--dry-run", "--json")
    assert json.loads(composed) == json.loads(written)
    assert len(json.loads(composed)["steps"]) == 6
    assert json.loads(composed)["lacking"] == []
    assert not Path("runs").exists()


def test_set_reaches_a_composed_recipe(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--benchmark", TASKS, "--set", "evaluation.benchmarks.0.limit=9", "--set", "name=x"]
    _, out, _ = _run(capsys, "evaluate", model, *words, "--dry-run", "--json")
    plan = json.loads(out)
    assert plan["run"] == "runs/x"
    assert plan["steps"][1]["settings"]["benchmark"]["options"]["limit"] == 9


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/my model", "my-model"),
        ("org/Llama-3--8B..x", "Llama-3-8B.x"),
        ("/x/-odd-", "odd"),
        ("/x/模型", "model"),
        ("/x/" + "a" * 120, "a" * 80),
    ],
)
def test_a_recipe_is_called_like_its_model(path: str, name: str) -> None:
    found = Model(path, None, is_folder=True)
    assert found.name == name
    assert validated(compose(found, ModelFlags(), own=False)).recipe.name == name


def test_a_hub_id_may_carry_its_revision() -> None:
    assert read_model("org/name@v1.0") == Model("org/name", "v1.0", is_folder=False)
    assert read_model("org/name", "abc") == Model("org/name", "abc", is_folder=False)


@pytest.mark.parametrize(("flag", "license_"), [(None, "mit"), ("apache-2.0", "apache-2.0")])
def test_the_licence_of_a_folders_own_card_holds_unless_a_flag_says_otherwise(
    tmp_path: Path, flag: str | None, license_: str
) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\nlanguage: de\n---\n# Mine\n")
    made = compose(read_model(str(tmp_path)), ModelFlags(license=flag), own=True)
    card = validated(made).recipe.card
    assert (card.license, card.language) == (license_, ("de",))


# --- what is refused -------------------------------------------------------------------------


def test_evaluate_without_a_benchmark_lists_them_with_what_each_needs(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, said = _run(capsys, "evaluate", model)
    assert (code, out) == (2, "")
    assert "lm_eval_tasks  lm-evaluation-harness; needs tasks=..." in said
    assert "mt_bench       MT-Bench; needs --judge" in said


def test_quantize_without_a_scheme_lists_them(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, said = _run(capsys, "quantize", model)
    assert code == 2
    assert "w4a16_gptq   4-bit (W4A16, GPTQ); needs --calibration" in said
    assert "w4a16_rtn" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("publish MODEL --license mit", 2, "needs --namespace"),
        ("publish MODEL --namespace me", 2, "needs --license"),
        ("card build MODEL", 2, "needs --license"),
        ("train MODEL", 2, "'evalkit new NAME --base my-model' writes one"),
        ("evaluate RECIPE --benchmark mt_bench", 2, "--benchmark is for a model"),
        ("evaluate recipe", 1, "did you mean the recipe recipe.yaml?"),
        ("evaluate recipe.ymal", 1, "did you mean the recipe recipe.yaml?"),
        ("evaluate ./nowhere", 1, "there is no folder ./nowhere"),
        ("evaluate recipe.txt", 1, "is a file, and no recipe by its name"),
        ("evaluate MODEL --benchmark mt_benhc", 1, "--benchmark mt_benhc  evaluation.benchmarks.0"),
        ("evaluate MODEL --benchmark lm_eval_tasks:limit", 1, "'limit' is not of the form"),
        ("evaluate MODEL --benchmark lm_eval_tasks:task=[a]", 1, "did you mean 'tasks'"),
        ("quantize MODEL --scheme fp-8", 1, "--scheme fp-8  variants.0: no scheme is called"),
        ("quantize MODEL --scheme w4a16_gptq --calibration no.jsonl", 1, "--calibration no.jsonl"),
        ("quantize MODEL --scheme fp8_dynamic --scheme fp8_dynamic", 1, "listed twice"),
        ("publish org/model --license mit --namespace me", 1, "there is nothing to publish"),
        ("card build org/model --license mit", 1, "there is no card to write"),
        ("publish MODEL --license MIT! --namespace me", 1, "--license MIT!  card.license"),
        ("publish MODEL --license mit --namespace a/b", 1, "--namespace a/b  publish.namespace"),
    ],
)
@pytest.mark.usefixtures("unplugged")
def test_a_mistake_is_told_by_the_flag_that_made_it(
    model: str, capsys: pytest.CaptureFixture[str], words: str, code: int, said: str
) -> None:
    Path("recipe.yaml").write_text("name: x\nbase: {model: m}\ncard: {title: x, license: mit}\n")
    Path("recipe.txt").write_text("")
    typed = words.replace("MODEL", model).replace("RECIPE", "recipe.yaml").split()
    ended, out, told = _run(capsys, *typed)
    assert (ended, out) == (code, "")
    assert said in told
    assert "Traceback" not in told
    assert ".yaml:" not in told
    assert not Path("runs").exists()


@pytest.mark.usefixtures("unplugged")
def test_a_model_that_only_looks_like_a_recipe_can_be_named_by_its_revision(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "gpt2.yaml").write_text("")
    _, _, told = _run(capsys, "evaluate", "gpt2", "--benchmark", TASKS, "--dry-run")
    assert "gpt2@main" in told
    code, out, _ = _run(capsys, "evaluate", "gpt2@main", "--benchmark", TASKS, "--dry-run")
    assert code == 0
    assert "find gpt2" in out


def test_only_a_folder_can_be_our_own(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--license", "mit", "--namespace", "me", "--set", "base.own=true", "--dry-run"]
    code, _, told = _run(capsys, "publish", "org/model", *words)
    assert code == 1
    assert "org/model is no folder: it has its card and its repository" in told
    code, out, _ = _run(capsys, "publish", model, *words)
    assert code == 0
    assert "  me/my-model\n" in out
    assert "the model's own folder is left as it is" in out


def test_compare_needs_two_of_a_kind_it_knows(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(capsys, "compare", model)[0] == 2
    Path("r.yaml").write_text("name: x\n")
    code, _, told = _run(capsys, "compare", model, "r.yaml")
    assert (code, "r.yaml is a recipe" in told) == (1, True)
    code, _, told = _run(capsys, "compare", model, "org/other")
    assert (code, "my-model needs --benchmark" in told) == (2, True)
    code, _, told = _run(capsys, "compare", model, model, "--benchmark", TASKS)
    assert (code, "my-model is given twice" in told) == (1, True)


def _measured_run(folder: str, model: str) -> None:
    """What compare reads of a run before it measures anything."""
    run = Path(folder)
    (run / "steps").mkdir(parents=True)
    (run / PLAN).write_text("[]")
    document = compose(read_model(model), ModelFlags(benchmark=(TASKS,), judge="rule"), own=False)
    document.put(("seed",), 7, "--set seed=7")
    (run / RECIPE).write_text(yaml.safe_dump(document.data))


def test_a_flag_wins_over_how_the_run_was_measured(model: str) -> None:
    _measured_run("runs/r", model)
    flags = ModelFlags(judge="llm:model=x")
    found = validated(line_up(["runs/r", model], flags, []).documents[model]).recipe
    assert found.evaluation.judge is not None
    assert found.evaluation.judge.name == "llm"
    assert [one.name for one in found.evaluation.benchmarks] == ["lm_eval_tasks"]
    assert found.seed == 7


def test_runs_of_one_name_are_told_apart_by_their_folders(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("w/runs/r", "w/old/r"):
        _measured_run(folder, model)
    assert line_up(["w/runs/r", "w/old/r"], ModelFlags(), []).order == ["runs/r:base", "old/r:base"]
    with pytest.raises(RecipeError, match="r:base is given twice"):
        line_up(["w/old/r", "w/runs/../old/r"], ModelFlags(), [])
    monkeypatch.chdir("w/old/r")
    assert line_up([".", "../../runs/r"], ModelFlags(), []).order == ["old/r:base", "runs/r:base"]


# --- lists -----------------------------------------------------------------------------------


def test_list_tells_the_options_of_one_plugin(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = _run(capsys, "list", "benchmarks", "lm-eval-tasks")
    assert re.search(r"^  tasks: list of .*; must be given$", out, re.MULTILINE)
    assert re.search(r"^  limit: number, more than 0; default null\n    \w", out, re.MULTILINE)
    _, out, _ = _run(capsys, "list", "methods", "sppo", "--json")
    options: list[dict[str, Any]] = json.loads(out)["methods"]["sppo"]["options"]
    (eta,) = (option for option in options if option["name"] == "eta")
    assert eta["default"] == "1000.0"
    assert "step size" in eta["description"]
    code, _, told = _run(capsys, "list", "methods", "spo")
    assert (code, "did you mean 'sppo'" in told) == (1, True)
