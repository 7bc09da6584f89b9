"""One warm server for each model that judges in a run: started once, and shared by all its steps.

It comes up when something is first to be judged, gives a GPU back while others compute, and is
ended with the run. A step in a process of its own uses the server that the run has started.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from evalkit.console import say
from evalkit.errors import JudgeError, PrerequisiteError
from evalkit.fingerprint import fingerprint
from evalkit.pipeline import plugins
from evalkit.pipeline.judge_around import JudgeAround
from evalkit.records import Checkpoint
from evalkit.roles import (
    ChatPlace,
    Engine,
    GameRequest,
    Judge,
    LoadedModel,
    PairRequest,
    PluginRef,
    Progress,
    RatingRequest,
    Verdict,
)

_engines: dict[str, Engine] = {}  # by what they serve, and how
_given: dict[str, ChatPlace] = {}  # servers that the process of the run has started


class ServedJudge(JudgeAround):
    """A judge whose model an engine serves for it, and serves again should the server die."""

    own_memory: ClassVar[bool] = True

    def __init__(self, judge: Judge, engine: Engine) -> None:
        super().__init__(judge)
        self._engine = engine

    def identity(self) -> Mapping[str, Any]:
        return {**self.judge.identity(), "engine": dict(self._engine.identity())}

    def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
        self._connect()
        return self.judge.compare(requests, progress)

    def rate(self, requests: Sequence[RatingRequest], progress: Progress) -> list[Verdict]:
        self._connect()
        return self.judge.rate(requests, progress)

    def play(self, requests: Sequence[GameRequest], progress: Progress) -> list[Verdict]:
        self._connect()
        return self.judge.play(requests, progress)

    def stream(
        self, requests: Sequence[PairRequest] | Sequence[RatingRequest] | Sequence[GameRequest]
    ) -> Iterator[tuple[int, Verdict]] | None:
        if self.judge.stream([]) is None:
            return None
        return self._persistent(requests)

    def _persistent(self, requests: Sequence[Any]) -> Iterator[tuple[int, Verdict]]:
        """After a server's death, what it has not answered is asked of the next one."""
        left = dict(enumerate(requests))
        while left:
            place, indices = self._connect(), list(left)
            try:
                for at, verdict in self.judge.stream([left[index] for index in indices]) or ():
                    del left[indices[at]]
                    yield indices[at], verdict
                return
            except PrerequisiteError:
                if len(left) == len(indices) or self._engine.chat_place() == place:
                    raise  # it lives, or gave nothing: another would do no better
                say("note: the judge's server has died, and another was started")

    def close(self) -> None:
        """The server stays, without the GPU's memory: the next step may judge again."""
        self.judge.close()
        self._engine.rest()

    def _connect(self) -> ChatPlace:
        place = self._engine.chat_place()
        self.judge.ask_at(place)
        return place


def served(judge: Judge) -> Judge:
    """The judge with its server, where its model is to be served; else the judge itself."""
    ref = judge.engine()
    if ref is None:
        return judge
    checkpoint = judge.model_to_serve()
    key = _key(ref, checkpoint)
    if key not in _engines:
        engine: Engine = plugins.make("engines", ref)
        _engines[key] = engine.serve(checkpoint, _not_loaded)
        if key in _given:
            engine.attach(_given[key])
    return ServedJudge(judge, _engines[key])


def start_for(ref: PluginRef | None) -> dict[str, tuple[str, str]]:
    """Starts what a judge of the recipe needs, for a step in another process; see `take_over`."""
    judge: Judge | None = None if ref is None else plugins.make("judges", ref)
    engine = None if judge is None else judge.engine()
    if judge is None or engine is None:
        return {}
    key = _key(engine, judge.model_to_serve())
    served(judge)
    place = _engines[key].chat_place()
    _engines[key].rest()
    return {key: (place.socket_path, place.model)}


def take_over(places: Mapping[str, Sequence[str]]) -> None:
    """In such a process: the servers that `start_for` has started."""
    _given.update({key: ChatPlace(*place) for key, place in places.items()})


def close_servers() -> None:
    """Ends the servers that this process has started; to be called when a run is over."""
    while _engines:
        _engines.popitem()[1].close()


def _key(ref: PluginRef, checkpoint: Checkpoint) -> str:
    return fingerprint([plugins.settings("engines", ref), checkpoint.digest])


def _not_loaded() -> LoadedModel:
    raise JudgeError("an engine that serves a judge loads no model into this process")
