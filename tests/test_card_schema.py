"""A card's metadata against the written schema: every fault with its path, and no crash."""

import math
from dataclasses import replace
from typing import Any

import numpy
import pytest
from card_families import card, pocket_family
from hypothesis import given
from hypothesis import strategies as st

from evalkit import frontmatter, resources
from evalkit.card_schema import Fault, check, check_eval_results, validate
from evalkit.errors import CardError
from evalkit.hub import metadata

RESULT: dict[str, Any] = {
    "task": {"type": "text-generation"},
    "dataset": {"type": "gsm8k", "name": "GSM8k (5-shot)", "args": {"num_few_shot": 5}},
    "metrics": [{"type": "acc", "value": 41.5}],
}
GOOD = """\
language:
- en
- zh-Hant
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [sppo]
datasets: me/prompts
base_model: me/base
base_model_relation: finetune
new_version: me/better
quantized_by: me
model-index:
- name: m
  results:
  - task: {type: text-generation, name: Text Generation}
    dataset: {type: gsm8k, name: GSM8k (5-shot), config: main, split: test, args: {num_few_shot: 5}}
    metrics:
    - {type: acc, value: 41.5, name: accuracy}
    source: {url: https://example.org, name: us}
"""


# Each list holds the one before nine times: more than a thousand million in the end.
LAUGHS = "x0: &x0 [x]\n" + "\n".join(
    f"x{n + 1}: &x{n + 1} [{', '.join([f'*x{n}'] * 9)}]" for n in range(9)
)


def index(*results: dict[str, Any]) -> dict[str, Any]:
    return {"model-index": [{"name": "m", "results": list(results)}]}


FIRST = "model-index.0.results.0"


def told(faults: tuple[Fault, ...]) -> list[tuple[str, str, str]]:
    return [(fault.where, fault.kind, fault.severity) for fault in faults]


def test_a_good_card_has_no_fault() -> None:
    assert check(GOOD) == ()


@pytest.mark.parametrize(
    ("block", "where", "kind", "severity"),
    [
        ("a: [", "", "syntax", "error"),
        ("- a", "", "syntax", "error"),
        ("a: &x [*x]", "", "syntax", "error"),
        ("tags: [a]\ntags: [b]", "tags", "duplicate", "error"),
        ("value: !!python/object/apply:float [1]", "value", "type", "error"),
        ("language: no", "language", "trap", "error"),
        ("language: [en, no]", "language.1", "trap", "error"),
        ("version: 2024-01-01", "version", "trap", "warning"),
        ("version: 12:30", "version", "trap", "warning"),
        ("version: 010", "version", "trap", "warning"),
        ("licence: mit", "licence", "misspelt", "error"),
        ("pipeline_tags: text-generation", "pipeline_tags", "misspelt", "error"),
        ("dataset: a/b", "dataset", "misspelt", "error"),
        ("my_own_thing: 1", "my_own_thing", "unknown", "warning"),
        ("tags: 7", "tags", "type", "error"),
        ("tags: [a, 7]", "tags.1", "type", "error"),
        ("tags:", "tags", "type", "warning"),
        ("extra: .nan", "extra", "type", "error"),
        ("1: x", "1", "type", "error"),
        ("language: English", "language", "value", "warning"),
        ("pipeline_tag: chatting", "pipeline_tag", "value", "warning"),
        ("base_model: a/b\nbase_model_relation: child", "base_model_relation", "value", "error"),
        ("base_model_relation: merge", "base_model_relation", "value", "warning"),
        ("base_model: my_sft", "base_model", "value", "error"),
        ("base_model: [a/b, ./out]", "base_model.1", "value", "error"),
        ("base_model: https://huggingface.co/a/b", "base_model", "value", "error"),
        ("new_version: newer", "new_version", "value", "error"),
        ("license: Apache-2.0", "license", "license", "error"),
        ("license: [mit, nonsense]", "license.1", "license", "error"),
        ("license: qwen", "license", "license", "error"),
        ("license: other", "license", "license", "warning"),
        ("license: mit\nlicense_name: mine", "license_name", "license", "warning"),
    ],
)
def test_every_fault_has_its_path(block: str, where: str, kind: str, severity: str) -> None:
    found = [fault for fault in told(check(block)) if fault[1] != "unknown" or kind == "unknown"]
    assert found == [(where, kind, severity)]


@pytest.mark.parametrize("block", ["base_model: gpt2", "base_model: a/b.c-d_e", "tags: ['no']", ""])
def test_what_is_right(block: str) -> None:
    assert check(block) == ()


def test_fixes_say_what_to_write() -> None:
    assert check("licence: mit")[0].fix == "write 'license'"
    assert check("license: Apache License 2.0")[0].fix == "write 'apache-2.0'"
    assert "license_name: qwen" in check("license: qwen")[0].fix
    assert "'text-generation'" in check("pipeline_tag: text-generator")[0].fix
    assert check("base_model: https://huggingface.co/a/b")[0].fix == "write a/b"


@pytest.mark.parametrize(
    ("change", "where", "severity"),
    [
        ({"task": {}}, f"{FIRST}.task", "error"),
        ({"dataset": {"type": "x"}}, f"{FIRST}.dataset", "error"),
        ({"metrics": []}, f"{FIRST}.metrics", "error"),
        ({"metrics": [{"value": 1}]}, f"{FIRST}.metrics.0", "error"),
        ({"source": {"name": "us"}}, f"{FIRST}.source", "error"),
        ({"metrics": [{"type": "a", "value": "1 +/- 2"}]}, f"{FIRST}.metrics.0.value", "warning"),
        ({"dataset": {**RESULT["dataset"], "nmae": 1}}, f"{FIRST}.dataset.nmae", "warning"),
    ],
)  # fmt: skip
def test_shapes_of_results(change: dict[str, Any], where: str, severity: str) -> None:
    ((found, _, how),) = told(validate(index({**RESULT, **change})))
    assert (found, how) == (where, severity)


@pytest.mark.parametrize("value", [True, None, math.nan, math.inf, numpy.float64(1.0)])
def test_values_that_are_no_numbers(value: Any) -> None:
    (fault,) = validate(index({**RESULT, "metrics": [{"type": "acc", "value": value}]}))
    assert (fault.where, fault.kind) == (f"{FIRST}.metrics.0.value", "type")


def test_results_that_stand_twice_or_are_merged() -> None:
    assert told(validate(index(RESULT, RESULT))) == [
        ("model-index.0.results.1.metrics.0", "duplicate", "warning")
    ]
    other = {**RESULT, "metrics": [{"type": "acc", "value": 2}]}
    assert told(validate(index(RESULT, other)))[0][1:] == ("duplicate", "error")
    zero_shot = {**RESULT, "dataset": {**RESULT["dataset"], "args": {"num_few_shot": 0}}}
    assert told(validate(index(RESULT, zero_shot))) == [
        ("model-index.0.results.1.dataset", "results", "warning")
    ]
    two = {"model-index": [{"name": "a", "results": []}, {"name": "b", "results": []}]}
    assert told(validate(two)) == [("model-index.1", "results", "warning")]


@pytest.mark.parametrize(
    ("text", "where", "kind"),
    [
        ("- dataset: {id: a/b, task_id: t}\n  value: 1\n", None, None),
        ("- dataset: {id: a/b}\n  value: 1\n", "0.dataset", "results"),
        ("- dataset: {id: b, task_id: t}\n  value: 1\n", "0.dataset.id", "value"),
        ("- dataset: {id: a/b, task_id: t}\n  value: x\n", "0.value", "type"),
        ("- dataset: {id: a/b, task_id: t}\n  value: 1\n  date: 2025-01-15\n", "0.date", "trap"),
        ("- dataset: {id: a/b, task_id: t}\n  value: 1\n  date: 'May'\n", "0.date", "value"),
        ("- dataset: {id: a/b, task_id: t}\n  value: 1\n  source: {}", "0.source", "results"),
        ("dataset: {id: a/b, task_id: t}\n", "", "type"),
        ("[]", "", "results"),
        ("- [", "", "syntax"),
    ],
)  # fmt: skip
def test_files_of_eval_results(text: str, where: str | None, kind: str | None) -> None:
    found = told(check_eval_results(text))
    assert found == ([] if where is None else [(where, kind, "error")])


def test_cards_of_datasets_have_keys_of_their_own() -> None:
    assert validate({"task_categories": ["text-generation"], "pretty_name": "x"}, "dataset") == ()
    assert told(validate({"base_modle": "a/b"}, "model")) == [("base_modle", "misspelt", "error")]
    assert validate({"whatever": 1}, "space") == ()


def test_the_served_hub_refuses_what_the_schema_does() -> None:
    refused = metadata.check("---\nlicense: Apache-2.0\nlicence: mit\n---\n", "model")
    assert refused.errors == ("license: 'Apache-2.0' is no licence's id",)
    assert refused.warnings == ("licence: the key 'licence' means nothing",)
    assert metadata.check("# Title\n", "model").warnings
    assert metadata.check(f"---\n{GOOD}---\n", "model") == ((), ())


@pytest.mark.parametrize(
    "block",
    [
        "[" * 1500,
        LAUGHS,
        "a: " + "9" * 5000,
        "a: 2024-99-99",
        "? [a]\n: b",
        "a: !!binary x",
        "a: !!int",
        "a: !!bool x",
        "a: !!timestamp x",
    ],
)  # fmt: skip
def test_blocks_that_break_parsers_are_faults(block: str) -> None:
    check(block)
    frontmatter.lines_of(block)
    metadata.check(f"---\n{block}\n---\n", "model")
    metadata.read(f"---\n{block}\n---\n")


KEYS = st.sampled_from(
    "language license license_name license_link base_model base_model_relation tags datasets "
    "model-index new_version pipeline_tag licence name results task dataset metrics source type "
    "value args url".split()
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates()
    | st.sampled_from([object(), numpy.float32(1), numpy.zeros(2), "\ud800", set(), int, "other"])
    | st.builds(lambda digits: 10**digits, st.integers(4000, 5000))
)  # fmt: skip
HOSTILE = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS | st.text() | st.integers() | st.none(), inner, max_size=6)
    ),
    max_leaves=30,
)


@given(st.dictionaries(KEYS | st.text() | st.integers(), HOSTILE, max_size=8))
def test_no_metadata_makes_the_validator_fail(value: dict[Any, Any]) -> None:
    for kind in ("model", "dataset", "space"):
        for fault in validate(value, kind):
            assert fault.message
            assert isinstance(fault.where, str)


@given(HOSTILE)
def test_no_result_makes_the_validator_fail(value: Any) -> None:
    validate({"model-index": value})
    validate({"model-index": [{"name": value, "results": [value, {**RESULT, "metrics": value}]}]})


@given(st.text() | st.from_regex(r"(- |a: |\[|\{|&a |\*a|'|!|\n)*"))
def test_no_text_makes_the_check_fail(text: str) -> None:
    check(text)
    check_eval_results(text)


def test_values_within_themselves_end() -> None:
    ring: dict[str, Any] = {"tags": []}
    ring["tags"].append(ring)
    ring["model-index"] = [ring]
    assert validate(ring)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("license", "apache2", "write 'apache-2.0'"), ("language", ["en", math.nan], "nan")],
)
def test_no_card_is_built_with_wrong_metadata(key: str, value: Any, said: str) -> None:
    family = pocket_family()
    wrong = replace(family, card={**family.card, key: value})
    with pytest.raises(CardError) as error:
        card(wrong, "iter1")
    assert any(said in f"{one.message} {one.hint}" for one in error.value.problems)


def test_the_schema_itself_is_whole() -> None:
    """Every reference leads somewhere, and no custom key is one of the Hub's own."""
    written = resources.template_data("card_schema.yaml")
    text = str(written)
    for name in set(text.split("'$ref': '")[1:]):
        assert name.split("'")[0] in written["$defs"]
    assert not set(written["community"]) & set(written["card"]["properties"])
