"""A family's table for the terminal, and leaderboards over families as files.

Markdown, LaTeX and HTML show the numbers as cards do; CSV, JSON and Parquet carry the
records' own, unrounded, with standard error, interval, n and missing beside each.
"""

from evalkit.tables.export import FORMATS, export_leaderboard, family_table
from evalkit.tables.rows import leaderboard_json

__all__ = ["FORMATS", "export_leaderboard", "family_table", "leaderboard_json"]
