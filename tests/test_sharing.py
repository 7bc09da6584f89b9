"""One GPU for engine, judge, scorer and training: who computes next makes the others let go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import runs

from evalkit import roles
from evalkit.engines.transformers import TransformersEngine
from evalkit.journal import Journal
from evalkit.journaled_models import JournaledEngine
from evalkit.loading import weights_digest
from evalkit.pipeline import checkpoints, children, launching, plugins, run
from evalkit.pipeline.sharing import Accelerator
from evalkit.recipe_file import read_document
from evalkit.records import Checkpoint, Prompt, Response
from evalkit.roles import (
    GenerationRequest,
    LoadedModel,
    PairRequest,
    PluginRef,
    Progress,
    Sampling,
    ScoringRequest,
    Verdict,
)

GREEDY = Sampling(0.0, 1.0, 4)
REQUESTS = [GenerationRequest((5, 6, 7 + number)) for number in range(5)]


def ignore(done: int, total: int, note: str = "") -> None:
    """No progress is shown."""


class Server(roles.Engine):
    """An engine with weights of its own, which notes what happens to it."""

    own_memory: ClassVar[bool] = True

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.seen: list[str] = []

    def serve(self, checkpoint: Checkpoint, open_model: Callable[[], LoadedModel]) -> Server:
        self.seen.append(f"serve {checkpoint.name}")
        return self

    @property
    def tokenizer(self) -> Any:
        return None

    def generate(
        self, requests: Sequence[GenerationRequest], sampling: Sampling, progress: Progress
    ) -> list[tuple[Response, ...]]:
        self.seen.append(f"generate {len(requests)}")
        return [(Response("", request.prompt_token_ids, "stop"),) for request in requests]

    def batches(self, requests: Sequence[GenerationRequest]) -> list[list[int]]:
        return [list(range(len(requests)))[start : start + 2] for start in (0, 2, 4)]

    def rest(self) -> None:
        self.seen.append("rest")

    def close(self) -> None:
        self.seen.append("close")


class LocalJudge(roles.Judge):
    """A judge with a model on this machine, which notes that it was closed."""

    own_memory: ClassVar[bool] = True
    closed = 0

    def identity(self) -> Mapping[str, Any]:
        return {"name": "local"}

    def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
        return [Verdict(0.0) for _ in requests]

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The engines that a pipeline with one GPU makes: `Server`s, or real ones by their name."""
    made: list[Any] = []

    def make(kind: str, ref: PluginRef) -> Any:
        own = ref.name == "transformers"
        made.append(
            TransformersEngine(TransformersEngine.Options()) if own else Server(roles.Options())
        )
        return made[-1]

    monkeypatch.setattr(plugins, "make", make)
    monkeypatch.setattr(checkpoints, "_accelerator", Accelerator(exclusive=True))
    yield made
    checkpoints.close_engine()


@pytest.fixture
def base(tiny_llama: Path) -> Checkpoint:
    return Checkpoint("base", str(tiny_llama), weights_digest(tiny_llama), "float32")


def _pair() -> list[PairRequest]:
    return [PairRequest(Prompt("p", ()), "a", "b")]


def test_the_holder_lets_go_when_another_takes_over() -> None:
    seen: list[str] = []
    for exclusive, expected in ((True, ["a"]), (False, [])):
        shared = Accelerator(exclusive)
        shared.take("a", lambda: seen.append("a"))
        shared.take("a", lambda: seen.append("a"))
        shared.take("b", lambda: seen.append("b"))
        assert seen == expected
        shared.free()
        assert seen == [*expected, "b"]
        shared.free()
        assert seen == [*expected, "b"]
        seen.clear()


def test_an_engine_is_kept_and_rests_while_others_compute(
    engines: list[Any], base: Checkpoint, tmp_path: Path
) -> None:
    ref = PluginRef(name="server")
    engine = checkpoints.open_engine(ref, base, Journal(tmp_path / "a"))
    engine.generate(REQUESTS, GREEDY, ignore)
    judge = LocalJudge(roles.Options())
    checkpoints.open_judge(judge, Journal(tmp_path / "b"), tmp_path / "spending").compare(
        _pair(), ignore
    )
    (server,) = engines
    assert server.seen[-1] == "rest"
    again = checkpoints.open_engine(ref, base, Journal(tmp_path / "c"))
    assert judge.closed == 0
    again.generate(REQUESTS, GREEDY, ignore)
    assert judge.closed == 1
    checkpoints.open_scorer(base, Journal(tmp_path / "d")).score(
        [ScoringRequest((5, 6), ((7,),))], ignore
    )
    assert server.seen[-1] == "rest"
    assert checkpoints._loaded.cache_info().currsize == 1
    again.generate([GenerationRequest((9,)), *REQUESTS], GREEDY, ignore)
    assert checkpoints._loaded.cache_info().currsize == 0
    checkpoints.release()
    assert server.seen[-1] == "rest"
    assert engines == [server]
    checkpoints.open_engine(PluginRef(name="other"), base, Journal(tmp_path / "e"))
    assert server.seen[-1] == "close"


def test_scorer_and_transformers_engine_share_one_loaded_model(
    engines: list[Any], base: Checkpoint, tmp_path: Path
) -> None:
    checkpoints._loaded.cache_clear()
    scorer = checkpoints.open_scorer(base, Journal(tmp_path / "a"))
    engine = checkpoints.open_engine(PluginRef(name="transformers"), base, Journal(tmp_path / "b"))
    for number in range(2):
        scorer.score([ScoringRequest((5, number), ((7,),))], ignore)
        engine.generate([GenerationRequest((5, number))], GREEDY, ignore)
    assert checkpoints._loaded.cache_info().misses == 1
    checkpoints.release()
    assert engines[0]._loaded is None
    assert checkpoints._loaded.cache_info().currsize == 0


def test_what_an_engine_is_needs_no_model_once_it_was_loaded(
    engines: list[Any], base: Checkpoint, tmp_path: Path
) -> None:
    """A benchmark writes it down behind its judge, who may have the GPU then."""
    checkpoints._loaded.cache_clear()
    engine = checkpoints.open_engine(PluginRef(name="transformers"), base, Journal(tmp_path / "a"))
    engine.generate(REQUESTS, GREEDY, ignore)
    said = engine.identity(), engine.tokenizer
    judge = LocalJudge(roles.Options())
    checkpoints.open_judge(judge, Journal(tmp_path / "b"), tmp_path / "spending").compare(
        _pair(), ignore
    )
    assert (engine.identity(), engine.tokenizer) == said
    assert said[0]["dtype"] == "float32"
    assert checkpoints._loaded.cache_info().currsize == 0
    assert judge.closed == 0


@pytest.mark.parametrize("launched", [True, False])
def test_nothing_is_held_here_while_other_processes_do_a_step(
    base: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launched: bool
) -> None:
    orders = run.Orders(out=tmp_path / "run", children="never" if launched else "always")
    ready = run.prepare("train", read_document(runs.RECIPES / "micro.yaml"), orders)
    if launched:
        launch = launching.find_launch("ddp", 2)
        ready = ready._replace(options=replace(ready.options, launch=launch))
    held: list[int] = []

    def look(*_: Any) -> None:
        held.append(checkpoints._loaded.cache_info().currsize)

    monkeypatch.setattr(launching, "run_launched", look)
    monkeypatch.setattr(children, "run_in_child", look)
    checkpoints._loaded.cache_clear()
    checkpoints.opened(base)
    assert checkpoints._loaded.cache_info().currsize == 1
    do = run._elsewhere(ready, orders)(ready.plan.by_name["iter1-train"])
    assert do is not None
    do()
    assert held == [0]


def test_only_missing_batches_are_generated(tmp_path: Path) -> None:
    """Nothing is prepared, and no server started, where the journal has every batch."""
    prepared: list[str] = []

    def engine(server: Server, file: str) -> JournaledEngine:
        return JournaledEngine(server, Journal(tmp_path / file), lambda: prepared.append(file))

    first = Server(roles.Options())
    whole = engine(first, "journal").generate(REQUESTS, GREEDY, ignore)
    assert [group[0].token_ids for group in whole] == [r.prompt_token_ids for r in REQUESTS]
    assert first.seen == ["generate 2", "generate 2", "generate 1"]
    lines = (tmp_path / "journal").read_text().splitlines(keepends=True)
    (tmp_path / "cut").write_text(lines[0] + lines[2])
    second, third = Server(roles.Options()), Server(roles.Options())
    counted: list[tuple[int, int]] = []
    again = engine(second, "cut").generate(
        REQUESTS, GREEDY, lambda done, total, note="": counted.append((done, total))
    )
    assert again == whole
    assert second.seen == ["generate 2"]
    assert counted == [(5, 5)]
    assert engine(third, "journal").generate(REQUESTS, GREEDY, ignore) == whole
    assert third.seen == []
    assert prepared == ["journal", "cut"]
