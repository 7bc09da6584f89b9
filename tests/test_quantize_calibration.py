"""Which calibration sequences are used, and how they are batched."""

import pytest

from evalkit.errors import RecipeError
from evalkit.quantize import calibration as module
from evalkit.quantize.calibration import Calibration, batches, choose

OFFERED = [[number, *range(number % 7 + 1)] for number in range(50)]


def chosen(offered: list[list[int]] = OFFERED, **changes: int) -> Calibration:
    """`choose` with small settings."""
    settings = {"samples": 20, "max_length": 4, "vocabulary": 50, "seed": 0}
    return choose(offered, **{**settings, **changes})


def test_fewer_than_asked_for_are_all_used_in_their_order() -> None:
    assert chosen(samples=50, max_length=99).sequences == tuple(map(tuple, OFFERED))


def test_more_than_asked_for_are_drawn_by_the_seed() -> None:
    assert len(chosen().sequences) == 20
    assert chosen() == chosen()
    assert chosen().sequences != chosen(seed=1).sequences
    assert {s[0] for s in chosen().sequences} != set(range(20))  # not just the first


def test_long_sequences_are_cut() -> None:
    assert max(map(len, chosen().sequences)) == 4


def test_nothing_to_calibrate_on_is_an_error() -> None:
    for nothing in ([], [[], []]):
        with pytest.raises(RecipeError, match="calibration"):
            chosen(nothing)


def test_a_token_of_another_tokenizer_is_an_error() -> None:
    with pytest.raises(RecipeError, match="49 is outside the model's vocabulary of 49"):
        chosen(samples=50, vocabulary=49)


def test_the_record_counts_and_pins_the_tokens() -> None:
    record = chosen().record()
    assert record["sequences"] == 20
    assert record["tokens"] == sum(map(len, chosen().sequences))
    assert record == chosen().record()
    assert record["sha256"] != chosen(seed=1).record()["sha256"]


def test_batches_hold_every_token_and_no_padding() -> None:
    made = batches(chosen())
    assert sorted(row for batch in made for row in batch) == sorted(chosen().sequences)
    assert all(len({len(row) for row in batch}) == 1 for batch in made)
    assert len(made) < 20


def test_batches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BATCH_TOKENS", 8)
    assert all(len(batch) * len(batch[0]) <= 8 for batch in batches(chosen()))
    monkeypatch.setattr(module, "MAX_BATCH_TOKENS", 1)
    assert all(len(batch) == 1 for batch in batches(chosen()))
