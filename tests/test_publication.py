"""`publish --dry-run`, `status` and `publish --rollback` on a model of one's own, for real."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from evalkit.cli import main

pytest.importorskip("huggingface_hub")
pytest.importorskip("starlette")

from huggingface_hub import CommitOperationAdd

from evalkit.hub.client import open_api
from evalkit.hub.serve import running

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
PUBLISH = ["publish", "mine", "--namespace", "me"]


def _run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """How a command ends, and what it says on stdout and stderr."""
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    captured = capsys.readouterr()
    code = ended.value.code
    return (code if isinstance(code, int) else 1), captured.out, captured.err


def _json(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    return json.loads(_run(capsys, *words, "--json")[1])


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_llama: Path) -> Path:
    """A folder to work in, with a model of one's own in it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_llama, tmp_path / "mine")
    (tmp_path / "mine" / "README.md").write_text("---\nlicense: mit\n---\n# Notes\n")
    return tmp_path


def test_planned_published_looked_at_and_taken_back(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = _run(capsys, *PUBLISH, "--dry-run")
    assert (code, "me/mine" in out) == (0, True)
    assert not (desk / "hub").exists()
    code, _, err = _run(capsys, *PUBLISH)
    assert code == 0, err
    recipe = str(desk / "runs" / "mine" / "recipe.yaml")

    [row] = _json(capsys, "publish", recipe, "--dry-run")["publication"]
    assert (row["repo_id"], row["action"], row["tag"]) == ("me/mine", "unchanged", "v1.0")
    weights = {file["path"]: file for file in row["files"]}["model.safetensors"]
    assert weights["size_bytes"] == (desk / "mine" / "model.safetensors").stat().st_size
    assert len(weights["sha256"]) == 64
    assert not (desk / "runs" / "mine" / "cache").exists()

    code, out, _ = _run(capsys, "status", "runs/mine")
    assert (code, "equal" in out, row["parent"][:12] in out) == (0, True, True)
    [one] = _json(capsys, "status", recipe)["repositories"]
    assert (one["state"], one["commit"], one["tags"]) == ("equal", row["parent"], ["v1.0"])

    with running(desk / "hub", orgs=["me"]) as server, open_api(server.target()) as api:
        edit = [CommitOperationAdd("NOTICE", b"somebody was here")]
        api.create_commit("me/mine", edit, commit_message="by hand")
    code, out, _ = _run(capsys, "status", "runs/mine")
    assert code == 1
    assert "NOTICE is there too" in out
    assert "committed to since" in out

    [one] = _json(capsys, "publish", recipe, "--rollback")["repositories"]
    assert one["action"] == "leave"
    with running(desk / "hub", orgs=["me"]) as server, open_api(server.target()) as api:
        api.delete_repo("me/mine")
    _run(capsys, "publish", recipe)
    found = _json(capsys, "publish", recipe, "--rollback", "--dry-run")
    assert [one["action"] for one in found["repositories"]] == ["delete"]
    assert _run(capsys, "status", "runs/mine")[0] == 0
    code, out, _ = _run(capsys, "publish", recipe, "--rollback")
    assert (code, "taken back" in out) == (0, True)
    code, out, _ = _run(capsys, "status", "runs/mine")
    assert (code, "absent" in out) == (1, True)
    assert "nothing to take back" in _run(capsys, "publish", recipe, "--rollback")[1]


def test_what_must_not_be_published_stops_the_plan(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "hf_" + "aB3" * 12
    config = json.loads((desk / "mine" / "generation_config.json").read_text())
    (desk / "mine" / "generation_config.json").write_text(json.dumps({**config, "note": secret}))
    code, _, err = _run(capsys, *PUBLISH)
    assert code == 1
    assert "me/mine must not be published" in err
    assert "generation_config.json:1" in err
    assert secret not in err
    with running(desk / "hub", orgs=["me"]) as server, open_api(server.target()) as api:
        assert not api.repo_exists("me/mine")


def test_a_run_that_has_nothing_yet_says_so(desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "r.yaml").write_text(
        "name: X\nseed: 0\nbase: {model: mine}\ncard: {title: X, license: mit}\n"
    )
    assert "has no section 'publish'" in _run(capsys, "status", "r.yaml")[2]
    (desk / "r.yaml").write_text((desk / "r.yaml").read_text() + "publish: {namespace: me}\n")
    assert "cards are not made yet" in _run(capsys, "status", "r.yaml")[2]
    (desk / "empty").mkdir()
    assert "is not a run" in _run(capsys, "status", "empty")[2]
