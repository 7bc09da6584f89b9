"""What lies beside a card: `.eval_results`, notices, a data set's card, the page of a family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from card_families import (
    CARD,
    HARNESS,
    RECIPE,
    card,
    changed,
    metadata,
    pocket_family,
    standard_score,
    with_results,
)

from evalkit import frontmatter
from evalkit.cards import PairsFacts, build_dataset_card, build_family_page, build_files
from evalkit.cards.regions import regions
from evalkit.errors import CardError
from evalkit.family import Family
from evalkit.leaderboard import conventional_columns
from evalkit.lint import context_of, lint
from evalkit.records import Score

# Source: publishing notes from stored cards; v1 as smol_llama-220M-GQA, v2 as
# UCLA-AGI/Llama-3-Instruct-8B-SPPO-Iter3 have them.
CONVENTIONS = """
arc_challenge; AI2 Reasoning Challenge (25-Shot); ai2_arc; ARC-Challenge; test; 25; acc_norm; normalized accuracy
hellaswag; HellaSwag (10-Shot); hellaswag; ; validation; 10; acc_norm; normalized accuracy
mmlu; MMLU (5-Shot); cais/mmlu; all; test; 5; acc; accuracy
truthfulqa_mc2; TruthfulQA (0-shot); truthful_qa; multiple_choice; validation; 0; mc2;
winogrande; Winogrande (5-shot); winogrande; winogrande_xl; validation; 5; acc; accuracy
gsm8k; GSM8k (5-shot); gsm8k; main; test; 5; acc; accuracy
leaderboard_ifeval; IFEval (0-Shot); HuggingFaceH4/ifeval; ; ; 0; inst_level_strict_acc and prompt_level_strict_acc; strict accuracy
leaderboard_bbh; BBH (3-Shot); BBH; ; ; 3; acc_norm; normalized accuracy
leaderboard_math_hard; MATH Lvl 5 (4-Shot); hendrycks/competition_math; ; ; 4; exact_match; exact match
leaderboard_gpqa; GPQA (0-shot); Idavidrein/gpqa; ; ; 0; acc_norm; acc_norm
leaderboard_musr; MuSR (0-shot); TAUR-Lab/MuSR; ; ; 0; acc_norm; acc_norm
leaderboard_mmlu_pro; MMLU-PRO (5-shot); TIGER-Lab/MMLU-Pro; main; test; 5; acc; accuracy
"""  # noqa: E501 - a row each


@pytest.mark.parametrize("row", CONVENTIONS.strip().splitlines())
def test_conventional_entries_are_those_of_stored_cards(row: str) -> None:
    task, name, kind, config, split, shots, metric, called = (c.strip() for c in row.split(";"))
    (entry,) = (c.model_index for c in conventional_columns() if c.task == task)
    assert entry is not None
    wanted = {"name": name, "type": kind, "config": config, "split": split}
    wanted = {key: value for key, value in wanted.items() if value}
    dataset = entry.dataset.model_dump(exclude_none=True)
    assert dataset == {**wanted, "args": {"num_few_shot": int(shots)}}
    assert (entry.metric.type, entry.metric.name) == (metric, called or None)


@pytest.mark.parametrize(("n", "kind"), [(805, "tatsu-lab/alpaca_eval"), (804, "alpaca_eval")])
def test_alpaca_eval_by_its_name_is_all_of_it_with_its_judge(n: int, kind: str) -> None:
    family = pocket_family()
    suite = family.member("iter2").results[1]
    scores = tuple(
        replace(score, task="alpaca_eval", n=n, missing=0)
        for score in suite.scores
        if score.metric in ("win_rate", "avg_length")
    )
    family = replace(changed(family, "iter2", results=(replace(suite, scores=scores),)),
                     comparisons=())  # fmt: skip
    (entry,) = metadata(family, "iter2")["model-index"][0]["results"]
    assert entry["dataset"]["type"] == kind
    assert "rule" in (entry["dataset"]["args"].get(key) for key in ("annotator", "judge"))


def gsm8k(shots: int, n: int = 1319, **settings: object) -> Score:
    score = standard_score("gsm8k", "exact_match", shots, n, 70.0 + shots)
    return replace(score, settings={**score.settings, "filter": "strict-match", **settings})


def beside(family: Family) -> dict[str, bytes]:
    return build_files(family, family.member("iter2"))


def test_gsm8k_of_five_and_of_no_shots_stay_apart() -> None:
    family = with_results(pocket_family(), "iter2", gsm8k(5), gsm8k(0))
    entries = metadata(family, "iter2")["model-index"][0]["results"]
    assert [entry["dataset"]["name"] for entry in entries] == ["GSM8k (5-shot)", "GSM8K"]
    assert [entry["metrics"][0]["value"] for entry in entries] == [75.0, 70.0]


def test_registered_benchmarks_get_a_file_that_the_hub_library_reads() -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    parse = getattr(huggingface_hub, "parse_eval_result_entries", None)
    if parse is None:
        from huggingface_hub._eval_results import parse_eval_result_entries as parse
    arc = standard_score("arc_challenge", "acc_norm", 25, 1172, 60.0)
    family = with_results(pocket_family(), "iter2", gsm8k(5), gsm8k(0), arc)
    files = {path for path in beside(family) if path.startswith(".eval_results")}
    assert files == {".eval_results/gsm8k.yaml"}  # ARC is not registered
    entries = parse(yaml.safe_load(beside(family)[".eval_results/gsm8k.yaml"]))
    assert [(e.dataset_id, e.task_id, e.value) for e in entries] == [
        ("openai/gsm8k", "gsm8k", 75.0), ("openai/gsm8k", "gsm8k", 70.0),
    ]  # fmt: skip
    assert entries[0].notes.startswith("5-shot, without a chat template, strict-match")
    assert HARNESS in entries[0].notes and "n=1319" in entries[0].notes
    assert entries[0].source_name == "lm-evaluation-harness 0.4.13 (self-reported)"


@pytest.mark.parametrize("score", [gsm8k(5, n=100), gsm8k(5, not_comparable="other prompts")])
def test_what_is_not_the_benchmark_is_not_sent_to_it(score: Score) -> None:
    assert not any(
        p.startswith(".eval") for p in beside(with_results(pocket_family(), "iter2", score))
    )


def on(base: str, licence: str) -> Family:
    """The family as if it came from a published base."""
    family = pocket_family()
    foreign = replace(family.members[0].checkpoint, revision="a" * 40)
    family = changed(family, "base", checkpoint=foreign, repo_id=None, built="")
    return replace(family, base_source=base, card={**CARD, "license": licence})


def test_the_licence_chain_is_told_and_its_notice_lies_beside() -> None:
    family = on("google/gemma-2-9b-it", "gemma")
    text, files = card(family, "iter2"), beside(family)
    chain = text.split("## Licence")[1].split("## Citation")[0]
    assert chain.index("google/gemma-2-9b-it") < chain.index("[google/gemma-2-9b]")
    assert "prohibited_use_policy" in chain and "[NOTICE](NOTICE)" in chain
    assert b"Gemma Terms of Use" in files["NOTICE"]
    assert "NOTICE" not in beside(pocket_family())
    with pytest.raises(CardError, match="may not be published") as caught:
        card(on("google/gemma-2-9b-it", "apache-2.0"), "iter2")
    assert "gemma" in str(caught.value.problems)
    with pytest.raises(CardError, match="may not be published") as caught:
        card(on("meta-llama/Meta-Llama-3-8B-Instruct", "llama3"), "iter2")
    assert "begins with 'Llama 3'" in str(caught.value.problems)


def test_commands_that_measure_again_stand_with_the_suite() -> None:
    benchmarks = [{"name": "lm_eval_tasks", "tasks": ["pocket_exact"]}, {"name": "mt_bench"}]
    recipe = {**RECIPE, "evaluation": {"benchmarks": benchmarks, "judge": {"name": "rule"}}}
    text = card(replace(pocket_family(), recipe=recipe), "iter2")
    assert text.count("Measure it again:") == 2
    assert "evalkit evaluate pocket/Pocket-SPPO-Iter2 --benchmark 'lm_eval_tasks:tasks=" in text


def test_hardware_and_energy_where_somebody_states_them() -> None:
    said = {**CARD, "hardware": "8 x A100 *80 GB*", "energy": "12 kWh"}
    text = card(replace(pocket_family(), card=said), "iter2")
    assert "- hardware: 8 x A100 \\*80 GB\\*\n- energy: 12 kWh\n" in text
    assert "Hardware" not in card(pocket_family(), "iter2")


FACTS = PairsFacts("data/train.jsonl", 1204, 1500, "f" * 64, "pocket/Pocket-SPPO-Iter2-pairs")


def test_golden_dataset_card(golden: Callable[[str, str], None]) -> None:
    family = pocket_family()
    text = build_dataset_card(family, family.member("iter2"), FACTS)
    golden("cards/dataset.md", text)
    found = frontmatter.parse(text).metadata
    assert found["configs"][0]["data_files"] == [{"split": "train", "path": "data/train.jsonl"}]
    assert found["size_categories"] == ["1K<n<10K"]
    huggingface_hub = pytest.importorskip("huggingface_hub")
    assert huggingface_hub.DatasetCard(text).data.to_dict() == found
    with pytest.raises(CardError, match="was not trained by evalkit"):
        build_dataset_card(family, family.member("base"), FACTS)


def test_golden_family_page(golden: Callable[[str, str], None]) -> None:
    family = pocket_family()
    text = build_family_page(family)
    golden("cards/family.md", text)
    for member in family.members:
        assert f"[{member.title}](https://huggingface.co/{member.repo_id})" in text
    assert [one.name for one in regions(text)] == ["introduction", "limitations"]


@pytest.mark.slow
def test_the_cards_of_a_run_pass_lint_in_their_folders(micro_run: Path) -> None:
    """Every link to records, pictures and results leads somewhere, before anything is published."""
    cards = sorted((micro_run / "run/steps/cards").glob("*/README.md"))
    assert len(cards) == 5
    for file in cards:
        found = lint(context_of(file.parent))
        assert [one for one in found if one.severity == "error"] == [], file
