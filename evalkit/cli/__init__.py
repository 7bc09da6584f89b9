"""The command line: each command parses, calls one function and prints its result.

Importing a file here adds its commands, in the order in which help shows them.
"""

from evalkit.cli import recipes as recipes  # isort: skip
from evalkit.cli import cards as cards  # isort: skip
from evalkit.cli import runs as runs  # isort: skip
from evalkit.cli import plugins as plugins  # isort: skip
from evalkit.cli import hub as hub  # isort: skip
from evalkit.cli.app import cli, main

__all__ = ["cli", "main"]
