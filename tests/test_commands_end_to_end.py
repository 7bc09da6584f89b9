"""Commands that take a model, run for real on tiny checkpoints: measured, quantized, published."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalkit.cli import main
from evalkit.hub.serve import running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),  # of the Hub's client
]
TASKS = "lm_eval_tasks:tasks=[pocket_exact,pocket_choice],include_path=pocket,limit=12"
CHOICE = "lm_eval_tasks:tasks=[pocket_choice],include_path=pocket,limit=12"


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    """What a command that ends well says on stdout and stderr."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    captured = capsys.readouterr()
    assert ended.value.code == 0, captured.err
    return captured.out, captured.err


def _json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    return json.loads(_run(capsys, *words, "--json")[0])


def test_a_model_is_measured_resumed_shown_and_its_recipe_used_again(
    pocket_base: Path, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "mine").symlink_to(pocket_base)
    words = ["evaluate", "mine", "--benchmark", TASKS]
    found = _json(capsys, *words)
    scores = {(score["task"], score["metric"]): score for score in found["scores"]}
    exact = scores["pocket_exact", "exact_match"]
    assert (exact["n"], exact["missing"], exact["checkpoint"]) == (12, 0, "base")
    assert 0 <= exact["ci_low"] <= exact["value"] <= exact["ci_high"] <= 100
    assert found["family"] is None  # no card was asked for

    out, err = _run(capsys, *words)
    assert "nothing to do: all 4 steps" in err or "nothing to do: all 3 steps" in err
    assert "its recipe, to edit and use again: runs/mine/recipe.yaml" in out
    out, _ = _run(capsys, "show", "runs/mine")
    assert "pocket_exact: exact_match" in out
    out, err = _run(capsys, "evaluate", "runs/mine/recipe.yaml")
    assert "nothing to do" in err
    out, _ = _run(capsys, *words, "--dry-run")
    assert "to do" not in out


def test_a_model_is_quantized_and_the_variant_loads(
    tiny_llama: Path, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = _json(capsys, "quantize", str(tiny_llama), "--scheme", "w4a16-rtn", "--out", "q")
    folder = Path(found["checkpoints"]["base-w4a16_rtn"])
    assert folder == Path("q/steps/base-w4a16_rtn/checkpoint")
    config = json.loads((folder / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    # Another command on the same model goes on in the same folder, and shows what lies there.
    _run(capsys, "evaluate", str(tiny_llama), "--benchmark", CHOICE, "--out", "q")
    out, _ = _run(capsys, "show", "q")
    assert "base-w4a16_rtn           earlier" in out
    assert "pocket_choice: acc_norm" in out


def test_ones_own_folder_is_published_with_a_variant_and_left_as_it_is(
    pocket_base: Path, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = desk / "mine"
    shutil.copytree(pocket_base, mine)
    (mine / "README.md").write_text("---\nlicense: mit\n---\n# My notes\n")
    (mine / "optimizer.pt").write_bytes(b"state")
    before = {file.name: file.read_bytes() for file in mine.iterdir()}
    words = ["publish", "mine", "--namespace", "me", "--scheme", "w4a16_rtn", "--benchmark", CHOICE]
    out, err = _run(capsys, *words)
    assert "  me/mine @ " in out
    assert "  me/mine-W4A16-RTN @ " in out
    assert "README.md, optimizer.pt" in err
    assert {file.name: file.read_bytes() for file in mine.iterdir()} == before

    from huggingface_hub import snapshot_download

    with running(desk / "hub", orgs=["me"]) as server:
        folders = [
            Path(snapshot_download(name, endpoint=server.endpoint, token=server.token))
            for name in ("me/mine", "me/mine-W4A16-RTN")
        ]
    own, variant = ((folder / "README.md").read_text() for folder in folders)
    assert (folders[0] / "model.safetensors").read_bytes() == before["model.safetensors"]
    assert not (folders[0] / "optimizer.pt").exists()
    assert "It was trained elsewhere: evalkit holds no record of how" in own
    assert "My notes" not in own
    assert yaml.safe_load(own.split("---")[1])["license"] == "mit"
    metadata = yaml.safe_load(variant.split("---")[1])
    assert (metadata["base_model"], metadata["base_model_relation"]) == ("me/mine", "quantized")


def test_two_models_are_compared_on_the_same_items(
    tiny_llama: Path, pocket_base: Path, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, folder in {"a": tiny_llama, "b": pocket_base}.items():
        (desk / name).mkdir()
        (desk / name / "m").symlink_to(folder)
    found = _json(capsys, "compare", "a/m", "b/m", "--benchmark", CHOICE)
    assert [one["name"] for one in found["models"]] == ["a-m", "b-m"]
    (one,) = found["comparisons"]
    assert (one["a"], one["b"], one["n"]) == ("a-m", "b-m", 12)
    difference = one["score_b"]["value"] - one["score_a"]["value"]
    assert one["difference"] == pytest.approx(difference)
    assert one["ci_low"] <= difference <= one["ci_high"]

    out, err = _run(capsys, "compare", "runs/b-m", "runs/a-m:base")
    assert "a-m:base against b-m:base, on the same items" in out
    assert "[1/" not in err  # nothing was measured again
    # A model beside a run is measured as the run was.
    (desk / "c").symlink_to(pocket_base)
    found = _json(capsys, "compare", "runs/b-m", "c")
    assert found["comparisons"][0]["difference"] == 0


def test_length_controlled_rates_are_compared_by_refitting_both(
    tiny_llama: Path, pocket_base: Path, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, folder in {"a": tiny_llama, "b": pocket_base}.items():
        (desk / name).symlink_to(folder)
    instructions = "{name: pocket, split: open, count: 24}"
    words = ["--benchmark", f"alpaca_eval:instructions={instructions},max_new_tokens=8"]
    found = _json(capsys, "compare", "a", "b", *words, "--judge", "rule")
    by_metric = {one["metric"]: one for one in found["comparisons"]}
    assert set(by_metric) == {"win_rate", "length_controlled_minimal"}
    one = by_metric["length_controlled_minimal"]
    difference = one["score_b"]["value"] - one["score_a"]["value"]
    assert one["difference"] == pytest.approx(difference)
    assert one["ci_low"] <= difference <= one["ci_high"]
    assert "refit" in one["method"]


def test_what_was_measured_otherwise_is_not_compared(
    tiny_llama: Path, desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, benchmark in {"a": CHOICE, "b": CHOICE.replace("12", "8")}.items():
        _run(capsys, "evaluate", str(tiny_llama), "--benchmark", benchmark, "--out", name)
    with pytest.raises(SystemExit) as ended:
        main(["compare", "a", "b"])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "nothing can be compared" in said
    assert "settings" in said
    assert "limit" in said
