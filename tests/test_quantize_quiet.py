"""What `quiet` silences, and that it puts everything back."""

import os
import subprocess
import sys
import warnings
from importlib.util import find_spec

import pytest

from evalkit.quantize.quiet import quiet

if find_spec("llmcompressor") is None:
    pytest.skip("llmcompressor is not installed", allow_module_level=True)

FRESH_IMPORT = """
from loguru import logger
from evalkit.quantize.quiet import quiet
with quiet():
    import llmcompressor  # warns about a missing accelerator, on stdout
logger.warning("the application's own sink is still there")
"""


def test_bars_and_warnings_are_off_inside_and_on_again_outside(
    capfd: pytest.CaptureFixture[str],
) -> None:
    import tqdm

    with quiet():
        list(tqdm.tqdm(range(3), disable=False))
        warnings.warn("loud", stacklevel=1)
    assert capfd.readouterr().err == ""
    list(tqdm.tqdm(range(3)))
    assert "3/3" in capfd.readouterr().err
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", stacklevel=1)


@pytest.mark.parametrize("before", [None, "true"])
def test_the_environment_is_put_back(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    if before:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", before)
    surroundings = dict(os.environ)
    with quiet():
        assert os.environ["TOKENIZERS_PARALLELISM"] == (before or "false")
    assert dict(os.environ) == surroundings


@pytest.mark.slow
def test_the_first_import_prints_nothing_and_keeps_other_sinks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FRESH_IMPORT], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert "still there" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_importing_the_schemes_imports_nothing_heavy() -> None:
    code = (
        "import sys; from evalkit import registry\n"
        "for name in registry.names('schemes'): registry.load('schemes', name)\n"
        "print([m for m in ('torch', 'transformers', 'llmcompressor') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
