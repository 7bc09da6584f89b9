"""What a person wrote into a card survives its rebuild; what they changed is not lost unseen."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import runs
from card_families import card, changed, pocket_family
from hypothesis import given, settings
from hypothesis import strategies as st

from evalkit import frontmatter
from evalkit.cards import rebuilt
from evalkit.cards.regions import END, HOMELESS, is_sealed, regions, sealed, was_edited
from evalkit.errors import CardError
from evalkit.pipeline.card_order import read_order
from evalkit.pipeline.ordered_card import build

START = "<!-- evalkit:keep {} -->"


def built(**changes: object) -> str:
    return card(changed(pocket_family(), "iter2", **changes), "iter2")


def written_in(text: str, name: str, words: str) -> str:
    """The card with `words` typed between the marks of a region that a template offers."""
    empty = f"{START.format(name)}\n{END}"
    assert text.count(empty) == 1
    return text.replace(empty, f"{START.format(name)}\n{words}\n{END}")


def test_a_built_card_is_sealed_and_offers_places() -> None:
    text = built()
    assert is_sealed(text) and not was_edited(text)
    assert [one.name for one in regions(text)] == ["introduction", "use", "limitations"]
    assert [one.heading for one in regions(text)][1:] == ["Use", "Intended use and limitations"]


def test_a_region_survives_byte_for_byte_in_its_place() -> None:
    words = "  Two  *blanks*, `code` and {{ braces }}.\n\n| a | b |\n| - | - |\n\n```\n# code\n```"
    before = written_in(built(), "use", words)
    assert not was_edited(before)
    after = rebuilt(built(superseded_by=None), before)
    assert {one.name: one.text for one in regions(after)}["use"] == words
    assert after == before  # nothing else changed
    other = rebuilt(built(title="Another-Name"), before)
    assert {one.name: one.text for one in regions(other)}["use"] == words
    assert "Another-Name" in other and not was_edited(other)


def test_ones_own_region_stays_in_its_section_and_else_at_the_end() -> None:
    mine = f"{START.format('mine')}\nA note.\n{END}"
    before = built().replace("## Licence\n", f"## Licence\n\n{mine}\n", 1)
    assert not was_edited(before)
    after = rebuilt(built(), before)
    place, section, next_one = (after.index(t) for t in (mine, "## Licence", "## Citation"))
    assert section < place < next_one
    assert HOMELESS not in after
    without = sealed(after[: after.index("## Licence")].replace(mine, "") + "# Elsewhere\n")
    lost = rebuilt(without, before)
    assert lost.index("# Elsewhere") < lost.index(HOMELESS) < lost.index(mine)
    again = rebuilt(without, lost)
    assert again == lost  # and once more at the same place, with one notice
    assert not was_edited(again)


def test_an_edit_outside_is_told_and_not_overwritten() -> None:
    before = built().replace("goes back to", "went back to")
    assert was_edited(before)
    with pytest.raises(CardError, match="edited by hand outside its kept regions") as caught:
        rebuilt(built(), before)
    assert "went back to" in caught.value.message
    assert "--replace" in caught.value.hint
    assert rebuilt(built(), before, overwrite=True) == built()


def test_what_was_kept_survives_even_a_replacement() -> None:
    before = written_in(built(), "introduction", "Mine.").replace("goes back to", "went back to")
    after = rebuilt(built(), before, overwrite=True)
    assert "went back to" not in after
    assert next(one for one in regions(after) if one.name == "introduction").text == "Mine."


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (f"{START.format('a')}\nopen", "not closed"),
        (f"open\n{END}", "closes what was not opened"),
        (f"{START.format('a')}\n{START.format('b')}\n{END}", "another opens"),
        (f"{START.format('a')}\n{END}\n{START.format('a')}\n{END}", "stands twice"),
        (f"{START.format('a')}\n```\nopen\n{END}", "code block"),
        (f"{START.format('a')}\n<!-- open\n{END}", "comment in it is not closed"),
    ],
)
def test_broken_marks_are_told_with_their_line(broken: str, why: str) -> None:
    text = f"---\nlicense: mit\n---\n# T\n\n{broken}\n"
    with pytest.raises(CardError, match=r"^line \d+ of the card") as caught:
        regions(text)
    assert why in caught.value.message


def test_marks_in_code_and_from_outside_are_none() -> None:
    quoted = f"```\n{START.format('a')}\n{END}\n```\n"
    assert regions(quoted) == []
    words = f"{START.format('x')}\nnot mine\n{END}"
    family = pocket_family()
    family = changed(family, "iter2", title=f"T {words}")
    said = card(family, "iter2")
    assert [one.name for one in regions(said)] == ["introduction", "use", "limitations"]


HOSTILE = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(
    ["---\nlicense: evil\n---", "{{ 7 * 7 }}{% for x in y %}", "</details><script>", "`" * 5, "~~~",
     "<!-- evalkit:sealed " + "0" * 64 + " -->", START.format("z"), END, "<!--", "# h", "\x00"]
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(HOSTILE)
def test_no_region_bends_the_card_around_it(words: str) -> None:
    """Kept as it is, or refused with its line; never read as metadata, a mark or a template."""
    page = "---\nlicense: mit\n---\n# T\n\n" + f"{START.format('a')}\n{END}\n\n## After\n\nText.\n"
    new = sealed(page)
    before = new.replace(f"\n{END}", f"\n{words}\n{END}", 1)
    try:
        after = rebuilt(new, before)
    except CardError:
        return
    assert frontmatter.parse(after).metadata == {"license": "mit"}
    assert after.count("## After") >= 1 and is_sealed(after)
    kept = {one.name: one.text for one in regions(after)}
    lines = f"{words}\n".replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
    assert kept["a"] == lines or not lines.strip()
    assert rebuilt(new, after) == after


ORDER = "model: me/mine\ncard: {license: mit, summary: First.}\n"


def test_on_the_command_line_road(tmp_path: Path) -> None:
    file, folder = tmp_path / "order.yaml", tmp_path / "card"
    file.write_text(ORDER)
    text = build(read_order(file), folder, "again").card.read_text()
    (folder / "README.md").write_text(written_in(text, "use", "Mine."))
    file.write_text(ORDER.replace("First", "Second"))
    after = build(read_order(file), folder, "again").card.read_text()
    assert "Second." in after and "\nMine.\n" in after and "First." not in after
    (folder / "README.md").write_text(after.replace("Second.", "Third."))
    with pytest.raises(CardError, match="edited by hand"):
        build(read_order(file), folder, "again")
    assert "Third." in (folder / "README.md").read_text()
    build(read_order(file), folder, "again", overwrite=True)
    last = (folder / "README.md").read_text()
    assert "Third." not in last and "\nMine.\n" in last


@pytest.mark.slow
def test_in_a_run(micro_run: Path, tmp_path: Path) -> None:
    """Kept over a changed recipe and over `--redo`; an edit elsewhere stops the step."""

    def card_build(*flags: str) -> subprocess.CompletedProcess[str]:
        words = ["card", "build", str(runs.RECIPES / "micro.yaml"), "--out", str(run), *flags]
        return subprocess.run(
            [sys.executable, "-m", "evalkit.cli", *words],
            capture_output=True,
            text=True,
            check=False,
        )

    run = tmp_path / "run"
    shutil.copytree(micro_run / "run", run)
    file = run / "steps/cards/Micro-SPPO-Iter2/README.md"
    page = run / "steps/cards/FAMILY.md"
    file.write_text(written_in(file.read_text(), "use", "Mine."))
    page.write_text(written_in(page.read_text(), "introduction", "Ours."))
    for flags in (["--set", "card.summary=Another."], ["--redo", "cards"]):
        done = card_build(*flags)
        assert done.returncode == 0, done.stderr
        assert "\nMine.\n" in file.read_text() and "\nOurs.\n" in page.read_text()
        assert ("Another." in file.read_text()) == (flags[0] == "--set")
    file.write_text(file.read_text().replace("## Licence", "## License"))
    done = card_build("--redo", "cards")
    assert done.returncode == 1
    assert "edited by hand" in done.stderr and "## License" in done.stderr
    assert card_build("--replace").returncode == 0
    assert "## License" not in file.read_text() and "\nMine.\n" in file.read_text()
