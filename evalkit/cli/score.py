"""`evalkit score`: the published numbers of recorded judgements, without a model or a judge.

Each command lives in a file of its own and is added to the group here.
"""

from evalkit.cli.app import Commands, cli
from evalkit.cli.score_alpaca_eval import alpaca_eval
from evalkit.cli.score_mt_bench import mt_bench


@cli.group(cls=Commands)
def score() -> None:
    """Scores from recorded judgements, as their benchmark computes them."""


score.add_command(alpaca_eval)
score.add_command(mt_bench)
