"""Rules about metadata beyond single findings: what they mend, and what one defect sets off.

What each of them finds is in `tests/cards/rules`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalkit.card_reading import read
from evalkit.lint import Context, Finding, context_of, lint, mended, rules

GOOD = "---\nlicense: apache-2.0\nbase_model: me/base\n---\n# Model\n"

OWN = [rule for rule in rules() if rule.code.startswith(("EK1", "EK2"))]
KEYS = st.sampled_from(
    ["license", "license_name", "license_link", "base_model", "model-index", "tags"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.text()
    | st.sampled_from(["other", "microsoft/phi-2"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(), inner, max_size=3)
    ),
    max_leaves=10,
)


def about_metadata(context: Context) -> list[Finding]:
    return lint(context, OWN)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("licence: mit", "license: mit"),
        ('"licence" : Apache-2.0', "license : apache-2.0"),
        ("license: Apache-2.0  # ours", "license: apache-2.0  # ours"),
        ("license:\n- MIT", "license:\n- mit"),
        ("license: mit\nlanguage: no", "license: mit\nlanguage: 'no'"),
        ("license: mit\nlanguage:\n  - no # yes", "license: mit\nlanguage:\n  - 'no' # yes"),
        ("license: mit\npipeline_tags: other", "license: mit\npipeline_tag: other"),
        # What cannot be told, or stands there already, stays as it is.
        ("licence: license", "licence: license"),
        ("license: mit\nlicence: mit", "license: mit\nlicence: mit"),
        ("license: my own", "license: my own"),
        ("license: mit\nlanguage: [en, no]", "license: mit\nlanguage: [en, no]"),
        ("license: qwen", "license: qwen"),
        ("license: mit\nlicense: gemma", "license: mit\nlicense: gemma"),
    ],
)
def test_what_is_safe_is_mended_and_nothing_else(before: str, after: str) -> None:
    body = "# Model\n\nlicence: mit, language: no\n"
    assert mended(Context(read(f"---\n{before}\n---\n{body}"))) == f"---\n{after}\n---\n{body}"


def test_a_byte_order_mark_is_taken_off() -> None:
    assert mended(Context(read("\ufeff" + GOOD))) == GOOD


def test_metadata_that_begins_late_is_moved_up() -> None:
    assert mended(Context(read("\n \n" + GOOD))) == GOOD
    assert mended(Context(read("\n# Model\n"))) == "\n# Model\n"


def test_metadata_that_cannot_be_read_is_told_once() -> None:
    """No rule takes a block that no reader loads for one that lacks everything."""
    context = Context(read("---\nlicense: [mit\n---\n# x\n"))
    assert [one.rule for one in about_metadata(context)] == ["EK101"]


def test_lines_are_those_of_a_saved_page() -> None:
    lines = ["---", "license: mit", "base_model: my_sft", "---", "", "# T", "", "text", ""]
    saved = "".join(f"|\n{line} |\n" for line in lines)
    (finding,) = about_metadata(Context(read(saved)))
    assert (finding.rule, finding.line) == ("EK108", 6)


def test_files_of_eval_results_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(GOOD)
    (tmp_path / ".eval_results").mkdir()
    (tmp_path / ".eval_results" / "raw.yaml").write_bytes(b"\xff\xfe")
    (finding,) = about_metadata(context_of(tmp_path))
    assert "raw.yaml is not UTF-8" in finding.message


@given(st.text() | st.from_regex(r"(---|license|base_model|: |- |mit|[|]|&a |\*a|'|!!int |\n)*"))
def test_no_text_makes_a_rule_fail(text: str) -> None:
    for card in (text, f"---\n{text}\n---\n{text}"):
        context = Context(read(card))
        about_metadata(context)
        mended(context, OWN)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_no_metadata_makes_a_rule_fail(metadata: dict[str, Any]) -> None:
    about_metadata(Context(replace(read(GOOD), metadata=metadata)))


@pytest.mark.real
def test_real_cards_without_known_defects_have_none_here(shared: Path) -> None:
    for card in ("05_mxlewd-l2-20b", "07_strands-decider-gguf", "15_notus-7b-v1"):
        assert about_metadata(context_of(shared / "cards" / "real" / f"{card}.md")) == [], card
