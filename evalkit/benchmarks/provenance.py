"""What every result says about how it was made."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from evalkit.fingerprint import fingerprint
from evalkit.metrics.score import measured as measured
from evalkit.roles import BenchmarkContext


def template_digest(tokenizer: Any) -> str | None:
    """sha256 of the tokenizer's chat template, None where it has none."""
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        return None
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of the packages that are there."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def common(context: BenchmarkContext, *packages: str) -> dict[str, Any]:
    """The provenance every suite has: seed, template, engine versions."""
    return {
        "seed": context.seed,
        "chat_template_sha256": template_digest(context.tokenizer),
        "versions": versions("torch", "transformers", *packages),
    }


def judge_label(identity: Mapping[str, Any]) -> str:
    """What other tools' files call a judge: its model where it has one, else its name."""
    return str(identity.get("model") or identity.get("name"))


def signature(identity: Mapping[str, Any], asked: str) -> dict[str, Any]:
    """What pins a judge, as columns beside those of other tools' rows, which these tools leave be.

    asked: the part of the identity that says how: `pairs` or `ratings`.
    """
    how = identity.get(asked)
    how = how if isinstance(how, Mapping) else {}
    pinned = (identity.get(key) for key in ("revision", "weights", "digest"))
    return {
        "judge_digest": fingerprint(identity),
        "judge_model": judge_label(identity),
        "judge_revision": next((one for one in pinned if one), None),
        "judge_prompt_sha256": how.get("sha256"),
        "judge_temperature": how.get("temperature", identity.get("temperature")),
    }


def write_json(file: Path, value: Any) -> None:
    """Writes indented JSON, equal values giving equal bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    file.write_text(text + "\n", encoding="utf-8")


def write_jsonl(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes one JSON object per line, in the given order."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    file.write_text("".join(lines), encoding="utf-8")
