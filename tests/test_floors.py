"""Which file may import which, and what may be imported before it is needed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import floors
import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "pandas", "transformers", "jinja2", "datasets", "huggingface_hub", "lm_eval")
# What a bare install, without any extra, must be able to import.
BARE_ROOMS = (
    "cards cli console errors frontmatter importers metrics recipe recipe_file records registry "
    "rendering resources roles rules rundir standings stats student tables"
)
EXTRAS_ONLY = (
    "accelerate alpaca_eval anthropic compressed_tensors datasets fastchat huggingface_hub "
    "llmcompressor lm_eval matplotlib openai safetensors scipy starlette tokenizers torch "
    "transformers uvicorn"
)


def test_every_file_keeps_to_its_floor() -> None:
    """No file imports upwards, from a peer room, or around in a circle."""
    found = floors.offenders(ROOT / "evalkit")
    assert not found, "\n" + "\n".join(found)


def _tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = folder / "evalkit" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder / "evalkit"


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"records.py": "from evalkit.stats import wilson"}, "records.py:1  floor 1 imports"),
        ({"judges/rule.py": "import evalkit.engines.vllm"}, "judges/rule.py:1  floor 3 imports"),
        ({"judges/rule.py": "\nfrom evalkit import hub"}, "judges/rule.py:2  floor 3 imports"),
        ({"judges/rule.py": "from ..engines import vllm"}, "evalkit.engines of floor 3: a peer"),
        ({"stats.py": "def f():\n    import evalkit.pipeline.run"}, "stats.py:2  floor 2 imports"),
        ({"pipeline/run.py": "from trainers import spin"}, "'trainers' is evalkit.trainers"),
        ({"cards/card.py": "import evalkit.templates"}, "data is opened through resources"),
        ({"misc.py": "import os"}, "misc.py:1  'misc' has no floor"),
        ({"cli.py": "import evalkit.misc"}, "evalkit.misc, which has no floor"),
        (
            {"stats.py": "import evalkit.scoring", "scoring.py": "from evalkit import stats"},
            "a circle of imports: scoring -> stats -> scoring",
        ),
    ],
)
def test_offenders_are_named(tmp_path: Path, files: dict[str, str], complaint: str) -> None:
    found = floors.offenders(_tree(tmp_path, files))
    assert len(found) == 1
    assert complaint in found[0]


def test_what_is_allowed_passes(tmp_path: Path) -> None:
    """Downwards, inside a room, between neighbours on floors 1 and 2, and through a link."""
    package = _tree(
        tmp_path,
        {
            "cli.py": "from evalkit import __version__\nfrom evalkit.pipeline import run",
            "judges/rule.py": "from evalkit.judges import prompts\nfrom . import prompts",
            "roles.py": "from evalkit.records import Prompt",
        },
    )
    linked = tmp_path / "trainers"
    linked.mkdir()
    (package / "trainers").symlink_to(linked)
    assert floors.offenders(package) == []
    (linked / "spin.py").write_text("import evalkit.judges.rule")
    assert len(floors.offenders(package)) == 1


def _modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after running `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def _command(*arguments: str) -> str:
    return (
        f"sys.argv = {['evalkit', *arguments]!r}\n"
        "from evalkit.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code"
    )


@pytest.mark.parametrize(
    "code",
    ["import evalkit.cli", _command("--help"), _command("list")],
    ids=["import", "help", "list"],
)
def test_light_commands_import_nothing_heavy(code: str) -> None:
    assert not _modules_after(code) & set(HEAVY)


def test_bare_install_imports_its_rooms() -> None:
    """With no extra installed, the rooms that read, render, lint and export still import."""
    assert set(BARE_ROOMS.split()) <= set(floors.FLOOR_OF)
    present = [room for room in BARE_ROOMS.split() if _exists(room)]
    block = (
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {EXTRAS_ONLY.split()!r}:\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
    )
    imports = "\n".join(f"import evalkit.{room}" for room in present)
    assert "evalkit" in _modules_after(block + imports)


def _exists(room: str) -> bool:
    folder = ROOT / "evalkit" / room
    return os.path.isfile(f"{folder}.py") or (folder / "__init__.py").is_file()
