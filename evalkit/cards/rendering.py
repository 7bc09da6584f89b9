"""Fills the Markdown templates: strictly, in a sandbox, everything escaped that is not Markdown.

A missing value, an unformatted number or an object is an error: nothing ever
disappears from a card in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from evalkit import resources
from evalkit.cards import values
from evalkit.cards.regions import empty_region
from evalkit.errors import CardError
from evalkit.markdown import Markdown, code, escape, fence, prose

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

FILTERS = {
    "code": code,
    "count": values.count,
    "fence": fence,
    "parameters": values.parameters,
    "prose": prose,
    "size": values.size,
}


def render(name: str, context: Mapping[str, Any]) -> str:
    """The text of `templates/<name>` filled from `context`.

    Raises:
        CardError: the template asks for something that is not there, or not fit to be shown.
    """
    from jinja2 import TemplateError

    try:
        return _environment().get_template(name).render(context)
    except TemplateError as error:
        raise CardError(f"the template {name} cannot be filled: {error}") from error


@cache
def _environment() -> SandboxedEnvironment:
    from jinja2 import FunctionLoader, StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(
        loader=FunctionLoader(resources.template),
        undefined=StrictUndefined,
        finalize=_safe,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # that would escape for HTML; `_safe` escapes for Markdown
    )
    environment.filters.update(FILTERS)
    environment.globals["joined"] = _joined
    environment.globals["keep"] = empty_region
    return environment


def _safe(value: Any) -> str:
    from jinja2 import Undefined

    if isinstance(value, Markdown):
        return value
    if isinstance(value, Undefined):
        return str(value)  # raises, naming what is missing
    if isinstance(value, str):
        return escape(value)
    raise CardError(f"a template shows {value!r} without saying how: give it a filter")


def _joined(parts: Any, separator: str) -> Markdown:
    """Parts, each escaped unless it is Markdown, with `separator` between."""
    return Markdown(separator.join(_safe(part) for part in parts))
