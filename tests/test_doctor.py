"""`evalkit doctor`: what it finds, what it imports, and what it never shows."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit.cli import main
from evalkit.pipeline import extras, machine

ROOT = Path(__file__).parent.parent
SMI = """#!/bin/sh
echo 'NVIDIA H200, 143771, 143000, 570.86'
echo 'NVIDIA A100, PG509, 40960, 40000, 570.86'
echo 'NVIDIA T4, [N/A], [N/A], 570.86'
"""


def _doctor(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *words])
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().out


def test_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, evalkit.cli\n"
        "try: evalkit.cli.main(['doctor', '--json'])\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'pandas', 'transformers', 'jinja2', 'numpy', 'pydantic', 'lm_eval'}\n"
        "print('loaded:', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_it_says_what_runs_here(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = _doctor(capsys)
    assert code == 0
    assert "cards and leaderboards:  yes\n" in out
    code, out = _doctor(capsys, "--json")
    found = json.loads(out)
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["disk_free_bytes"] > 0
    assert set(found["abilities"]) == set(extras.ABILITIES)
    assert all(one["met"] for one in found["extras"]["base"])


def test_what_is_missing_comes_with_the_command_that_brings_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["click>=8.1", 'no-such-package<3,>=2; extra == "train"', 'click>=999; extra == "hub"']
    monkeypatch.setattr(extras, "requires", lambda name: lines)
    code, out = _doctor(capsys)
    assert code == 0
    assert "train:                   no: pip install 'evalkit[train]'" in out
    assert "lacking: no-such-package <3,>=2" in out
    assert "publish:                 no: pip install 'evalkit[hub]'" in out
    assert "lacking: click >=999 (here is " in out


def test_a_broken_base_ends_with_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "requires", lambda name: ["click>=999"])
    code, out = _doctor(capsys)
    assert code == 1
    assert "cards and leaderboards:  no: pip install evalkit" in out


def test_a_token_is_named_and_never_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    monkeypatch.setenv("HF_ENDPOINT", "http://me:password@hub.example:8080/x")
    for words in ((), ("--json",)):
        _, out = _doctor(capsys, *words)
        assert "HF_TOKEN" in out
        assert "http://hub.example:8080/x" in out
        assert "secretsecret" not in out
        assert "password" not in out


def test_gpus_are_asked_of_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nvidia-smi").write_text(SMI)
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (card,) = machine.gpus()  # lines of another form are left out
    assert card == machine.Gpu("NVIDIA H200", 143771 * 2**20, 143000 * 2**20, "570.86")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    assert machine.gpus() == []


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [
        ("2.13.0+cpu", ">=2.10", True),
        ("5.17.0", ">=5.0,<6", True),
        ("6.0", "<6,>=5.0", False),
        ("80.9", "<81", True),
        ("1.4.2", "~=1.4", True),
        ("2.0", "~=1.4", False),
        ("1.5.0", "~=1.4.2", False),
        ("8", "==8.0", True),
        ("3.0", "", True),
    ],
)
def test_versions_are_held_against_ranges(version: str, wanted: str, fits: bool) -> None:
    assert extras.fits(version, wanted) == fits


def test_a_recipes_needs_are_held_against_this_machine(
    tmp_path: Path, tiny_llama: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    recipe = tmp_path / "mine.yaml"
    text = f"name: x\nbase: {{model: {tiny_llama}}}\nvariants: [w4a16_rtn]\n"
    recipe.write_text(text + "card: {title: x, license: mit}\n")
    code, out = _doctor(capsys, "--recipe", str(recipe))
    assert code == 0
    assert "this machine has what it needs" in out
    publish = "publish: {endpoint: 'http://127.0.0.1:9', namespace: me}\n"
    recipe.write_text(recipe.read_text() + publish)
    code, out = _doctor(capsys, "--recipe", str(recipe), "--json")
    assert code == 1
    needs = json.loads(out)["recipe"]
    assert "no token" in needs["lacking"][0]["message"]
    assert 0 < needs["disk_bytes"] < 1e6
