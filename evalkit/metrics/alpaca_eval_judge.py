"""Who judges AlpacaEval 2 officially, and where the numbers of other judges stand.

The published judges are being retired, so most new numbers are another judge's: they go by a task
of their own and never share a column with the official leaderboard's.
"""

import re

# Source: tatsu-lab/alpaca_eval, constants.py and evaluators_configs (release 0.6.6). The bare name
# of a configuration stands for its own model, gpt-4-1106-preview.
OFFICIAL_ANNOTATOR = "weighted_alpaca_eval_gpt4_turbo"
OFFICIAL_TASK = "alpaca_eval"
_NO_WORD = re.compile(r"[^A-Za-z0-9.-]+")


def annotator_label(annotator: str, model: str, as_published: bool) -> str:
    """An annotator as files and tables name it; with its model where that is not its own."""
    return annotator if as_published else f"{annotator}_by_{_NO_WORD.sub('_', model)}"


def task_by(annotator: str) -> str:
    """The task of AlpacaEval's own instructions, judged by whom a file of annotations names."""
    if annotator == OFFICIAL_ANNOTATOR:
        return OFFICIAL_TASK
    return f"{OFFICIAL_TASK}_by_{_NO_WORD.sub('_', annotator)}"
