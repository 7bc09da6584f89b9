"""Keys of the metadata that nothing reads because they are misspelt."""

from __future__ import annotations

import re

from evalkit import licences
from evalkit.card_schema import kind_of, meant_key
from evalkit.lint.context import Context
from evalkit.lint.lines import line_text, with_lines
from evalkit.lint.rule import Rule
from evalkit.lint.schema_faults import faults, line_of, of_kind


def mend(context: Context) -> str:
    """Writes the key that was meant where it is not there and can take the value.

    TRL's cards say `licence: license`, from which no licence can be told: that stays.
    """
    changed: dict[int, str] = {}
    metadata = context.card.metadata
    for fault in faults(context):
        if fault.kind != "misspelt":
            continue
        key = str(fault.path[0])
        meant = meant_key(key, kind_of(metadata))
        if (
            meant is None
            or meant in metadata
            or (meant == "license" and not _is_licence(metadata[key]))
        ):
            continue
        number = line_of(context, fault)
        pattern = rf"^(['\"]?){re.escape(key)}\1(?=\s*:)"
        changed[number] = re.sub(pattern, meant, line_text(context.card, number), count=1)
    return with_lines(context.card, changed)


def _is_licence(value: object) -> bool:
    return isinstance(value, str) and licences.normalised(value) in licences.ids()


RULE = Rule(
    code="EK104",
    name="misspelt-key",
    summary="A key of the metadata is misspelt.",
    why="Hubs keep it and read nothing from it: a model under `licence: mit` has no licence there.",
    check=of_kind("misspelt"),
    mend=mend,
)
