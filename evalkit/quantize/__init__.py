"""Quantized variants of a checkpoint, one file per scheme; `compress.py` does what they share."""
