"""Evaluation suites: each file with a `PLUGIN` line measures one checkpoint on one of them."""
