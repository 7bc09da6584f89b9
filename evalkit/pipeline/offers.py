"""What plug-ins offer, for lists and for choosing: their options, what they need, what lacks."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from evalkit import fields, registry


def describe_plugin(kind: str, name: str) -> dict[str, Any]:
    """A plug-in's summary, options, needs and packages as JSON values; imports its file alone.

    Raises:
        RecipeError: there is no such plug-in.
    """
    plugin = registry.load(kind, name)
    return {
        "summary": registry.summary(kind, name),
        "options": [option._asdict() for option in fields.describe(plugin.Options)],
        "needs": sorted(getattr(plugin, "needs", ())) if kind == "benchmarks" else [],
        "requires": [
            {"package": package, "extra": extra, "installed": find_spec(package) is not None}
            for package, extra in plugin.requires
        ],
    }


def benchmark_lines() -> list[str]:
    """One line per benchmark: its name, what it measures, and what it must be given."""
    example = "--benchmark 'lm_eval_tasks:tasks=[arc_challenge],num_fewshot=25'"
    return [*_lines("benchmarks"), f"for example: {example}"]


def scheme_lines() -> list[str]:
    """One line per scheme: its name, what it makes, and what it must be given."""
    return _lines("schemes")


def _lines(kind: str) -> list[str]:
    names = registry.names(kind)
    width = max(map(len, names), default=0)
    return [f"{name:<{width}}  {_line(kind, name)}" for name in names]


def _line(kind: str, name: str) -> str:
    plugin = registry.load(kind, name)
    wants = [f"{one.name}=..." for one in fields.describe(plugin.Options) if one.default is None]
    if "judge" in getattr(plugin, "needs", ()):
        wants.append("--judge")
    if getattr(plugin, "calibrated", False):
        wants.append("--calibration")
    label = getattr(plugin, "label", "") or registry.summary(kind, name)
    return f"{label}; needs {', '.join(wants)}" if wants else label
