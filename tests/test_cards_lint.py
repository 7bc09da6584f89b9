"""The linter finds what is wrong in a card at its line, and nothing in a good one."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from card_families import pocket_family

from evalkit.cards import build_card
from evalkit.cards.lint import lint, lint_file
from evalkit.errors import CardError
from evalkit.records import to_json
from evalkit.tables import FORMATS

GOOD = """\
---
license: apache-2.0
base_model: a/b
base_model_relation: finetune
model-index:
  - name: x
    results:
      - task: {type: text-generation}
        dataset: {type: gsm8k, name: GSM8k (5-shot)}
        metrics: [{type: exact_match, value: 12.5}]
---
# x
"""
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


def _bare(*words: str) -> str:
    """What a command prints in a process that cannot import anything heavy."""
    done = subprocess.run(
        [sys.executable, "-c", BARE, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_good_card_has_no_findings() -> None:
    assert lint(GOOD) == []


@pytest.mark.parametrize("name", [m.checkpoint.name for m in pocket_family().members])
def test_built_cards_have_no_findings(name: str) -> None:
    family = pocket_family()
    assert lint(build_card(family, family.member(name))) == []


@pytest.mark.parametrize(
    ("old", "new", "line", "severity", "said"),
    [
        ("license:", "licence:", 2, "error", "write 'license'"),
        ("license: apache-2.0", "license: other", 2, "error", "license_name"),
        ("license: apache-2.0\n", "", 1, "warning", "names no licence"),
        ("relation: finetune", "relation: child", 4, "error", "no relation is called 'child'"),
        ("base_model: a/b", "base_model: 7", 3, "error", "base_model must be text"),
        ("value: 12.5", "value: .nan", 5, "error", "no finite number"),
        ("value: 12.5", "value: 'n/a'", 5, "error", "no finite number"),
        ("type: gsm8k, ", "", 5, "error", "dataset lacks type"),
        ("# x", "# {{ model_name }}", 12, "warning", "left over"),
        ("# x", "[More Information Needed]", 12, "warning", "left over"),
        ("license: apache-2.0", "license: [", 1, "error", "not valid YAML"),
        (
            "        metrics: [{type: exact_match, value: 12.5}]\n",
            "",
            5,
            "error",
            "no list of metrics",
        ),
        ("[{type: exact_match, value: 12.5}]", "[]", 5, "error", "no list of metrics"),
        ("{type: exact_match, value", "{value", 5, "error", "a metric lacks type"),
    ],
)
def test_each_fault_is_found_at_its_line(
    old: str, new: str, line: int, severity: str, said: str
) -> None:
    assert old in GOOD
    found = lint(GOOD.replace(old, new))
    assert any(
        one.line == line and one.severity == severity and said in f"{one.message} {one.hint}"
        for one in found
    ), found


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
    assert lint(f"{GOOD}{block}\n") == []
    lines = len((GOOD + block).splitlines())
    assert [one.line for one in lint(f"{GOOD}{block}\n{{{{ after }}}}\n")] == [lines + 1]


@pytest.mark.parametrize("line", ["``` a`b", "``", "    ```"])
def test_what_opens_no_code_block(line: str) -> None:
    assert len(lint(f"{GOOD}{line}\n{{{{ left }}}}\n")) == 1


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"README\.md"):
        lint_file(tmp_path)


def test_a_bare_install_lints_renders_and_exports(tmp_path: Path) -> None:
    family = pocket_family()
    run = tmp_path / "run"
    cards = run / "steps" / "cards"
    (cards / "x").mkdir(parents=True)
    (cards / "family.json").write_text(json.dumps(to_json(family)))
    (run / "plan.json").write_text("[]")
    (cards / "x" / "README.md").write_text(build_card(family, family.members[1]))
    assert "0 findings" in _bare("card", "lint", str(cards / "x"))
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
