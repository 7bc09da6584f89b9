"""Every rule of lint finds what it is for at its line, is quiet otherwise, and can be ignored."""

from pathlib import Path

import pytest
from lint_parts import CLEAN, RULES, Case, cases, errors_of, found_by

from evalkit.lint import chosen, lint, rules

BY_CODE = {rule.code: rule for rule in rules()}
FAILING, PASSING = list(cases("fails")), list(cases("passes"))


def _name(case: Case) -> str:
    return f"{case.code}-{case.says[:24] or case.card[:24]}".replace("\n", " ")


def test_every_rule_has_a_failing_and_a_passing_card() -> None:
    codes = {rule.code for rule in rules()}
    assert {case.code for case in FAILING} == codes
    assert {case.code for case in PASSING} == codes
    assert {file.stem for file in RULES.iterdir()} == codes


@pytest.mark.parametrize("case", FAILING, ids=_name)
def test_a_rule_finds_what_it_is_for(case: Case, tmp_path: Path) -> None:
    rule = BY_CODE[case.code]
    context = case.context(tmp_path)
    found = found_by(rule, context)
    there = [one for one in found if one.line == case.line]
    assert any(case.says in f"{one.message} {one.evidence} {one.fix}" for one in there), found
    assert not case.severity or {one.severity for one in there} == {case.severity}
    assert case.code in {one.rule for one in lint(context)}
    assert case.code not in {one.rule for one in lint(context, chosen([rule.name]))}


@pytest.mark.parametrize("case", PASSING, ids=_name)
def test_a_rule_keeps_quiet_otherwise(case: Case, tmp_path: Path) -> None:
    assert found_by(BY_CODE[case.code], case.context(tmp_path)) == []


@pytest.mark.parametrize("card", sorted(CLEAN.iterdir()), ids=lambda path: path.name)
def test_clean_cards_have_no_errors(card: Path) -> None:
    assert errors_of(card) == []


def test_there_are_clean_cards_of_ten_kinds() -> None:
    assert len(list(CLEAN.iterdir())) >= 10


def test_rules_are_told_apart_and_explain_themselves() -> None:
    assert len({rule.code for rule in rules()}) == len({rule.name for rule in rules()})
    for rule in rules():
        assert rule.code[:2] == "EK" and rule.code[2:].isdigit() and len(rule.code) == 5, rule.code
        assert rule.name.replace("-", "").isalnum() and rule.name.islower(), rule.name
        assert rule.summary.endswith(".") and rule.why.endswith("."), rule.code
