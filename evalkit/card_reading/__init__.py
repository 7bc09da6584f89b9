"""Reads anybody's card: its metadata, sections, tables, links and sentences, each with its line."""

from evalkit.card_reading.document import Document, Line, Section, read

__all__ = ["Document", "Line", "Section", "read"]
