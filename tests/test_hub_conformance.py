"""The conformance script against a server of its own, with each client that is at hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")
pytest.importorskip("starlette")

from evalkit.hub.serve import running

SCRIPT = Path(__file__).with_name("hub_conformance.py")
NEWER = Path(__file__).parent.parent / ".venv-hub2/bin/python"  # made by `make hub2-check`


def drive(python: str, folder: Path) -> list[dict[str, str]]:
    """What the script found, run by `python` in a clean environment."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "HF_HOME": str(folder / "home")}
    with running(folder / "hub") as server:
        words = [python, str(SCRIPT), server.endpoint, server.token]
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_installed_client_gets_through_every_endpoint(tmp_path: Path) -> None:
    rows = drive(sys.executable, tmp_path)
    assert len(rows) == 14
    assert not [row for row in rows if row["failure"]], "\n".join(r["failure"] for r in rows)


@pytest.mark.slow
def test_the_next_major_version_gets_through_too(tmp_path: Path) -> None:
    """An unmodified huggingface_hub 2.x passes every part of the conformance script."""
    if not NEWER.exists():
        pytest.skip("no huggingface_hub 2.x in .venv-hub2 (make hub2-check)")
    rows = drive(str(NEWER), tmp_path)
    assert rows[0]["client"].startswith("2.")
    assert not [row for row in rows if row["failure"]], "\n".join(r["failure"] for r in rows)
