"""What an iteration takes over from the one before it, beside the weights that it starts from."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ADAPTER, OPTIMIZER = "adapter", "optimizer.pt"  # as training leaves them beside its checkpoint


class Before(NamedTuple):
    """What a training step is given of earlier ones; nothing by default.

    adapter: folder of an adapter that goes on training and, as it is now, is the reference.
    optimizer: file of the optimizer's state that is gone on with.
    start_name: what readers of an adapter know the start checkpoint as.
    """

    adapter: Path | None = None
    optimizer: Path | None = None
    start_name: str = ""


NOTHING = Before()
