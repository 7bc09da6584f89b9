"""Keeps llmcompressor's log lines, warnings and progress bars off the terminal.

stdout is evalkit's result and stderr belongs to its own progress display.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator

from evalkit.console import no_foreign_bars

_LOGURU_NAMES = ("llmcompressor", "compressed_tensors")
# bitsandbytes, imported by peft where it is installed, regrets a kernel that is not used here.
_LOGGERS = ("torch.fx._symbolic_trace", "bitsandbytes.backends.cpu.ops")
_DISABLE = "LLM_COMPRESSOR_LOG_DISABLED"
_TOKENIZERS = "TOKENIZERS_PARALLELISM"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A block in which llmcompressor may be imported and run without a word.

    Its loguru names stay disabled afterwards; everything else is put back.
    """
    with contextlib.ExitStack() as stack:
        # Read at import: otherwise llmcompressor removes every loguru sink of the
        # process and adds its own on stdout.
        stack.enter_context(_environment(_DISABLE, "true"))
        # Set by `oneshot` for the rest of the process unless it is there already.
        stack.enter_context(_environment(_TOKENIZERS, os.environ.get(_TOKENIZERS, "false")))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for name in _LOGGERS:
            stack.enter_context(_log_level(name, logging.ERROR))
        stack.enter_context(no_foreign_bars())
        _disable_loguru()
        yield


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


@contextlib.contextmanager
def _log_level(name: str, level: int) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


def _disable_loguru() -> None:
    from loguru import logger

    try:
        logger.level("METRIC")
    except ValueError:
        # A disabled llmcompressor does not register its own level, yet logs at it.
        logger.level("METRIC", no=38)
    for name in _LOGURU_NAMES:
        logger.disable(name)
