"""`card build --from`: a card of results that others measured, honest about what nobody said."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lint_parts import errors_of
from test_importers import annotations, harness_file, judgements, write

from evalkit import frontmatter
from evalkit.cli import main
from evalkit.records import ResultSet, from_json

MODEL = ("--model", "me/mine", "--license", "mit")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with one file of each tool, deep and shallow, and things that are no results."""
    folder = tmp_path / "results"
    write(folder / "ae" / "judge" / "annotations.json", annotations())
    write(folder / "fs" / "model_judgment" / "gpt-4_single.jsonl", judgements())
    write(folder / "results_2026.json", harness_file(model_name="mine"))
    write(folder / "config.json", {"architectures": ["X"]})
    (folder / "notes.txt").write_text("nothing")
    (folder / ".hidden").mkdir()
    write(folder / ".hidden" / "annotations.json", annotations("secret"))
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `card build` and gives exit code, stdout and stderr."""

    def build(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["card", "build", *map(str, words)])
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return build


Run = Callable[..., tuple[int, str, str]]


def test_golden_card(
    results: Path, tmp_path: Path, run: Run, golden: Callable[[str, str], None]
) -> None:
    out = tmp_path / "card"
    words = ["--base", "org/base", "--relation", "finetune", "--parameters", "7.24B"]
    code, said, _ = run("--from", results, *MODEL, *words, "--language", "en", "--out", out)
    assert code == 0
    card = out / "README.md"
    assert said.split()[0] == str(card)
    assert errors_of(out) == []
    golden("cards/imported.md", card.read_text())


def test_every_number_says_where_it_comes_from(results: Path, tmp_path: Path, run: Run) -> None:
    run("--from", results, *MODEL, "--out", tmp_path / "card")
    text = (tmp_path / "card" / "README.md").read_text()
    entries = frontmatter.parse(text).metadata["model-index"][0]["results"]
    assert {entry["source"]["name"] for entry in entries} == {
        "alpaca_eval (imported by evalkit)",
        "FastChat llm_judge (imported by evalkit)",
        "lm-evaluation-harness 0.4.8 (imported by evalkit)",
    }
    assert text.count("not measured by evalkit, judged by") == 2
    assert text.count("Imported from files of") == 4  # the harness's figures are in two tables
    assert "Measured by" not in text
    assert str(tmp_path) not in text


def test_nothing_is_claimed_that_was_not_said(results: Path, tmp_path: Path, run: Run) -> None:
    run("--from", results, *MODEL, "--out", tmp_path / "card")
    text = (tmp_path / "card" / "README.md").read_text()
    metadata = frontmatter.parse(text).metadata
    assert metadata["tags"] == ["evalkit"]
    unsaid = {"base_model", "base_model_relation", "language", "datasets", "quantized_by"}
    assert not unsaid & set(metadata)
    assert "evalkit holds no record of how" in text
    for word in ("parameters:", "context length", "Hyper-parameters", "## The family", "recipe"):
        assert word not in text, word


def test_records_lie_beside_the_card(results: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "card"
    run("--from", results, *MODEL, "--out", out)
    folders = sorted(path.name for path in (out / "eval").iterdir())
    assert folders == ["alpaca_eval", "lm_eval_tasks", "mt_bench"]
    record = from_json(
        ResultSet, json.loads((out / "eval" / "alpaca_eval" / "result.json").read_text())
    )
    assert record.score("alpaca_eval", "win_rate").n == 5
    lines = (out / "eval" / "alpaca_eval" / "samples.jsonl").read_text().splitlines()
    assert len(lines) == 6


def test_as_json(results: Path, tmp_path: Path, run: Run) -> None:
    _, said, _ = run("--from", results, *MODEL, "--out", tmp_path / "card", "--json")
    built = json.loads(said)
    assert built["model"] == "me/mine"
    assert {one["tool"] for one in built["imported"]} == {"alpaca_eval", "FastChat", "lm-eval"}
    assert {score["benchmark"] for score in built["scores"]} == {
        "alpaca_eval", "lm_eval_tasks", "mt_bench",
    }  # fmt: skip


def test_equal_results_give_equal_bytes(results: Path, tmp_path: Path, run: Run) -> None:
    def contents(folder: Path) -> dict[str, bytes]:
        run("--from", results, *MODEL, "--out", folder)
        files = (file for file in folder.rglob("*") if file.is_file())
        return {str(file.relative_to(folder)): file.read_bytes() for file in files}

    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_an_adapter_loads_as_one(results: Path, tmp_path: Path, run: Run) -> None:
    words = ["--base", "org/base", "--relation", "adapter", "--out", tmp_path / "card"]
    run("--from", results, *MODEL, *words)
    text = (tmp_path / "card" / "README.md").read_text()
    assert frontmatter.parse(text).metadata["library_name"] == "peft"
    assert "AutoPeftModelForCausalLM.from_pretrained(name)" in text
    assert "is an adapter for [base](https://huggingface.co/org/base)" in text


def test_a_config_tells_what_it_knows(
    results: Path, tiny_llama: Path, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "card"
    alone = write(tmp_path / "config.json", json.loads((tiny_llama / "config.json").read_text()))
    run("--from", results, *MODEL, "--config", alone, "--parameters", "123_456", "--out", out)
    text = (out / "README.md").read_text()
    assert "- architecture: LlamaForCausalLM" in text
    assert "- parameters: 123,456" in text
    assert "size of all weight files" not in text
    run("--from", results, *MODEL, "--config", tiny_llama, "--out", out)
    text = (out / "README.md").read_text()
    assert "size of all weight files" in text
    assert "- parameters: 123,456" not in text


def test_results_of_several_models(tmp_path: Path, run: Run) -> None:
    file = write(tmp_path / "a.json", [*annotations("a"), *annotations("b")])
    out = tmp_path / "card"
    code, _, said = run("--from", file, *MODEL, "--out", out)
    assert (code, "--as NAME: a, b" in said) == (1, True)
    code, _, said = run("--from", file, *MODEL, "--as", "c", "--out", out)
    assert (code, "no result is of a model called 'c'" in said) == (1, True)
    assert not out.exists()
    code, _, said = run("--from", file, *MODEL, "--as", "a", "--as", "b", "--out", out)
    assert (code, "two results of me/mine for win_rate" in " ".join(said.split())) == (1, True)
    assert run("--from", file, *MODEL, "--as", "b", "--out", out)[0] == 0
    assert "where this model is called b" in (out / "README.md").read_text()
    assert run("--from", file, "--model", "org/a", "--license", "mit", "--out", out)[0] == 0


def test_two_files_with_one_number(tmp_path: Path, run: Run) -> None:
    first = write(tmp_path / "x" / "results_1.json", harness_file())
    write(tmp_path / "y" / "results_1.json", harness_file())
    assert run("--from", tmp_path, "--from", first, *MODEL, "--out", tmp_path / "card")[0] == 0
    write(tmp_path / "y" / "results_2.json", harness_file(date=2))
    code, _, said = run("--from", tmp_path, *MODEL, "--out", tmp_path / "card")
    assert code == 1
    assert "two results of me/mine for acc_norm of arc_challenge" in said.replace("\n      ", "")


def test_several_results_of_one_suite_have_a_folder_each(tmp_path: Path, run: Run) -> None:
    value = harness_file()
    only = {"results": {"gsm8k": {"exact_match,strict-match": 0.5}}, "group_subtasks": {},
            "n-samples": {"gsm8k": {"effective": 8}}}  # fmt: skip
    write(tmp_path / "in" / "results_1.json", value)
    write(tmp_path / "in" / "results_2.json", {**value, **only})
    run("--from", tmp_path / "in", *MODEL, "--out", tmp_path / "card")
    found = sorted((tmp_path / "card" / "eval" / "lm_eval_tasks").iterdir())
    assert len(found) == 2
    assert all((folder / "result.json").is_file() for folder in found)


def test_a_card_of_somebody_else_is_kept(results: Path, tmp_path: Path, run: Run) -> None:
    out = tmp_path / "card"
    out.mkdir()
    (out / "README.md").write_text("---\nlicense: mit\ntags: [mine]\n---\n# By hand\n")
    code, _, said = run("--from", results, *MODEL, "--out", out)
    assert code == 1
    assert "was not written by evalkit" in " ".join(said.split())
    assert "--replace" in said
    assert sorted(path.name for path in out.iterdir()) == ["README.md"]
    assert run("--from", results, *MODEL, "--out", out, "--replace")[0] == 0
    assert run("--from", results, *MODEL, "--out", out)[0] == 0  # now it is ours


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--license", "mit"], 2, "--from needs --model too"),
        (["--model", "me/mine"], 2, "--from needs --license too"),
        ([*MODEL[:2], "--license", "MIT License"], 1, "--license 'MIT License'"),
        ([*MODEL[:2], "--license", "other"], 1, "add license_name and license_link"),
        ([*MODEL, "--base", "not an id"], 1, "--base 'not an id': no id of a model"),
        ([*MODEL, "--parameters", "seven"], 1, "--parameters seven is no number"),
        ([*MODEL, "--scheme", "w4a16_rtn"], 2, "--scheme does not go with --from"),
        ([*MODEL, "recipe.yaml"], 2, "a recipe or model does not go with --from"),
        ([*MODEL, "--relation", "child"], 2, "child"),
    ],
)
def test_wrong_words(
    results: Path, tmp_path: Path, run: Run, words: list[Any], code: int, said: str
) -> None:
    out = tmp_path / "card"
    found, _, error = run("--from", results, *words, "--out", out)
    assert (found, said in " ".join(error.split())) == (code, True), error
    assert "Traceback" not in error
    assert not out.exists()


def test_an_importer_must_say_what_it_read(tmp_path: Path, run: Run) -> None:
    """Else a card would show somebody's numbers as measured here."""
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from evalkit.importers.mt_bench import MtBenchImporter\n"
        "class Mine(MtBenchImporter):\n"
        "    def read(self, path):\n"
        "        found = super().read(path)\n"
        "        for one in found: one.result.provenance.pop('imported')\n"
        "        return found\n"
        "PLUGIN = Mine\n"
    )
    file = write(tmp_path / "j_single.jsonl", judgements())
    code, _, said = run("--from", file, "--importer", plugin, *MODEL, "--out", tmp_path / "card")
    assert (code, "does not say what it read" in " ".join(said.split())) == (1, True)
    assert not (tmp_path / "card").exists()


def test_nothing_to_import(tmp_path: Path, run: Run) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "nowhere"):
        code, _, said = run("--from", path, *MODEL)
        assert code == 1
        for name in ("alpaca_eval", "lm_eval", "mt_bench"):
            assert name in said
    assert run()[0] == 2
    code, _, said = run("--model", "me/mine", "x.yaml")
    assert (code, "--model goes with --from" in said) == (2, True)
