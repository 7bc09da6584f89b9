"""`evalkit card lint` and `evalkit card rules`, as they are typed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli import main
from evalkit.cli.card_lint import MANY
from evalkit.hub.client import open_api
from evalkit.hub.serve import Server, running
from evalkit.lint import rules

GOOD = Path(__file__).parent / "cards" / "clean" / "base.md"
BAD = """\
---
license: mit
base_model: owner/brook-7b
---
# brook-7b-chat

A 8B parameter model, fine-tuned from [brook-7b](https://hf-mirror.com/owner/brook-7b).
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `evalkit card` in an empty folder, and gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def command(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["card", *map(str, words)])
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return command


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A card with an error, and with links that can be mended."""
    file = tmp_path / "bad.md"
    file.write_text(BAD)
    return file


def _json(out: str) -> list[dict[str, Any]]:
    cards: list[dict[str, Any]] = json.loads(out)["cards"]
    return cards


def test_findings_are_numbered_over_all_cards(run: Run, bad: Path) -> None:
    code, out, _ = run("lint", bad, GOOD, bad)
    assert code == 1
    numbers = [int(line[:3]) for line in out.splitlines() if line[:3].strip().isdigit()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert f"error    {bad}:7  EK401 parameter-count" in out
    assert "     the text gives the model 8B parameters" in out
    assert "     evidence: A 8B parameter model" in out
    assert "     fix: write 7B" in out
    assert f"{GOOD}: 0 errors, 0 warnings" in out


def test_json_has_the_same(run: Run, bad: Path) -> None:
    code, out, _ = run("lint", bad, GOOD, "--json")
    first, second = _json(out)
    assert code == 1
    assert first["file"] == str(bad) and first["revision"] is None
    assert first["errors"] + first["warnings"] == len(first["findings"])
    (size,) = [one for one in first["findings"] if one["rule"] == "EK401"]
    assert (size["line"], size["severity"]) == (7, "error")
    assert all(one[key] is not None for one in first["findings"] for key in one)
    assert (second["findings"], second["errors"]) == ([], 0)


def test_many_cards_are_shared_by_all_cores_and_come_in_order(run: Run, bad: Path) -> None:
    (alone,) = _json(run("lint", bad, "--json")[1])
    code, out, _ = run("lint", *[GOOD, bad] * (MANY // 2), "--json")
    found = _json(out)
    assert code == 1 and len(found) == MANY
    assert [one["file"] for one in found] == [str(GOOD), str(bad)] * (MANY // 2)
    assert all(one == alone for one in found[1::2])


@pytest.mark.parametrize("count", [1, MANY])
def test_a_card_that_cannot_be_read_does_not_hide_the_others(
    run: Run, tmp_path: Path, count: int
) -> None:
    (tmp_path / "image.md").write_bytes(b"\xff\xd8\xff")
    code, out, _ = run("lint", "image.md", *[GOOD] * count)
    assert code == 1
    assert out.startswith("error: cannot read image.md: it is not UTF-8 text")
    assert out.count("base.md: 0 errors, 0 warnings") == count
    found = _json(run("lint", "--json", GOOD, "image.md")[1])
    assert found[0]["problem"] == ""
    assert "not UTF-8" in found[1]["problem"]


def test_warnings_count_with_strict(run: Run, tmp_path: Path) -> None:
    (tmp_path / "warned.md").write_text(GOOD.read_text().replace("# Tide-1.3B", "# merge"))
    assert run("lint", "warned.md")[0] == 0
    assert run("lint", "warned.md", "--strict")[0] == 1
    assert run("lint", "warned.md", "--strict", "--ignore", "placeholder-title")[0] == 0
    assert run("lint", GOOD, "--strict")[0] == 0


def test_fix_mends_what_is_safe_and_says_what(run: Run, bad: Path) -> None:
    bad.write_bytes(BAD.replace("\n", "\r\n").encode())
    bad.chmod(0o640)
    code, out, _ = run("lint", bad, "--fix")
    assert code == 1  # the wrong size is left to a person
    assert f"fixed     {bad}:7  EK506 mirrored-link" in out
    assert "+ A 8B parameter model, fine-tuned from [brook-7b](https://huggingface.co/owner" in out
    assert "EK506" not in out.split("fixed")[-1].split("\n", 3)[-1]
    expected = BAD.replace("https://hf-mirror.com", "https://huggingface.co")
    assert bad.read_bytes() == expected.replace("\n", "\r\n").encode()
    assert bad.stat().st_mode & 0o777 == 0o640
    before = bad.stat().st_mtime_ns
    code, out, _ = run("lint", bad, "--fix", "--json")
    assert _json(out)[0]["fixed"] == [] and bad.stat().st_mtime_ns == before


def test_fix_leaves_a_switched_off_rule_and_a_saved_page_alone(run: Run, bad: Path) -> None:
    run("lint", bad, "--fix", "--ignore", "EK506")
    assert bad.read_text() == BAD
    bad.write_text("".join(f"{line} |\n|\n" for line in BAD.splitlines()))
    code, _, err = run("lint", bad, "--fix")
    assert code == 1 and "saved from a website" in err


def test_the_config_may_lie_elsewhere(run: Run, tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("# brook\n\nContext length: 16384 tokens.\n")
    (tmp_path / "other.json").write_text('{"max_position_embeddings": 4096}')
    assert "EK403" not in run("lint", "card.md")[1]
    assert "EK403" in run("lint", "card.md", "--config", "other.json")[1]


def test_the_card_of_a_base(run: Run, tmp_path: Path) -> None:
    for name, licence in (("base-1", "cc-by-nc-4.0"), ("mine", "mit")):
        text = f"---\nlicense: {licence}\nbase_model: owner/base-1\n---\n# {name}\n"
        (tmp_path / f"{name}.md").write_text(text)
    alone, with_base = (
        {one["rule"] for one in _json(run("lint", "mine.md", "--json", *words)[1])[0]["findings"]}
        for words in ((), ("--base-card", "base-1.md"))
    )
    assert "EK202" in with_base - alone


def test_a_rule_of_ones_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "short.py").write_text(
        "from evalkit.lint import Finding, Rule\n"
        "RULE = Rule('XX001', 'short', 'Is short.', 'Long is better.', lambda context:"
        " [Finding(0, 'is too short')])\n"
    )
    code, out, _ = run("lint", GOOD, "--rule", "short.py")
    assert code == 1
    assert f"  1  error    {GOOD}  XX001 short" in out


def test_rules_are_documented(run: Run) -> None:
    out = run("rules")[1]
    assert all(f"{rule.code}  {rule.severity:<8} {rule.name}\n" in out for rule in rules())
    code, page, _ = run("rules", "mirrored-link")
    assert code == 0
    assert page.startswith("EK506 mirrored-link (warning)\n")
    assert "Why: " in page and "--fix: mends it" in page
    assert "leaves it to a person" in run("rules", "EK401")[1]
    told = json.loads(run("rules", "--json")[1])["rules"]
    assert [one["code"] for one in told] == [rule.code for rule in rules()]
    code, _, err = run("rules", "EK999")
    assert code == 1 and "no rule is called 'EK999'" in err


PAGE = Path(__file__).parent.parent / "docs" / "card_lint.md"


def test_the_page_shows_what_is_printed(
    run: Run, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    text = PAGE.read_text("utf-8")
    card = text.split("````markdown\n")[1].split("````\n")[0]
    shown = text.split("$ evalkit card lint README.md\n")[1].split("```\n")[0]
    (tmp_path / "README.md").write_text(card)
    code, out, _ = run("lint", "README.md")
    if request.config.getoption("--update-golden"):
        PAGE.write_text(text.replace(shown, out), "utf-8")
        return
    assert (code, out) == (1, shown)


def test_the_rule_on_the_page_works(run: Run, tmp_path: Path) -> None:
    rule = PAGE.read_text("utf-8").split("## A rule of your own")[1].split("```python\n")[1]
    (tmp_path / "register.py").write_text(rule.split("```\n")[0])
    code, out, _ = run("lint", GOOD, "--rule", "register.py")
    assert code == 0 and "XX001 register-link" in out


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A Hub with one model: in its first commit with a bad card, then with a better one."""
    with running(tmp_path / "hub") as server:
        constants = "huggingface_hub.constants."
        template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants + "ENDPOINT", server.endpoint)
        monkeypatch.setattr(constants + "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants + "HF_HUB_CACHE", str(tmp_path / "cache"))
        with open_api(server.target()) as api:
            api.create_repo("evalkit/brook", private=False)
            files = {
                "config.json": '{"max_position_embeddings": 4096}',
                "README.md": "# Brook\n\nContext length: 16k tokens.\n",
            }
            for name, text in files.items():
                api.upload_file(
                    path_or_fileobj=text.encode(), path_in_repo=name, repo_id="evalkit/brook"
                )
        yield server


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's
def test_a_model_on_the_hub(run: Run, hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run("lint", "evalkit/brook", "--json")
    (card,) = _json(out)
    assert code == 1
    assert card["file"] == "evalkit/brook/README.md" and len(card["revision"]) == 40
    assert "EK403" in {one["rule"] for one in card["findings"]}
    with open_api(hub.target()) as api:
        better = b"# Brook\n\nContext length: 4k tokens.\n"
        api.upload_file(path_or_fileobj=better, path_in_repo="README.md", repo_id="evalkit/brook")
    assert "EK403" not in run("lint", "evalkit/brook")[1]
    old = f"evalkit/brook@{card['revision']}"
    assert f"at {card['revision']}: 1 error" in run("lint", old)[1]
    code, _, err = run("lint", old, "--fix")
    assert code == 1 and "lies on the Hub" in err and "hf download evalkit/brook" in err
    code, _, err = run("lint", "evalkit/none")
    assert code == 1 and "there is no file or folder evalkit/none here" in err
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", "http://127.0.0.1:1")
    code, _, err = run("lint", "evalkit/brook@v9")
    assert code == 1 and "Traceback" not in err
