"""The files beside the weights: what a quantized repository takes over from its parent."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from evalkit.checkpoint_files import COMPANIONS

_PATH_KEYS = ("_name_or_path", "name_or_path")


def carry_over(parent: Path, folder: Path) -> None:
    """Copies tokenizer, chat templates, generation config and licence, byte for byte.

    Only the keys in which transformers notes where a model was loaded from are dropped.
    """
    for pattern in COMPANIONS:
        for file in sorted(parent.glob(pattern)):
            if file.is_file():
                place = folder / file.relative_to(parent)
                place.parent.mkdir(exist_ok=True)
                shutil.copyfile(file, place)
    for name in ("config.json", "tokenizer_config.json"):
        _forget_origin(folder / name)


def _forget_origin(file: Path) -> None:
    if not file.is_file():
        return
    content = json.loads(file.read_text("utf-8"))
    if [key for key in _PATH_KEYS if content.pop(key, None) is not None]:
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
