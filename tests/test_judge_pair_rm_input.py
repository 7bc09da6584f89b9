"""What PairRM reads of a prompt and two responses: the texts, the tokens, the shared budget."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tokenizers")

import pair_rm_parts as parts

from evalkit.judges.pair_rm_text import Source, source_of
from evalkit.judges.pair_rm_tokens import PairEncoder, load_tokenizer
from evalkit.records import Message

CHAT = (
    Message("user", "hello"),
    Message("assistant", "hi"),
    Message("user", "what is a city?"),
)


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("pair-rm") / "tokenizer.json"
    return parts.write_tokenizer(file)


@pytest.fixture(scope="module")
def encoder(tokenizer_file: Path) -> PairEncoder:
    return PairEncoder(load_tokenizer(tokenizer_file), 1224, 412)


def lengths(encoder: PairEncoder, source: str, first: str, second: str) -> tuple[int, int, int]:
    """Tokens of the three segments, each from its [CLS] on."""
    pair = encoder.encode(Source(source), first, second)
    starts = [place - 1 for place in pair.places]
    assert [pair.ids[start] for start in starts] == [1, 1, 1]
    assert [pair.ids[end - 1] for end in (*starts[1:], len(pair.ids))] == [2, 2, 2]
    return starts[1], starts[2] - starts[1], len(pair.ids) - starts[2]


def test_what_a_source_leaves_is_shared_by_the_candidates(encoder: PairEncoder) -> None:
    long = "good " * 3000
    assert lengths(encoder, "hello", "hi", "good good") == (4, 4, 5)
    assert lengths(encoder, "hello", long, long) == (4, 412 + 610, 412 + 610)
    assert lengths(encoder, "hello " * 1001, long, "hi") == (1004, 412 + 110, 4)
    assert lengths(encoder, "hello " * 1002, long, "hi") == (1005, 412 + 109, 4)
    assert lengths(encoder, "hello " * 1221, long, long) == (1224, 412, 412)
    assert lengths(encoder, long, long, long) == (1224, 412, 412)


def test_own_limits_share_in_the_same_way(tokenizer_file: Path) -> None:
    encoder = PairEncoder(load_tokenizer(tokenizer_file), 20, 10)
    long = "good " * 90
    assert lengths(encoder, "hello " * 4, long, long) == (7, 16, 16)
    assert lengths(encoder, long, long, long) == (20, 10, 10)


def test_texts_that_hold_markers_are_read_as_texts(encoder: PairEncoder) -> None:
    plain = encoder.encode(Source("say hello"), "paris rome", "good")
    assert (
        encoder.encode(Source("say<|candidate2|>hello"), "paris[SEP]rome", "<|source|>good")
        == plain
    )


def test_the_tokenizer_file_is_taken_as_it_stands(tokenizer_file: Path, tmp_path: Path) -> None:
    """transformers 5.17 would rebuild its normalizer, and lose the character map."""
    texts = ["<|source|>ﬁ is  fi", "<|candidate1|> what ", "good zz\tQ " * 9]
    expected = [parts.tiny_tokenizer().encode(text).ids for text in texts]
    pieces = tmp_path / "spm.model"
    pieces.write_bytes(parts.spm_bytes())
    for file in (tokenizer_file, pieces):
        tokenizer = load_tokenizer(file)
        assert [tokenizer.encode(text).ids for text in texts] == expected
    f, i = (parts.PIECES.index(letter) for letter in "fi")
    assert expected[0][3:5] == [f, i]


def test_markers_are_added_where_a_tokenizer_has_none(tokenizer_file: Path, tmp_path: Path) -> None:
    saved = json.loads(tokenizer_file.read_text())
    saved["added_tokens"] = [t for t in saved["added_tokens"] if "|" not in t["content"]]
    bare = tmp_path / "tokenizer.json"
    bare.write_text(json.dumps(saved))
    text = "<|source|>what is<|candidate2|>good"
    expected = parts.tiny_tokenizer().encode(text).ids
    assert load_tokenizer(bare).encode(text).ids == expected


def test_one_turn_is_its_bare_text() -> None:
    assert source_of((Message("user", "what is a city?"),)) == Source("what is a city?")
    system = (Message("system", "Be brief."), Message("user", "say hello"))
    assert source_of(system) == Source("Be brief.\nsay hello")


def test_a_conversation_has_slots_that_the_candidates_fill() -> None:
    assert source_of((Message("system", "Be brief."), *CHAT)) == Source(
        "Be brief.\nFinish the following coversation in each i-th turn by filling in <Response i>"
        " with your response.USER: hello\nAssistant: <Response 1>\nUSER: what is a city?\n"
        "Assistant: <Response 2>",
        earlier="<Response 1>: hi\n",
        label="<Response 2>: ",
    )


def test_a_long_conversation_never_hides_the_response(tokenizer_file: Path) -> None:
    encoder = PairEncoder(load_tokenizer(tokenizer_file), 20, 30)
    source = Source("good " * 40, earlier="hello " * 100, label="a ")
    first, second, last = "paris city", "rome", "user " * 50
    pair = encoder.encode(source, first, second)
    segments = [pair.ids[place + 1 :] for place in pair.places[1:]]
    words = [parts.PIECES.index(f"▁{word}") for word in ("hello", "a", "paris", "city")]
    hello, a, paris, city = words
    assert segments[0][:28] == [*[hello] * 24, a, paris, city, 2]
    assert segments[1].count(hello) == 25
    whole = encoder.encode(source, last, second)
    segment = whole.ids[whole.places[1] + 1 : whole.places[2] - 1]
    assert segment == [a, *[parts.PIECES.index("▁user")] * 26, 2]
