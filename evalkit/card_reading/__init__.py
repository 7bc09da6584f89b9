"""Reads anybody's card: metadata, sections, tables, links, sentences, figures, with their lines."""

from evalkit.card_reading.document import Document, Line, Section, read
from evalkit.card_reading.figure import Figure
from evalkit.card_reading.figures import Scores, figures, scores

__all__ = ["Document", "Figure", "Line", "Scores", "Section", "figures", "read", "scores"]
