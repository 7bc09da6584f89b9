"""How much disk a recipe's checkpoints take, as far as that can be known beforehand."""

from __future__ import annotations

from pathlib import Path

from evalkit.checkpoint_size import checkpoint_bytes
from evalkit.errors import EvalkitError
from evalkit.pipeline import plugins
from evalkit.pipeline.layout import iterations
from evalkit.recipe import Recipe

STORED_BITS = 16


def checkpoints_bytes(recipe: Recipe) -> int | None:
    """What all checkpoints take together, at least; None where the base is not on this disk.

    Training keeps optimizer states beside them while it runs.
    """
    base = recipe.base.model
    if base is None or not Path(base).is_dir():
        return None
    size: int = checkpoint_bytes(Path(base))
    try:
        bits = [plugins.make("schemes", ref).bits for ref in recipe.variants]
        trained = len(iterations(recipe))
    except EvalkitError:
        return None
    smaller: int = sum(size * bit // STORED_BITS for bit in bits)
    return trained * size + smaller
