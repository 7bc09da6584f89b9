"""Front matter reads back as it was written, for every reader, or is not written at all."""

from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit import frontmatter
from evalkit.errors import CardError

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(TEXT, VALUES, max_size=4), TEXT)
def test_a_card_parses_back_to_itself(metadata: dict[str, Any], body: str) -> None:
    card = frontmatter.parse(frontmatter.join(metadata, body))
    assert card == (metadata, body)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_plain_yaml_readers_read_the_same(metadata: dict[str, Any]) -> None:
    assert yaml.safe_load(frontmatter.dump(metadata)) == metadata


@pytest.mark.parametrize(
    "trap",
    ["no", "on", "y", "~", "null", "1e3", "0o17", "1_000", "12:30:00", "2024-01-01", "---", "",
     "- a", "a: b", "#x", "{{ x }}", "a\n---\nb", "\ufeff", "nan", ".inf", "=", "<<", "!!python/x"],
)  # fmt: skip
def test_text_that_yaml_could_misread_is_quoted(trap: str) -> None:
    written = frontmatter.dump({"x": trap})
    assert written[3] in "'\""
    assert written.count("\n") == 1
    assert yaml.safe_load(written) == {"x": trap}


def test_usual_values_stay_bare() -> None:
    metadata = {"license": "apache-2.0", "base_model": "google/gemma-2-9b-it", "tags": ["sppo"]}
    assert frontmatter.dump(metadata) == (
        "license: apache-2.0\nbase_model: google/gemma-2-9b-it\ntags:\n  - sppo\n"
    )


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        np.float64(1.5),
        np.int64(3),
        np.str_("x"),
        {1: "x"},
        object(),
        "\ud800",
    ],
)
def test_what_cannot_be_written_safely_is_refused(value: Any) -> None:
    with pytest.raises(CardError, match="front matter"):
        frontmatter.dump({"results": [{"value": value}]})


def test_foreign_cards() -> None:
    """A BOM, Windows line ends, no block, an open block, a date."""
    assert frontmatter.parse("\ufeff---\nlicense: mit\n---\nbody").metadata == {"license": "mit"}
    assert frontmatter.parse("---\r\nlicense: mit\r\n---\r\nbody\r\n") == (
        {"license": "mit"},
        "body\r\n",
    )
    assert frontmatter.parse("# Title\n") == ({}, "# Title\n")
    assert frontmatter.parse("---\nlicense: mit\n") == ({}, "---\nlicense: mit\n")
    assert frontmatter.parse("---\ndate: 2024-01-01\n---\n").metadata == {"date": "2024-01-01"}
    assert frontmatter.parse("---\n---\nbody") == ({}, "body")


@pytest.mark.parametrize(
    ("block", "message"),
    [("a: [", "not valid YAML"), ("- a", "not a mapping"), ("a: 1\na: 2", "'a' stands twice")],
)
def test_broken_blocks_are_named(block: str, message: str) -> None:
    with pytest.raises(CardError, match=message):
        frontmatter.parse(f"---\n{block}\n---\n")
