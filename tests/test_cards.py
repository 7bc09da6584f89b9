"""Cards say what the records say, to readers and to Hubs."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
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
from markdown_it import MarkdownIt

from evalkit import frontmatter
from evalkit.card_reading import read
from evalkit.errors import CardError
from evalkit.family import Family, GateFacts, GateOutcome
from evalkit.lint import Context, lint
from evalkit.records import Comparison, Score, from_json, to_json

READER = MarkdownIt("commonmark").enable("table")
NAMES = [member.checkpoint.name for member in pocket_family().members]


@pytest.mark.parametrize("name", NAMES)
def test_golden_cards(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"cards/{name}.md", card(pocket_family(), name))


@pytest.mark.parametrize("name", NAMES)
def test_every_card_passes_lint(name: str) -> None:
    """Without an error; of warnings, only those that are about other models of the family."""
    found = lint(Context(read(card(pocket_family(), name))))
    assert [one for one in found if one.severity == "error"] == []
    assert {one.rule for one in found} <= {"EK504"}  # a sibling's method is named, not cited


# --- what Hubs read ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_hub_library_reads_every_result(name: str) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    family = pocket_family()
    member = family.member(name)
    read = huggingface_hub.ModelCard(card(family, name)).data
    scores = [score for result in member.results for score in result.scores]
    assert read.model_name == member.title
    assert [(r.dataset_type, r.metric_type, r.metric_value) for r in read.eval_results] == [
        (score.task.replace("/", "_"), score.metric, round(score.value, 2)) for score in scores
    ]
    assert [r.metric_args["n"] for r in read.eval_results] == [score.n for score in scores]
    assert all(r.source_name.endswith("(self-reported)") for r in read.eval_results)
    assert all(r.dataset_args.get("judge") == "rule" for r in read.eval_results[4:])


def test_lineage_in_the_front_matter() -> None:
    family = pocket_family()
    relations = {
        name: (found.get("base_model"), found.get("base_model_relation"), found.get("new_version"))
        for name in NAMES
        for found in [metadata(family, name)]
    }
    newest = "pocket/Pocket-SPPO-Iter2"
    assert relations == {
        "base": (None, None, None),
        "iter1": ("pocket/Pocket-SPPO-Base", "finetune", newest),
        "iter2": ("pocket/Pocket-SPPO-Iter1", "finetune", None),
        "iter2-w4a16_gptq": (newest, "quantized", None),
        "iter2-fp8_dynamic": (newest, "quantized", None),
    }
    assert metadata(family, "iter2-w4a16_gptq")["quantized_by"] == "evalkit"
    assert metadata(family, "iter1")["language"] == ["en", "no"]


def from_the_hub(source: str, revision: str | None) -> Family:
    """The family on a base that somebody else made."""
    family = pocket_family()
    base = family.members[0]
    foreign = replace(base.checkpoint, revision=revision)
    family = changed(family, "base", checkpoint=foreign, repo_id=None, built="")
    return replace(family, base_source=source)


def test_a_base_from_the_hub() -> None:
    family = from_the_hub("org/model-of-unknown-terms", "a" * 40)
    assert metadata(family, "iter1")["base_model"] == "org/model-of-unknown-terms"
    text = card(family, "iter2")
    assert "https://huggingface.co/org/model-of-unknown-terms" in text
    assert "whose own licence binds its derivatives too" in text
    with pytest.raises(CardError, match="was not made by evalkit"):
        card(family, "base")


def test_a_base_from_a_folder_is_not_named() -> None:
    family = from_the_hub("/home/me/models/secret-base", None)
    for name in NAMES[1:]:
        assert "/home/me" not in card(family, name)
    assert "base_model" not in metadata(family, "iter1")
    assert "secret-base" not in card(family, "iter1")


def test_hub_ids_of_data_sets_are_inherited() -> None:
    family = pocket_family()
    training = family.member("iter1").training
    assert training is not None
    data = {"name": "UltraFeedback", "dataset": "openbmb/UltraFeedback", "revision": "b" * 40}
    family = changed(family, "iter1", training=replace(training, data=data))
    for name in NAMES[1:]:
        assert metadata(family, name)["datasets"] == ["openbmb/UltraFeedback"]
    assert "datasets" not in metadata(family, "base")
    bad = {**data, "dataset": "/data/UltraFeedback"}
    family = changed(family, "iter1", training=replace(training, data=bad))
    assert "datasets" not in metadata(family, "iter1")


def test_conventional_names_only_where_the_test_is_the_conventional_one() -> None:
    family = with_results(
        pocket_family(),
        "iter2",
        standard_score("arc_challenge", "acc_norm", 25, 1172, 64.93),
        standard_score("arc_challenge", "acc", 25, 1172, 60.11),
        standard_score("hellaswag", "acc_norm", 10, 100, 80.0),  # a part of its items
        standard_score("winogrande", "acc", 0, 1267, 70.0),  # other shots
        replace(
            standard_score("truthfulqa_mc2", "acc", 0, 817, 55.0),
            settings={"few_shot": 0, "chat_template": True, "harness": HARNESS},
        ),
    )
    results = metadata(family, "iter2")["model-index"][0]["results"]
    conventional = results[0]
    assert conventional["dataset"] == {
        "name": "AI2 Reasoning Challenge (25-Shot)",
        "type": "ai2_arc",
        "config": "ARC-Challenge",
        "split": "test",
        "args": {"num_few_shot": 25},
    }
    assert conventional["metrics"][0]["name"] == "normalized accuracy"
    assert conventional["metrics"][0]["value"] == 64.93
    assert [r["dataset"]["type"] for r in results[1:]] == [
        "arc_challenge", "hellaswag", "winogrande", "truthfulqa_mc2",
    ]  # fmt: skip
    for result in results:
        assert result["source"]["name"] == "lm-evaluation-harness 0.4.13 (self-reported)"
        assert "open_llm_leaderboard" not in result["source"]["url"]


def test_one_task_under_two_settings_stays_two_results() -> None:
    """The Hub library merges entries of one type, config and split: the second gets its own."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    scores = [standard_score("gsm8k", "exact_match", shots, 100, 40.0 + shots) for shots in (5, 0)]
    family = with_results(pocket_family(), "iter2", *scores)
    again = huggingface_hub.ModelCard(str(huggingface_hub.ModelCard(card(family, "iter2"))))
    found = [(r.dataset_args["few_shot"], r.metric_value) for r in again.data.eval_results]
    assert found == [(5, 45.0), (0, 40.0)]


def test_a_licence_without_its_text_is_refused() -> None:
    family = replace(pocket_family(), card={**CARD, "license": "other", "license_name": "mine"})
    with pytest.raises(CardError, match="license_link is missing"):
        card(family, "iter1")
    whole = {**CARD, "license": "other", "license_name": "mine", "license_link": "LICENSE"}
    text = card(replace(family, card=whole), "iter1")
    assert "released under [mine](LICENSE)" in text


# --- what people read -------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_numbers_equal_the_records(name: str) -> None:
    """The table of results, cell by cell, against the records of every member."""
    family = pocket_family()
    lines = card(family, name).split("## Results")[1].split("\n\n")[1].splitlines()
    assert len(lines) == 2 + len(family.members)
    for line, member in zip(lines[2:], family.members, strict=True):
        own = member.checkpoint.name == name
        assert line.count("**") == (12 if own else 0)
        title, *cells = [cell.strip(" *") for cell in line.strip("|").split(" | ")]
        assert member.title in title
        first = [result.scores[0] for result in member.results]
        wanted = [*member.results[0].scores[:3], *first[1:]]
        for cell, score in zip(cells, wanted, strict=True):
            digits = 2 if score.scale == "rating" else 1
            numbers = [float(number) for number in re.findall(r"\d+\.\d+", cell)]
            assert numbers == [
                round(x or 0.0, digits) for x in (score.value, score.ci_low, score.ci_high)
            ]


@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_those_of_the_files(name: str) -> None:
    """Nothing about the model itself is typed by hand: other facts give another card."""
    family = pocket_family()
    model = family.member(name).model
    other = replace(model, parameters=2_500_000_000, context_length=4321, size_bytes=7_770_000)
    before, after = card(family, name), card(changed(family, name, model=other), name)
    assert f"- parameters: {model.parameters:,}\n" in before
    for stated in ("- parameters: 2,500,000,000\n", "size of all weight files: 7.77 MB\n"):
        assert stated in after
    assert f"{model.parameters:,}" not in after
    if family.member(name).kind != "variant":
        assert "a model of 2.50 B parameters" in after.replace("a chat model", "a model")
        assert "context of 4,321 tokens" in after


def test_comparisons_in_words() -> None:
    family = pocket_family()
    worse = Comparison(
        "lm_eval_tasks", "pocket_choice", "acc_norm", "base", "iter1",
        -4.0, -7.0, -1.0, 0.012, 400, "paired bootstrap",
    )  # fmt: skip
    text = card(replace(family, comparisons=(*family.comparisons, worse)), "iter1")
    assert "better on Pocket exact: exact match (+18.3 [13.1, 23.4] points)" in text
    assert "worse on Pocket choice: normalized accuracy (−4.0 [−7.0, −1.0] points)" in text
    assert "no significant difference on Pocket exact" in card(family, "iter2-fp8_dynamic")


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        ("better", "**Better than [Pocket-SPPO-Iter1]"),
        ("no significant difference", "**No significant gain over [Pocket-SPPO-Iter1]"),
        ("worse", "**Significantly worse than [Pocket-SPPO-Iter1]"),
        ("not compared", "**Not compared with [Pocket-SPPO-Iter1]"),
    ],
)
def test_the_gate_is_told_where_it_is_to_be(outcome: GateOutcome, said: str) -> None:
    facts = GateFacts(outcome, 3, 0.9, told=True)
    text = card(changed(pocket_family(), "iter2", gate=facts), "iter2")
    assert said in text
    assert ("90 % confidence in 3 comparisons together" in text) == (outcome != "not compared")
    assert said not in card(
        changed(pocket_family(), "iter2", gate=replace(facts, told=False)), "iter2"
    )


def test_what_each_iteration_saw_is_told() -> None:
    family = pocket_family()
    facts = family.member("iter2").training
    assert facts is not None
    earlier = {"iteration": "iter1", "prompts": 20_000, "digest": "c" * 64}
    facts = replace(facts, trained_on=(earlier, *facts.trained_on))
    text = card(changed(family, "iter2", training=facts), "iter2")
    assert "| `aaaaaaaaaaaa` | iter1 (20,000), iter2 (1,500) |" in text
    assert "[`lineage.json`](lineage.json)" in text


def test_lower_is_better_where_it_is() -> None:
    family = pocket_family()
    perplexity = Score("wikitext", "word_perplexity", 12.5, 62, "ratio", higher_is_better=False)
    family = with_results(family, "iter2", perplexity)
    fall = Comparison(
        "lm_eval_tasks", "wikitext", "word_perplexity", "base", "iter2",
        -2.0, -3.0, -1.0, 0.001, 62, "paired bootstrap",
    )  # fmt: skip
    text = card(replace(family, comparisons=(fall,)), "iter2")
    assert "better on wikitext: word" in text
    assert "lower is better" in text


def test_a_variant_shows_its_own_scores_beside_its_parents() -> None:
    text = card(pocket_family(), "iter2-w4a16_gptq")
    assert "| Benchmark | Pocket-SPPO-Iter2 | Pocket-SPPO-Iter2-W4A16 | Recovery [95 %] |" in text
    assert "| 61.3 [55.9, 66.7] | 60.0 [54.6, 65.4] | 97.8 [94.1, 101.4] % |" in text
    assert "On the mean of 2 benchmarks" in text
    assert "98.9 [97.0, 100.7] % is kept; paired bootstrap (10000 draws, seed 0)." in text
    assert "Perplexity of responses: 2.366, of the parent 2.360 (567 tokens of 128" in text
    assert "of the weights as transformers decompresses them" in text
    assert "62.0 % of the parent's" in text
    assert "vllm serve pocket/Pocket-SPPO-Iter2-W4A16" in text
    assert "frantar2022gptq" in text


def test_a_variant_of_which_nothing_was_compared_item_by_item_has_no_intervals() -> None:
    text = card(pocket_family(), "iter2-fp8_dynamic")
    text = text[text.index("### Recovery") : text.index("## Use")]
    assert re.search(r"\| \d+\.\d % \|", text)
    assert not re.search(r"\] % \|", text)
    assert "On the mean" not in text
    assert "Perplexity" not in text


def test_unlike_measurements_are_called_so() -> None:
    family = pocket_family()
    parent, variant = family.member("iter2"), family.member("iter2-fp8_dynamic")
    scores = [replace(s, settings={**s.settings, "few_shot": 5}) for s in variant.results[0].scores]
    unlike = replace(variant.results[0], scores=tuple(scores))
    family = changed(family, "iter2-fp8_dynamic", results=(unlike, *variant.results[1:]))
    text = card(family, "iter2-fp8_dynamic")
    assert text.count("not comparable: measured differently") == 3
    assert "not comparable with the others: few\\_shot is 5" in text or "few_shot is 5" in text
    assert parent.results[0].scores[0].settings["few_shot"] == 0


def test_a_family_on_a_local_hub_links_without_a_host() -> None:
    recipe = {**RECIPE, "publish": {"endpoint": "local", "namespace": "pocket"}}
    text = card(replace(pocket_family(), recipe=recipe), "iter2")
    assert "(/pocket/Pocket-SPPO-Iter1)" in text
    assert "huggingface.co/pocket" not in text
    assert "HF_ENDPOINT" in text


def test_an_unpublished_family_links_nothing() -> None:
    family = pocket_family()
    for name in NAMES:
        family = changed(family, name, repo_id=None)
    family = replace(family, published=False)
    text = card(family, "iter2")
    assert "base_model" not in frontmatter.parse(text).metadata
    assert "](https://huggingface.co/pocket" not in text
    assert '"./Pocket-SPPO-Iter2"' in text


def test_an_unknown_method_and_no_results() -> None:
    family = pocket_family()
    training = family.member("iter1").training
    assert training is not None
    family = replace(family, comparisons=())
    for name in NAMES:
        family = changed(family, name, results=())
    family = changed(family, "iter1", training=replace(training, method="mine", judge=None))
    text = card(family, "iter1")
    assert "No benchmark was run." in text
    assert " after\nMINE" in text or " after\nmine" in text
    assert "model-index" not in frontmatter.parse(text).metadata


def test_iterations_are_counted_by_their_method() -> None:
    """After one round of SFT, the first SPPO iteration is iteration 1 of SPPO."""
    family = pocket_family()
    training = family.member("iter1").training
    assert training is not None
    family = changed(family, "iter1", training=replace(training, method="sft"))
    text = card(family, "iter2")
    assert "after\niteration 1 of\n[Self-Play Preference Optimization (SPPO)]" in text
    assert "(https://huggingface.co/pocket/Pocket-SPPO-Iter1): SFT, 3.66 MB" in text
    assert "after\nsupervised fine-tuning (SFT):" in card(family, "iter1")


def backwards(value: Any) -> Any:
    """The same records, every mapping in them written in the opposite order."""
    if isinstance(value, dict):
        return {key: backwards(item) for key, item in reversed(value.items())}
    return [backwards(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_facts_does_not_matter(name: str) -> None:
    """A resumed run reads facts back from files: its cards are those of an unbroken one."""
    family = pocket_family()
    assert card(from_json(Family, backwards(to_json(family))), name) == card(family, name)
