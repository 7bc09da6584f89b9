"""evalkit: from a recipe to a published family of aligned language models.

The command line is `evalkit` (see `cli.py`); the rooms and the direction of
imports between them are drawn in the README's architecture section.
"""

__version__ = "0.1.0"
