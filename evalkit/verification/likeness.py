"""Whether two numbers were made alike: settings are compared before values are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# What cards call a setting -> what records call it.
_CALLED = {"num_few_shot": "few_shot", "num_fewshot": "few_shot", "shots": "few_shot",
           "n_shot": "few_shot", "annotator": "judge", "template": "chat_template"}  # fmt: skip
_SAID = {"few_shot": "few-shot examples", "chat_template": "chat template",
         "template_sha256": "chat template", "judge": "judge", "harness": "harness",
         "weights": "weights", "limit": "limit of items"}  # fmt: skip
_HARNESSES = {"lmeval": "lmevaluationharness", "lmevalharness": "lmevaluationharness"}
_VERSION = re.compile(r"\d+(?:\.\d+)+")


def unlike(stated: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """What differs, in words; a setting that only one side states differs from nothing."""
    stated = {_CALLED.get(key, key): value for key, value in stated.items()}
    return [
        f"{_SAID[key]}: {_short(stated[key])} in the card, {_short(known[key])} here"
        for key in _SAID
        if stated.get(key) is not None and key in known
        if not _alike(key, stated[key], known[key])
    ]


def _alike(key: str, a: Any, b: Any) -> bool:
    if key in ("few_shot", "limit"):
        return str(a) == str(b)
    if key == "chat_template":
        return bool(a) == bool(b)
    if key == "harness":
        return _harness(str(a)) == _harness(str(b))
    if key == "judge":
        first, second = _letters(str(a)), _letters(str(b))
        return first in second or second in first
    return bool(a == b)


def _harness(text: str) -> tuple[str, str]:
    version = _VERSION.search(text)
    name = _letters(re.split(r"[\s(]*\d", text, maxsplit=1)[0])
    return _HARNESSES.get(name, name), version[0] if version else ""


def _letters(text: str) -> str:
    return "".join(re.findall(r"[a-z0-9]+", text.lower()))


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}…" if re.fullmatch(r"[0-9a-f]{64}", text) else text
