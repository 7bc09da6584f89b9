"""Scores from recorded judgements: pure functions that measuring and importing share."""
