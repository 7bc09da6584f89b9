"""Options that a stranger's card may set where it is measured again, and those it may not.

A record may say what is asked and how it is scored. It may name no code to run, no address to
send requests or keys to, no file of this machine and no program.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

from pydantic.fields import FieldInfo

from evalkit import registry
from evalkit.errors import CardError
from evalkit.roles import PluginRef

_KINDS = {"engine": "engines", "judge": "judges"}  # of plug-ins among options; others are sources
_PASSED_ON = frozenset({"arguments", "extra_body"})  # to other programs, which may run anything
_HARMLESS = frozenset({"revision", "revisions"})


def trusted(kind: str, data: str | Mapping[str, Any], command: str) -> dict[str, Any]:
    """A plug-in as a record's command has it, without what is this machine's affair.

    Raises:
        CardError: it asks for code, addresses or files; the hint is to give it as a flag.
        RecipeError: there is no such plug-in.
    """
    found: dict[str, Any] = {"name": data} if isinstance(data, str) else dict(data)
    name = str(found["name"])
    if name.endswith(".py"):
        raise _refused(name, "code of its own", command)
    fields = registry.load(kind, name).Options.model_fields
    for key, value in [(key, value) for key, value in found.items() if key != "name"]:
        field = fields.get(key)
        if field is not None and _is_plugin(field) and value is not None:
            found[key] = trusted(_KINDS.get(key, "sources"), value, command)
        elif kind != "benchmarks" and kind != "sources" and field is not None and field.exclude:
            del found[key]  # how to go about it: keys, prices, servers
        elif "://" in json.dumps(value) or (key in _PASSED_ON and value):
            raise _refused(f"{name}: {key}", "other programs or addresses", command)
        elif field is not None and _is_of_machine(key, value, field):
            raise _refused(f"{name}: {key}", "files of its maker's machine", command)
    return found


def _is_plugin(field: FieldInfo) -> bool:
    return field.annotation is PluginRef or PluginRef in get_args(field.annotation)


def _is_of_machine(key: str, value: Any, field: FieldInfo) -> bool:
    """Whether an option names a place: fingerprints leave those out, as their contents decide."""
    if not field.exclude or key in _HARMLESS or (key, value) == ("include_path", "pocket"):
        return False
    default = field.get_default(call_default_factory=True)
    return json.dumps(value) != json.dumps(default, default=str)


def _refused(what: str, why: str, command: str) -> CardError:
    return CardError(
        f"the card's records ask for {why}: {what}",
        f"if you trust them, give their flags yourself: {command}",
    )
