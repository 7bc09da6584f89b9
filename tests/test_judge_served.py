"""A judge whose model a run serves: one server for all steps, healthy, rested, and ended.

The server is scripted, on a Unix socket as vLLM's is; a real one is in `test_judge_served_vllm`.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from judge_server import MODEL, JudgeServer
from test_judge_llm import judge as asked_at
from test_judge_llm import pair

from evalkit import roles
from evalkit.errors import JudgeError, PrerequisiteError, RecipeError
from evalkit.journal import Journal
from evalkit.judges.llm import LlmJudge, LlmOptions
from evalkit.pipeline import checkpoints, children, judge_serving, plugins, runner
from evalkit.pipeline.preflight import _plugin_problems
from evalkit.pipeline.step import Plan, RunOptions, Step
from evalkit.recipe_file import read_recipe
from evalkit.records import Checkpoint, Response
from evalkit.roles import ChatPlace, GenerationRequest, LoadedModel, PluginRef, Progress, Sampling
from evalkit.rundir import RunDir

PAIRS = [pair(i) for i in range(12)]


class SocketServer(JudgeServer):
    """The scripted judge on a Unix socket."""

    address_family = socket.AF_UNIX

    def __init__(self, path: Path, **options: Any) -> None:
        self.path = str(path)
        super().__init__(**options)
        # No such thing as Nagle's algorithm on a Unix socket.
        handler: Any = self.RequestHandlerClass
        self.RequestHandlerClass = type("Handler", (handler,), {"disable_nagle_algorithm": False})

    def server_bind(self) -> None:
        self.socket.bind(self.path)
        self.server_name, self.server_port = "local", 0


@contextmanager
def serving(path: Path, **options: Any) -> Iterator[SocketServer]:
    server = SocketServer(path, **options)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class ServingEngine(roles.Engine):
    """Serves at the sockets it is given, one after the other's death, and notes what happens."""

    places: ClassVar[list[Path]] = []
    seen: ClassVar[list[str]] = []
    dead: ClassVar[set[Path]] = set()

    def serve(self, checkpoint: Checkpoint, open_model: Callable[[], LoadedModel]) -> ServingEngine:
        self.seen.append(f"serve {checkpoint.digest[:4]}")
        self.at: Path | None = None
        return self

    @property
    def tokenizer(self) -> Any:
        raise AssertionError

    def generate(
        self, requests: Sequence[GenerationRequest], sampling: Sampling, progress: Progress
    ) -> list[tuple[Response, ...]]:
        raise AssertionError

    def identity(self) -> Mapping[str, Any]:
        return {"engine": "serving", "version": "1"}

    def chat_place(self) -> ChatPlace:
        if self.at is None or self.at in self.dead:
            self.at = next(place for place in self.places if place not in self.dead)
            self.seen.append("start")
        return ChatPlace(str(self.at), MODEL)

    def attach(self, place: ChatPlace) -> None:
        self.seen.append("attach")
        self.at = Path(place.socket_path)

    def rest(self) -> None:
        self.seen.append("rest")

    def close(self) -> None:
        self.seen.append("close")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[ServingEngine]]:
    """What the pipeline makes in place of a vLLM."""
    make = plugins.make
    monkeypatch.setattr(ServingEngine, "places", [tmp_path / "a", tmp_path / "b"])
    monkeypatch.setattr(ServingEngine, "seen", [])
    monkeypatch.setattr(ServingEngine, "dead", set())
    monkeypatch.setattr(
        plugins,
        "make",
        lambda kind, ref: ServingEngine(roles.Options()) if kind == "engines" else make(kind, ref),
    )
    yield ServingEngine
    judge_serving.close_servers()
    judge_serving._given.clear()


def judge(folder: Path, **options: Any) -> LlmJudge:
    return LlmJudge(LlmOptions(serve=str(folder), backoff_s=0.01, **options))


def opened(folder: Path, into: Path, **options: Any) -> Any:
    return checkpoints.open_judge(
        judge(folder, **options), Journal(into / "journal"), into / "spending"
    )


def test_one_server_for_all_steps(
    engine: type[ServingEngine], tiny_llama: Path, tmp_path: Path
) -> None:
    """Started when first asked; it stays when a step closes its judge, and ends with the run."""
    with serving(tmp_path / "a") as server:
        first = opened(tiny_llama, tmp_path)
        assert engine.seen == [f"serve {judge(tiny_llama).model_to_serve().digest[:4]}"]
        verdicts = first.compare(PAIRS[:6], _silent)
        first.close()
        (tmp_path / "journal").unlink()
        again = opened(tiny_llama, tmp_path)
        assert again.compare(PAIRS[:6], _silent) == verdicts
        assert engine.seen[1:] == ["start", "rest"]
        assert len(server.bodies) == 12
        assert {body["model"] for body in server.bodies} == {MODEL}
    judge_serving.close_servers()
    assert engine.seen[-1] == "close"


def test_nothing_is_started_where_all_is_kept(
    engine: type[ServingEngine], tiny_llama: Path, tmp_path: Path
) -> None:
    with serving(tmp_path / "a"):
        before = opened(tiny_llama, tmp_path).compare(PAIRS, _silent)
    judge_serving.close_servers()
    engine.seen.clear()
    assert opened(tiny_llama, tmp_path).compare(PAIRS, _silent) == before
    assert "start" not in engine.seen


def test_a_server_that_dies_is_replaced_and_nothing_is_asked_twice(
    engine: type[ServingEngine], tiny_llama: Path, tmp_path: Path
) -> None:
    with serving(tmp_path / "a") as whole:
        expected = opened(tiny_llama, tmp_path).compare(PAIRS, _silent)
        assert set(whole.answered.values()) == {1}
    (tmp_path / "a").unlink()
    (tmp_path / "journal").unlink()
    judge_serving.close_servers()
    with (
        serving(tmp_path / "a", faults=[None] * 5, always="cut") as dying,
        serving(tmp_path / "b") as next_one,
    ):
        place = engine.chat_place

        def die_when_done(self: ServingEngine) -> ChatPlace:
            if len(dying.answered) == 5:
                engine.dead.add(tmp_path / "a")
            return place(self)

        engine.chat_place = die_when_done  # type: ignore[method-assign]
        try:
            served = opened(tiny_llama, tmp_path, concurrency=2, attempts=2)
            assert served.compare(PAIRS, _silent) == expected
        finally:
            engine.chat_place = place  # type: ignore[method-assign]
        assert dying.answered + next_one.answered == whole.answered
    assert engine.seen.count("start") == 3


def test_a_server_that_lives_and_fails_is_an_error(
    engine: type[ServingEngine], tiny_llama: Path, tmp_path: Path
) -> None:
    with serving(tmp_path / "a", always=503):
        served = opened(tiny_llama, tmp_path, attempts=2)
        with pytest.raises(PrerequisiteError, match="HTTP 503"):
            served.compare(PAIRS, _silent)
    assert engine.seen.count("start") == 1


def test_a_step_of_its_own_process_takes_the_run_s_server(
    engine: type[ServingEngine], tiny_llama: Path, tmp_path: Path
) -> None:
    ref = PluginRef.model_validate({"name": "llm", "serve": str(tiny_llama)})
    assert judge_serving.start_for(PluginRef(name="rule")) == {}
    assert judge_serving.start_for(None) == {}
    places = judge_serving.start_for(ref)
    assert engine.seen[1:] == ["start", "rest"]
    judge_serving._engines.clear()  # as in a process that has just begun
    judge_serving.take_over(places)
    with serving(tmp_path / "a") as server:
        opened(tiny_llama, tmp_path).compare(PAIRS, _silent)
        assert len(server.bodies) == 12
    assert engine.seen[3:] == [engine.seen[0], "attach"]


def test_a_child_process_is_told_of_it(
    engine: type[ServingEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the run's process to the step in the child, through what the child is given as text."""
    options = RunOptions(tmp_path, judge_servers={"key": ("a socket", MODEL)})
    step = Step("eval", "evaluate", "measure", {}, (), lambda context: {})
    task = children.task_of(step, RunDir(tmp_path), options, "evaluate")
    plan = Plan(None, (step,))  # type: ignore[arg-type]
    monkeypatch.setattr(children, "make_plan", lambda recipe, goal: plan)
    monkeypatch.setattr(children, "read_recipe", lambda file: SimpleNamespace(recipe=None))
    seen = []
    monkeypatch.setattr(runner, "run_step", lambda *given: seen.append(dict(judge_serving._given)))
    children.main(task)
    assert seen == [{"key": ChatPlace("a socket", MODEL)}]


def test_the_judge_is_known_by_its_weights_and_its_engine(
    engine: type[ServingEngine], tiny_llama: Path, tmp_path: Path
) -> None:
    identity = opened(tiny_llama, tmp_path).identity()
    assert identity["weights"] == judge(tiny_llama).model_to_serve().digest
    assert identity["engine"] == {"engine": "serving", "version": "1"}
    assert identity["endpoint"] == "served here"
    assert str(tiny_llama) not in str(identity)


class TestBeforehand:
    def test_how_it_is_served_is_part_of_what_decides(self, tiny_llama: Path) -> None:
        def settings(**engine: Any) -> dict[str, Any]:
            ref = {"name": "llm", "serve": str(tiny_llama), "engine": {"name": "vllm", **engine}}
            return plugins.settings("judges", PluginRef.model_validate(ref))

        assert settings(max_model_len=64) != settings()
        assert settings(gpu_memory_utilization=0.5) == settings()
        assert settings()["options"]["serve"] == judge(tiny_llama).model_to_serve().digest

    def test_a_folder_that_cannot_be_asked(self, tiny_llama: Path, tmp_path: Path) -> None:
        (problem,) = judge(tmp_path).check()
        assert problem.where == "serve"
        assert "no config.json" in problem.message
        (problem,) = judge(tmp_path / "nowhere").check()
        assert "there is no folder" in problem.message

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({}, "who judges"),
            ({"serve": "x", "model": "y"}, "leave those out"),
            ({"serve": "x", "endpoint": "http://h/v1"}, "leave those out"),
            ({"model": "x", "engine": {"name": "vllm"}}, "go with `serve`"),
            ({"model": "x", "revision": "main"}, "go with `serve`"),
        ],
    )
    def test_options_that_contradict(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=words):
            LlmOptions(**options)

    def test_an_engine_that_serves_no_chat(self) -> None:
        from evalkit.engines.transformers import TransformersEngine

        with pytest.raises(RecipeError, match="serves no chat completions"):
            TransformersEngine(TransformersEngine.Options()).chat_place()

    def test_a_mistake_in_its_engine_is_told_with_its_line(
        self, tiny_llama: Path, tmp_path: Path
    ) -> None:
        text = (
            f"name: x\nbase: {{model: {tiny_llama}}}\ncard: {{title: x, license: mit}}\n"
            f"evaluation:\n  judge:\n    name: llm\n    serve: {tiny_llama}\n"
            "    engine: {name: vllm, max_len: 3}\n"
        )
        file = tmp_path / "recipe.yaml"
        file.write_text(text)
        read = read_recipe(file)
        assert read.recipe.evaluation.judge is not None
        found = _plugin_problems(
            read, "judges", read.recipe.evaluation.judge, ("evaluation", "judge")
        )
        problem = next(one for one in found if "no such option" in one.message)
        assert "evaluation.judge.engine" in problem.where

    def test_it_cannot_be_asked_outside_a_run(self, tiny_llama: Path) -> None:
        with pytest.raises(JudgeError, match="is not served"):
            judge(tiny_llama).compare(PAIRS, _silent)

    def test_one_at_an_address_needs_no_engine(self) -> None:
        assert asked_at("http://h/v1").engine() is None


def _silent(done: int, total: int, note: str = "") -> None:
    """No progress is shown."""
