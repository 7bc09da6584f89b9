"""lm-evaluation-harness without what it says and asks on the side."""

import contextlib
import logging
from collections.abc import Iterator
from functools import partial

from evalkit.benchmarks.provenance import versions


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The harness without its log lines, progress bars and its slow survey of the machine."""
    import datasets
    import lm_eval.api.task
    import lm_eval.evaluator

    logger, bars = logging.getLogger("lm_eval"), datasets.are_progress_bars_disabled()
    level, tqdm = logger.level, lm_eval.api.task.tqdm
    survey = lm_eval.evaluator.add_env_info
    git_hash = lm_eval.evaluator.get_git_commit_hash
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    lm_eval.api.task.tqdm = partial(tqdm, disable=True)
    # It would be the commit of whatever folder the user stands in.
    lm_eval.evaluator.get_git_commit_hash = lambda: None
    # It asks pip and the drivers for two seconds; its answer is of the machine, and dropped.
    lm_eval.evaluator.add_env_info = lambda storage: storage.update(
        {f"{name}_version": number for name, number in versions("lm_eval", "transformers").items()}
    )
    try:
        yield
    finally:
        logger.setLevel(level)
        lm_eval.api.task.tqdm = tqdm
        lm_eval.evaluator.add_env_info = survey
        lm_eval.evaluator.get_git_commit_hash = git_hash
        if not bars:
            datasets.enable_progress_bars()
