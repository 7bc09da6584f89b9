"""Readers of the result files that other tools write, one file each."""
