"""Cards of models that evalkit has not trained: five published systems, and mistaken orders."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from evalkit import frontmatter
from evalkit.cards import CARD_FILE, Book, build_files, records_of
from evalkit.cli import main
from evalkit.errors import RecipeError
from evalkit.lint import context_of, lint
from evalkit.pipeline.card_order import read_order
from evalkit.pipeline.ordered_card import build
from evalkit.pipeline.ordered_family import family_of
from evalkit.score_records import read_store

ORDERS = Path(__file__).parent / "card_orders"
SYSTEMS = ["gemma-iter3", "gemma-iter3-4bit", "gemma-iter2-fp8", "mistral-iter1", "spin-phi2"]


@cache
def files_of(name: str) -> dict[str, bytes]:
    order = read_order(ORDERS / f"{name}.yaml")
    family = family_of(order, f"evalkit card build {name}.yaml")
    return build_files(family, family.member(order.model), book=Book(records_of(family)))


def card_of(name: str) -> str:
    return files_of(name)[CARD_FILE].decode()


def rows(text: str, after: str) -> dict[str, list[str]]:
    """The first table behind a text: first cell, without its link, to the others."""
    block = text[text.index(after) :]
    lines = block[block.index("| Model |") :].split("\n\n")[0].splitlines()[2:]
    found = {}
    for line in lines:
        name, *cells = (cell.strip() for cell in line.strip("|").split(" | "))
        found[re.sub(r"\*\*|\[|\]\(.*?\)", "", name).strip()] = cells
    return found


@pytest.mark.parametrize("name", SYSTEMS)
def test_golden_cards(name: str, golden: Callable[[str, str], None]) -> None:
    text = card_of(name)
    # Pictures need matplotlib, which is optional: their own tests look at what they tell.
    golden(f"cards/orders/{name}.md", re.sub(r"(?m)^\[!\[.*\n\n", "", text))


@pytest.mark.parametrize("name", SYSTEMS)
def test_built_and_linted_by_the_commands_that_a_stranger_has(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name
    with pytest.raises(SystemExit) as built:
        main(["card", "build", str(ORDERS / f"{name}.yaml"), "--out", str(out), "--json"])
    assert not built.value.code
    assert json.loads(capsys.readouterr().out)["card"] == str(out / CARD_FILE)
    errors = [one for one in lint(context_of(out)) if one.severity == "error"]
    assert errors == []
    store = read_store(out)  # raises where a record was altered, or one that is cited is gone
    assert store is not None and store.citations
    assert {record.origin for record in store.records.values()} == {"reported"}


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_hub_library_reads_it_and_writes_it_back_whole(name: str) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    text = card_of(name)
    read = huggingface_hub.ModelCard(text)
    again = huggingface_hub.ModelCard(str(read)).data
    wanted = frontmatter.parse(text).metadata
    for key in ("license", "base_model", "base_model_relation", "new_version", "datasets", "tags"):
        assert getattr(again, key, None) == wanted.get(key)
    entries = wanted.get("model-index", [{"results": []}])[0]["results"]
    values = [metric["value"] for entry in entries for metric in entry["metrics"]]
    assert [one.metric_value for one in again.eval_results or []] == values


def test_gemma_iter3() -> None:
    text = card_of("gemma-iter3")
    table = rows(text, "## Results")
    assert table["Gemma-2-9B-It-SPPO-Iter1"] == ["48.70", "40.76", "1669"]
    assert table["Gemma-2-9B-It-SPPO-Iter2"] == ["50.93", "44.64", "1759"]
    own = re.search(r"(?m)^\| \*\*\[Gemma-2-9B-It-SPPO-Iter3\].*$", text)
    assert own is not None
    assert own[0].endswith("| **53.27** | **47.74** | **1803** |")
    assert "according to [the leaderboard that ran it]" in text
    assert "length-controlled win rate 53.97; AlpacaEval: win rate 48.23" in text
    for setting in ("| eta (η) | 1000 |", "| learning rate | 5e-7 |", "| optimizer | RMSProp |"):
        assert setting in text
    assert "@article{wu2024self," in text
    metadata = frontmatter.parse(text).metadata
    assert metadata["license"] == "gemma"
    assert "Gemma Terms of Use" in text and "apache" not in text.lower()
    assert "9.24 B parameters and a context of 8,192 tokens" in text
    assert b"ai.google.dev/gemma/terms" in files_of("gemma-iter3")["NOTICE"]
    assert metadata["model-index"][0]["results"][0]["dataset"] == {
        "name": "AlpacaEval 2.0",
        "type": "tatsu-lab/alpaca_eval",
        "config": "alpaca_eval_gpt4_baseline",
        "split": "eval",
        "args": {"annotator": "not stated"},
    }


@pytest.mark.parametrize(
    ("name", "parent", "scores"),
    [
        ("gemma-iter3-4bit", "Gemma-2-9B-It-SPPO-Iter3", ["53.27", "47.74", "1803"]),
        ("gemma-iter2-fp8", "Gemma-2-9B-It-SPPO-Iter2", ["50.93", "44.64", "1759"]),
    ],
)
def test_scores_of_a_parent_are_the_parents(name: str, parent: str, scores: list[str]) -> None:
    text = card_of(name)
    metadata = frontmatter.parse(text).metadata
    assert "model-index" not in metadata
    assert metadata["base_model"] == f"UCLA-AGI/{parent}"
    assert metadata["base_model_relation"] == "quantized"
    assert f"**These are the scores of its parent, [{parent}]" in text
    table = rows(text, "## Results")
    assert table[parent] == scores
    (own,) = (cells for title, cells in table.items() if title.endswith(("4bit", "FP8")))
    assert own == ["**–**"] * 3
    assert "Apache" not in text


def test_mistral_iter1() -> None:
    text = card_of("mistral-iter1")
    assert frontmatter.parse(text).metadata["new_version"] == "UCLA-AGI/Mistral7B-PairRM-SPPO-Iter3"
    own = "Mistral7B-PairRM-SPPO-Iter1"
    assert rows(text, "### AlpacaEval 2")[own] == ["**24.79**", "**23.51**", "**1855**"]
    assert rows(text, "### MT-Bench")[own] == ["**7.21**"]
    assert rows(text, "### Open LLM Leaderboard v1")[own] == ["**66.67**", "**65.02**", "**69.40**"]
    assert f"of {own} cannot be checked: 4 of its 6 parts are not known here" in text
    assert "K = 5" in text


def test_spin_phi2() -> None:
    text = card_of("spin-phi2")
    assert "**pretrain** → **dpo(spin)** → sft → dpo(spin)" in text
    cells = rows(text, "## Results")["spin-phi2"]
    assert cells == ["**61.68**", "**63.57**", "**75.57**", "**–**", "**–**", "**73.48**"]
    assert "3 of its 6 parts are not known here" in text
    assert "[MIT](https://huggingface.co/microsoft/phi-2" in text
    assert "context of 2,048 tokens" in text


FIGURE = "figures: [{{task: t, metric: m, value: {}, source: {}, date: 2024-01-02}}]\n"
ORDER = "model: me/mine\ncard: {license: mit}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: me/mine\n", r"card.*missing|card: .*required|card.*give"),
        (ORDER + "basis: x/y\n", "basis"),
        (ORDER + "base: not an id\n", "no id of a model on the Hub"),
        (ORDER + "siblings: [me/mine]\n", "named twice"),
        (ORDER + "new_version: me/other\n", "none of the siblings"),
        (ORDER + "schedule: {steps: [a], reached: 2}\n", "there are 1 steps"),
        (ORDER + "quantized: {to: FP8}\nrelation: merge\n", "its relation is 'merge'"),
        (ORDER + FIGURE.format("high", "'https://x.y'"), "value"),
        (ORDER + FIGURE.format("1.5", "nowhere"), "source"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "order.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError) as caught:
        read_order(file)
    told = f"{caught.value.message} {[tuple(one) for one in caught.value.problems]}"
    assert re.search(said, told), told
    assert "order.yaml:" in told


def test_a_licence_that_its_base_forbids_is_no_card(tmp_path: Path) -> None:
    file = tmp_path / "order.yaml"
    file.write_text("model: me/mine\nbase: google/gemma-2-9b-it\ncard: {license: apache-2.0}\n")
    with pytest.raises(Exception, match="may not be published") as caught:
        build(read_order(file), tmp_path / "card", "evalkit card build order.yaml")
    assert "Gemma Terms of Use" in str(caught.value.problems)  # type: ignore[attr-defined]
    assert not (tmp_path / "card").exists()


def test_llama_3_obliges_to_a_name_and_a_line(tmp_path: Path) -> None:
    file = tmp_path / "order.yaml"
    base = "base: meta-llama/Meta-Llama-3-8B-Instruct\ncard: {license: llama3}\n"
    file.write_text("model: me/Mine-8B\n" + base)
    with pytest.raises(Exception, match="may not be published"):
        build(read_order(file), tmp_path / "card", "again")
    file.write_text("model: me/Llama-3-Mine-8B\n" + base)
    text = build(read_order(file), tmp_path / "card", "again").card.read_text()
    assert "**Built with Meta Llama 3**" in text.split("## Results")[0]
    assert (tmp_path / "card" / "NOTICE").is_file()


def test_figures_of_ones_own(tmp_path: Path) -> None:
    """What somebody states stands as printed, with its page, and a wrong mean is told."""
    tasks = ["arc_challenge", "hellaswag", "mmlu", "truthfulqa_mc2", "winogrande", "gsm8k"]
    figure = (
        "  - {{task: {0}, metric: {1}, value: '{2}', source: 'https://example.org/page',"
        " date: 2024-05-01, settings: {{leaderboard: open_llm_v1}}}}\n"
    )
    metrics = ["acc_norm", "acc_norm", "acc", "acc", "acc", "exact_match"]
    lines = [figure.format(t, m, "60.10") for t, m in zip(tasks, metrics, strict=True)]
    lines.append(figure.format("average", "average", "61.00"))
    file = tmp_path / "order.yaml"
    file.write_text(ORDER + "figures:\n" + "".join(lines))
    text = build(read_order(file), tmp_path / "card", "again").card.read_text()
    assert rows(text, "## Results")["mine"] == ["**61.00**", *["**60.10**"] * 6]
    assert "is not the mean of its 6 parts, which is 60.10" in text
    assert "[the model's publisher](https://example.org/page), 2024-05-01" in text
