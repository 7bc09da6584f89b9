"""The frame of lint: which rules apply, what they look at, what they mend, and how they fail."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from card_families import pocket_family
from hypothesis import given
from hypothesis import strategies as st
from lint_parts import CLEAN, cases

from evalkit.card_reading import read
from evalkit.cards import build_card
from evalkit.errors import CardError
from evalkit.lint import Context, Finding, chosen, context_of, lint, mended, rules
from evalkit.lint.facts import families_in
from evalkit.lint.foreign import rule_of_file
from evalkit.lint.names import sizes_in
from evalkit.records import to_json
from evalkit.tables import FORMATS

# Heavy packages that a bare install does not bring.
BLOCKED = "torch transformers lm_eval alpaca_eval llmcompressor datasets huggingface_hub starlette"
BARE = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED.split()!r}:
            raise ImportError(name)
sys.meta_path.insert(0, Blocker())
from evalkit.cli import main
main(sys.argv[1:])
"""
OWN_RULE = """
from evalkit.lint import Finding, Rule

def check(context):
    if "cat" in context.card.text:
        yield Finding(1, "speaks of cats", evidence="cat", fix="speak of dogs")

RULE = Rule("XX001", "no-cats", "Speaks of cats.", "Dogs read it, too.", check)
"""


def _codes(text: str) -> set[str]:
    return {one.rule for one in lint(Context(read(text)))}


@pytest.mark.parametrize("name", [m.checkpoint.name for m in pocket_family().members])
def test_built_cards_have_no_errors(name: str) -> None:
    family = pocket_family()
    found = lint(Context(read(build_card(family, family.member(name)))))
    assert [one for one in found if one.severity == "error"] == []


@pytest.mark.parametrize(
    "block",
    [
        "```\n{{ prompt }}\n```",
        "~~~\n```\n{{ prompt }}\n~~~",
        "````md\n```\n{{ a }}\n```\n{{ b }}\n````",
        "```\n~~~\n{{ a }}\n``` no end\n{{ b }}\n`````  ",
        "   ```python\n{{ a }}\n  ```",
    ],
)
def test_template_text_inside_a_code_block_is_an_example(block: str) -> None:
    card = f"# x\n{block}\n"
    assert "EK501" not in _codes(card)
    found = lint(Context(read(f"{card}{{{{ after }}}}\n")))
    last = len(card.splitlines()) + 1
    assert [one.line for one in found if one.rule == "EK501"] == [last]


@pytest.mark.parametrize("line", ["``` a`b", "``", "    ```"])
def test_what_opens_no_code_block(line: str) -> None:
    assert "EK501" in _codes(f"# x\n{line}\n{{{{ left }}}}\n")


def test_code_blocks_know_their_lines() -> None:
    card = read("# x\n```Python title\na\n\nb\n```\ntext\n~~~\nc")
    first, second = card.code_blocks
    assert (first.line, first.language, first.text, first.numbers) == (
        2,
        "python",
        "a\n\nb",
        (3, 4, 5),
    )
    assert (second.closed, second.text, second.numbers) == (False, "c", (9,))


def test_findings_come_in_the_order_of_lines_with_code_and_severity() -> None:
    found = lint(Context(read("# merge\n\n{{ a }}\n\nMore information needed\n")))
    assert [one.line for one in found] == sorted(one.line for one in found)
    assert all(one.rule and one.severity for one in found)


def test_a_folder_is_more_than_its_card(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# brook\n")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    context = context_of(tmp_path)
    assert context.config == {"model_type": "llama"}
    assert context.files == {"README.md", "config.json"}
    alone = context_of(tmp_path / "README.md")
    assert (alone.config, alone.files) == ({}, None)
    given_one = tmp_path / "other.json"
    given_one.write_text('{"model_type": "phi"}')
    assert context_of(tmp_path, config=given_one).config == {"model_type": "phi"}


@pytest.mark.parametrize("content", ["[1]", "{", None])
def test_a_config_that_was_asked_for_must_be_one(content: str | None, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# brook\n")
    if content is not None:
        (tmp_path / "c.json").write_text(content)
    with pytest.raises(CardError, match=r"c\.json"):
        context_of(tmp_path, config=tmp_path / "c.json")
    (tmp_path / "config.json").write_text(content or "{")
    assert context_of(tmp_path).config == {}  # one that only lies there is none, then


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"README\.md"):
        context_of(tmp_path)


def test_rules_are_chosen_by_code_or_name() -> None:
    assert {rule.code for rule in rules()} - {
        rule.code for rule in chosen(["EK501", "dead-link"])
    } == {
        "EK501",
        "EK502",
    }
    with pytest.raises(CardError) as caught:
        chosen(["dead-links"])
    assert "did you mean 'dead-link'" in caught.value.hint


def test_a_rule_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "cats.py"
    file.write_text(OWN_RULE)
    own = chosen(files=[file])
    assert len(own) == len(rules()) + 1
    found = [one for one in lint(Context(read("# cat\n")), own) if one.rule == "XX001"]
    assert found == [Finding(1, "speaks of cats", "cat", "speak of dogs", "XX001", "error")]
    assert "XX001" not in {rule.code for rule in chosen(["no-cats"], [file])}


def test_a_package_brings_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cats.py").write_text(OWN_RULE)
    about = tmp_path / "cats-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: cats\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[evalkit.lint_rules]\nno-cats = cats:RULE\n")
    rules.cache_clear()
    try:
        monkeypatch.syspath_prepend(tmp_path)
        assert "XX001" in _codes("# cat\n")
        rules.cache_clear()
        (about / "entry_points.txt").write_text("[evalkit.lint_rules]\nno-cats = cats:NONE\n")
        with pytest.raises(CardError, match="cats:NONE of cats cannot be loaded"):
            rules()
    finally:
        rules.cache_clear()
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (OWN_RULE.replace("XX001", "EK501"), "two rules are called EK501"),
        (OWN_RULE.replace("no-cats", "dead-link"), "two rules are called dead-link"),
        (OWN_RULE.replace("RULE =", "RULES ="), "defines no rule"),
        ("import nothing_of_this_name", "cannot be loaded: ModuleNotFoundError"),
        ("x = (", "cannot be loaded: SyntaxError"),
    ],
)
def test_a_bad_rule_is_told(code: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(code)
    with pytest.raises(CardError, match=said):
        chosen(files=[file])
    with pytest.raises(CardError, match="no file"):
        rule_of_file(tmp_path / "none.py")


def test_mending_mends_what_it_says_and_nothing_twice() -> None:
    mending = {rule.code for rule in rules() if rule.mend}
    assert "EK506" in mending
    for case in cases("fails"):
        if case.code in mending and case.files is None:
            rule = next(rule for rule in rules() if rule.code == case.code)
            context = Context(read(case.card), config=case.config)
            once = mended(context, [rule])
            assert mended(Context(read(once), config=case.config), [rule]) == once


def test_links_to_a_mirror_are_mended() -> None:
    card = "# x\n\n[a](https://hf-mirror.com/owner/a) [b](https://example.org/owner/b)\n"
    text = mended(Context(read(card)))
    assert "(https://huggingface.co/owner/a) [b](https://example.org/owner/b)" in text


def test_every_rule_that_mends_leaves_clean_cards_alone() -> None:
    for card in sorted(CLEAN.iterdir()):
        context = context_of(card)
        assert mended(context) == context.card.text, card.name


# Every byte of a card is somebody else's: no rule may fall over it.
_PIECES = st.sampled_from(
    ["---\n", "# ", "base_model: ", "- ", "[", "](", ")", "https://huggingface.co/", "```", "|",
     "\n", "model-index:\n", "  - name: ", "results: ", "language: no", "datasets: 3", "9B",
     "param", "16k", "context length of ", "{{", "}}", "Llama 2", "fine-tuned version of ",
     "<table>", "<td>", "\0", "license: ", "x/y", "1.5", "7.0b1", ":", "'", '"', "&a", "*a",
     "\ufeff", "\r\n", "é", "\u202e"]
)  # fmt: skip


@given(st.lists(st.one_of(_PIECES, st.text(max_size=8)), max_size=40))
def test_no_card_makes_a_rule_fail(pieces: list[str]) -> None:
    context = Context(read("".join(pieces)))
    lint(context)
    mended(context)


@given(st.data())
def test_no_change_of_a_card_makes_a_rule_fail(data: st.DataObject) -> None:
    texts = [case.card for case in cases("fails")]
    text = data.draw(st.sampled_from(texts))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 12)))
    lint(Context(read(text[:start] + data.draw(_PIECES) + text[end:])))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
_KEYS = st.sampled_from(
    "base_model base_model_relation datasets language license tags library_name model-index".split()
)


@given(st.dictionaries(_KEYS, _VALUES, max_size=4), st.dictionaries(st.text(max_size=5), _VALUES))
def test_no_metadata_and_no_config_makes_a_rule_fail(
    metadata: dict[str, object], config: dict[str, object]
) -> None:
    block = json.dumps(metadata, allow_nan=True)
    text = f"---\n{block}\n---\n# brook-7b\n\nA 8B parameter model with a 16k context window.\n"
    keys = "max_position_embeddings rope_scaling model_type text_config hidden_size".split()
    lint(Context(read(text), config=dict(zip(keys, config.values(), strict=False))))


def test_a_section_within_a_repeated_one_is_not_told_again() -> None:
    card = "# x\n## Training\n### Versions\n## Training\n### Versions\n## Use\n## Use\n"
    found = [one.line for one in lint(Context(read(card))) if one.rule == "EK505"]
    assert found == [4, 7]


@pytest.mark.parametrize(
    ("text", "families"),
    [
        ("TinyLlama-1.1B", ["tinyllama"]),
        ("Open LLaMA 3B and Wizard-Vicuna", ["open-llama", "vicuna"]),
        ("Mixtral beats mistral", ["mixtral", "mistral"]),
        ("made with llama.cpp, LLaMA-Factory and ollama on an alphabet", []),
        ("phi-3.5-mini, not phi-30", ["phi"]),
    ],
)
def test_families_that_a_text_names(text: str, families: list[str]) -> None:
    assert [one.family for one in families_in(text)] == families


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("Gemma-2-9B-It", ["9B"]),
        ("Mistral7B-PairRM", ["7B"]),
        ("bloom-7b1", ["7.1B"]),
        ("SmolLM-360M", ["360M"]),
        ("Qwen3-30B-A3B", ["30B"]),
        ("gemma-3n-E4B", []),
        ("Mixtral-8x7B", []),
        ("brook-4bit-v0.1-128k", []),
    ],
)
def test_sizes_that_a_name_gives(name: str, sizes: list[str]) -> None:
    assert [size.text for size in sizes_in(name)] == sizes


@pytest.mark.timeout(60)
@pytest.mark.parametrize("mark", ["1", "a-", "[", "](", "<", "<a ", "{{", "7B param ", "| 1 ", "_"])
def test_no_long_line_takes_long(mark: str) -> None:
    """Marks that open and never close: patterns that try every pair of them would take minutes."""
    lint(Context(read(f"# brook-7b\n\n{mark * (5000 // len(mark))}\n")))


@pytest.mark.timeout(20)
@pytest.mark.parametrize("mark", ["[", "[](", "[[a]", "](a"])
def test_no_line_of_brackets_takes_long(mark: str) -> None:
    """A link is looked for from every bracket on, but not up to the end of 100 kB."""
    lint(Context(read(f"# brook-7b\n\n{mark * (100_000 // len(mark))}\n")))


def test_long_cards_take_no_longer_by_the_line() -> None:
    start = time.process_time()
    assert len(read("# Brook\n\nA line.\n\n" * 20_000).sentences) == 20_000
    assert time.process_time() - start < 5


def test_findings_do_not_pass_on_what_steers_a_terminal() -> None:
    card = '---\nlicense: "\\e[31mred"\n---\n# brook \x1b[2J\n\n## Hello \x1b[31m\u202e\n'
    found = lint(Context(read(card)))
    assert found
    assert all(one.isprintable() for f in found for one in (f.message, f.evidence, f.fix))


def test_links_with_brackets_and_blanks() -> None:
    links = read('# brook\n\n[a](https://a.org/B_(c)) [d]( e ) [f](g "h")\n').links
    assert [link.target for link in links] == ["https://a.org/B_(c)", "e", "g"]


def _bare(*words: str) -> str:
    """What a command prints in a process that cannot import anything heavy."""
    done = subprocess.run(
        [sys.executable, "-c", BARE, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_bare_install_lints_renders_and_exports(tmp_path: Path) -> None:
    family = pocket_family()
    run = tmp_path / "run"
    cards = run / "steps" / "cards"
    (cards / "x").mkdir(parents=True)
    (cards / "family.json").write_text(json.dumps(to_json(family)))
    (run / "plan.json").write_text("[]")
    (cards / "x" / "README.md").write_text(build_card(family, family.members[1]))
    assert "0 errors" in _bare("card", "lint", str(cards / "x" / "README.md"))
    exported = _bare("leaderboard", "export", str(run), "--out", str(tmp_path / "out")).split()
    assert {Path(file).suffix[1:] for file in exported} == set(FORMATS)
    assert all(Path(file).read_bytes() for file in exported)
    assert "sppo" in _bare("list")


def test_rendering_needs_nothing_heavy(golden: Callable[[str, str], None]) -> None:
    code = (
        "import card_families, sys\nfrom evalkit.cards import build_card\n"
        "f = card_families.pocket_family()\nprint(build_card(f, f.member('iter2')), end='')\n"
    )
    script = BARE.replace("from evalkit.cli import main\nmain(sys.argv[1:])\n", code)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parent,
    )  # fmt: skip
    golden("cards/iter2.md", done.stdout)
