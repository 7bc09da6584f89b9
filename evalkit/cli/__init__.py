"""The command line: each command parses, calls one function and prints its result.

Importing a file here adds its commands, in the order in which help shows them.
"""

from evalkit.cli import recipes as recipes  # isort: skip
from evalkit.cli import compare as compare  # isort: skip
from evalkit.cli import cards as cards  # isort: skip
from evalkit.cli import card_lint as card_lint  # isort: skip
from evalkit.cli import card_verify as card_verify  # isort: skip
from evalkit.cli import runs as runs  # isort: skip
from evalkit.cli import importing as importing  # isort: skip
from evalkit.cli import publication as publication  # isort: skip
from evalkit.cli import new as new  # isort: skip
from evalkit.cli import prefetch as prefetch  # isort: skip
from evalkit.cli import plugins as plugins  # isort: skip
from evalkit.cli import data as data  # isort: skip
from evalkit.cli import contamination as contamination  # isort: skip
from evalkit.cli import score as score  # isort: skip
from evalkit.cli import judge as judge  # isort: skip
from evalkit.cli import lm_eval as lm_eval  # isort: skip
from evalkit.cli import doctor as doctor  # isort: skip
from evalkit.cli import hub as hub  # isort: skip
from evalkit.cli.app import cli, main

__all__ = ["cli", "main"]
