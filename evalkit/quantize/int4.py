"""The int4 layout that both 4-bit schemes write, as llmcompressor's modifiers take it."""

from __future__ import annotations

from typing import Any

from evalkit.quantize.compress import IGNORED


def int4_groups(group_size: int) -> dict[str, Any]:
    """Modifier settings: symmetric int4 weights in groups, every linear layer but the head."""
    weights = {
        "num_bits": 4,
        "type": "int",
        "symmetric": True,
        "strategy": "group",
        "group_size": group_size,
    }
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    return {"config_groups": groups, "ignore": list(IGNORED)}
