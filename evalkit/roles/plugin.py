"""What every plug-in is: options of its own, checks, and what it fetches beforehand."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, Protocol

from pydantic import BaseModel, ConfigDict, model_validator

from evalkit.errors import Problem


class Options(BaseModel):
    """A plug-in's own settings, read from the recipe: closed and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PluginRef(BaseModel):
    """A plug-in by name with its own options beside it; a bare string is the name alone."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @model_validator(mode="before")
    @classmethod
    def _accept_a_bare_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def key(self) -> str:
        """Its name as used in step and file names: hyphens are underscores, a path its stem."""
        name = self.name.rsplit("/", 1)[-1].removesuffix(".py")
        return name.replace("-", "_")

    @property
    def options(self) -> dict[str, Any]:
        """What stands beside the name; the plug-in's `Options` class validates it."""
        return dict(self.model_extra or {})


class Prefetched(NamedTuple):
    """What of a repository on the Hub was brought to this machine, and at which commit.

    kind: `model`, `dataset` or `space`; `nltk` is a package of NLTK's data, at its sha256.
    what: which files, in words; empty for all that count.
    """

    kind: str
    repo: str
    revision: str
    what: str = ""


class Plugin:
    """What every plug-in has: an `Options` class, and an instance of it as `self.options`.

    version: part of every fingerprint; raise it when the same options would
        now give another result, so that finished steps are not reused.
    requires: (Python package, extra) pairs that must be installed to use it. Importing the
        plug-in's file must import none of them: recipes are checked before anything heavy.
    """

    Options: ClassVar[type[Options]] = Options
    version: ClassVar[int] = 1
    requires: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __init__(self, options: Any) -> None:
        self.options = options

    def check(self) -> list[Problem]:
        """Problems that can be seen before any expensive work; `where` may be an option's name."""
        return []

    def prefetch(self) -> list[Prefetched]:
        """Brings all that it would ask the Hub for into this machine's cache, and says what.

        Afterwards it works without a network.

        Raises:
            EvalkitError: something cannot be had.
        """
        return []


class Progress(Protocol):
    """Reports how far a long piece of work is; `console.py` draws it."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...
