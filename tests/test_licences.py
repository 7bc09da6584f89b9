"""The table of licences: whole, sourced, read however it is written, and applied to derivatives."""

import re

import pytest

from evalkit.licences import (
    begins_with,
    chain,
    compatible,
    ids,
    leading,
    linked,
    mentioned,
    normalised,
    obligations,
    quoted,
    terms,
)
from evalkit.licences.terms import table

# How many ids hub-docs listed at 242f4a1 (August 22, 2026).
LISTED = 83
MATTERING = (
    "apache-2.0 mit bsd-3-clause cc-by-4.0 cc-by-nc-4.0 cc-by-sa-4.0 cc-by-nc-sa-4.0 gpl-3.0 "
    "agpl-3.0 openrail bigscience-openrail-m bigscience-bloom-rail-1.0 gemma llama2 llama3 "
    "llama3.1 llama3.2 llama3.3 llama4 tongyi-qianwen tongyi-qianwen-research qwen qwen-research "
    "deepseek falcon microsoft-research-license"
).split()


def test_every_id_of_the_hub_is_there_and_those_of_custom_are_told_apart() -> None:
    assert len(ids()) == LISTED
    assert {"apache-2.0", "llama4", "gemma", "other", "unknown", "openmdw-1.1"} <= ids()
    assert not {"qwen", "deepseek", "microsoft-research-license"} & ids()
    assert terms("qwen") is not None
    assert terms("licence") is None


def test_every_licence_has_a_source_and_those_that_matter_their_permissions() -> None:
    for one in table().values():
        assert re.match(r"https?://", one.source), one.id
        assert not one.family or one.family in table(), one.id
        assert all(other in table() for other in one.also), one.id
    for name in MATTERING:
        found = terms(name)
        assert found is not None, name
        assert "unknown" not in (found.commercial, found.derivatives), name
        assert found.relicensing != "unknown" or name == "falcon", name


def test_no_two_licences_are_written_alike() -> None:
    for one in table().values():
        for way in (one.id, one.name, *one.names):
            assert normalised(way) == one.id, (one.id, way)


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("Apache-2.0", "apache-2.0"),
        ("Apache License, Version 2.0", "apache-2.0"),
        ("**apache 2.0**.", "apache-2.0"),
        ("The MIT License", "mit"),
        ("CC BY-NC 4.0", "cc-by-nc-4.0"),
        ("GNU GPL v3.0", "gpl-3.0"),
        ("Meta Llama 3 Community License", "llama3"),
        ("LLAMA 3.1", "llama3.1"),
        ("Tongyi Qianwen", "tongyi-qianwen"),
        ("license", None),
        ("see LICENSE", None),
        ("", None),
    ],
)
def test_a_text_that_is_a_licence(text: str, licence: str | None) -> None:
    assert normalised(text) == licence


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("gemmaArchitecture:Transformer0.0K", "gemma"),
        ("apache-2.0 (weights)", "apache-2.0"),
        ("gemma-2-9b-it", None),
        ("MITRE", None),
        ("llama 3.9", None),
    ],
)
def test_a_text_that_begins_with_a_licence(text: str, licence: str | None) -> None:
    assert leading(text) == licence


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It is under the Apache License, Version 2.0, and built on Llama 3.", ("apache-2.0",)),
        ("People of MIT trained gemma-2b.", ()),
        ("Use is governed by the Gemma Terms of Use.", ("gemma",)),
        ("licensed under MIT license, formerly CC-BY-NC-4.0", ("mit", "cc-by-nc-4.0")),
    ],
)
def test_licences_in_a_sentence(text: str, found: tuple[str, ...]) -> None:
    assert mentioned(text) == found


def test_addresses_and_copied_terms() -> None:
    assert linked("https://www.apache.org/licenses/LICENSE-2.0.txt") == "apache-2.0"
    assert linked("https://creativecommons.org/licenses/by-nc/4.0/") == "cc-by-nc-4.0"
    assert linked("https://example.org/license") is None
    words = "You may use it solely for  non-commercial, non-revenue generating, research purposes."
    assert quoted(words) == "microsoft-research-license"
    assert quoted("Use it for research.") is None


@pytest.mark.parametrize(
    ("own", "base", "severity"),
    [
        ("apache-2.0", "mit", None),
        ("llama3", "llama3", None),
        ("other", "gemma", None),
        ("apache-2.0", "llama3", "error"),
        ("mit", "gemma", "error"),
        ("apache-2.0", "bigscience-bloom-rail-1.0", "error"),
        ("cc-by-nc-4.0", "llama2", "warning"),
        ("apache-2.0", "qwen", "warning"),
        ("apache-2.0", "cc-by-nc-4.0", "error"),
        ("llama3", "microsoft-research-license", "error"),
        ("cc-by-nc-sa-4.0", "cc-by-nc-sa-4.0", None),
        ("cc-by-4.0", "cc-by-sa-4.0", "error"),
        ("gpl-3.0", "cc-by-sa-4.0", None),
        ("agpl-3.0", "gpl-3.0", None),
        ("cc-by-nd-4.0", "cc-by-nd-4.0", "error"),
        ("bsd", "bsd-3-clause", None),
        ("mit", "unknown", None),
        ("mit", "no-such-licence", None),
    ],
)
def test_what_a_derivative_may_be_licensed_as(own: str, base: str, severity: str | None) -> None:
    found = compatible(own, base)
    assert (found.severity if found else None) == severity
    assert found is None or (found.why and found.source.startswith("http"))


def test_what_a_chain_obliges_to() -> None:
    owed = obligations(["llama3", "apache-2.0", "llama3"], "Llama-3-Small")
    assert owed.lines[0] == "Built with Meta Llama 3"
    assert owed.files["NOTICE"].startswith("Meta Llama 3 is licensed under")
    assert [one.id for one in owed.copies] == ["llama3", "apache-2.0"]
    assert not owed.name_fault
    assert "'Llama 3'" in obligations(["llama3"], "Small-3").name_fault
    assert "Gemma is provided under" in obligations(["gemma"], "x").files["NOTICE"]
    nothing = obligations(["mit", "no-such-licence"], "x")
    assert not nothing.lines
    assert not nothing.files


def test_names_are_compared_as_people_write_them() -> None:
    assert begins_with("me/Llama-3-x", "Llama 3")
    assert begins_with("LLAMA3_x", "Llama 3")
    assert not begins_with("x-Llama-3", "Llama 3")


def test_a_chain_goes_back_to_the_first_base() -> None:
    found = [link.model.id for link in chain("UCLA-AGI/Llama-3-Instruct-8B-SPPO-Iter3")]
    assert found[-1] == "meta-llama/Meta-Llama-3-8B"
    assert [link.licence for link in chain("phi-2")] == ["mit"]
    assert chain("nobody/nothing") == ()
