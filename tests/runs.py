"""Whole runs of the real command, for tests: how to start one, and how to compare two."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RECIPES = Path(__file__).parent / "recipes"
# What may differ between equal runs: times and host, and the ids of commits on a Hub.
VOLATILE = {"run_facts.json", "spending.jsonl", ".lock"}
COMMIT_KEYS = {"commit", "parent"}


def command(recipe: Path, folder: Path, *flags: str) -> list[str]:
    """The command that takes `recipe` all the way, with run and Hub below `folder`."""
    return [
        sys.executable, "-m", "evalkit.cli", "train-and-publish", str(recipe),
        "--out", str(folder / "run"), "--hub-root", str(folder / "hub"), *flags,
    ]  # fmt: skip


def finish(recipe: Path, folder: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end, which must be a good one."""
    words = command(recipe, folder, *flags)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def contents(run: Path) -> dict[str, bytes]:
    """Every file of a run but the volatile ones, commit ids taken out."""
    files = (file for file in sorted(run.rglob("*")) if file.is_file())
    return {
        str(file.relative_to(run)): _without_commits(file)
        for file in files
        if file.name not in VOLATILE
    }


def unlike(first: Path, second: Path) -> list[str]:
    """Names of the files that only one of two runs has, or that differ."""
    a, b = contents(first), contents(second)
    return sorted(name for name in {*a, *b} if a.get(name) != b.get(name))


def unlike_steps(whole: Path, part: Path) -> list[str]:
    """Names of the files of a run's steps that differ from those of a run that went further."""
    a, b = contents(whole / "steps"), contents(part / "steps")
    assert b
    return sorted(name for name in b if a.get(name) != b[name])


def _without_commits(file: Path) -> bytes:
    if file.suffix != ".json" or not {"publication", "publish"} & set(file.parts):
        return file.read_bytes()
    value = json.loads(file.read_text())
    rows = value if isinstance(value, list) else [value]
    kept = [{key: row[key] for key in row if key not in COMMIT_KEYS} for row in rows]
    return json.dumps(kept, sort_keys=True).encode()
