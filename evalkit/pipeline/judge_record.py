"""Says beside other tools' files who judged: their own formats have no place for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evalkit.durable import write_text
from evalkit.fingerprint import fingerprint

JUDGE = "judge.json"


def write_judge(folder: Path, identity: Mapping[str, Any]) -> None:
    """Writes `judge.json`: all that pins the judge, and its digest, as in a result's samples."""
    record = {"judge_digest": fingerprint(identity), "judge": identity}
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False)
    write_text(folder / JUDGE, text + "\n")
