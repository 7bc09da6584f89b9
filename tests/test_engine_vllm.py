"""A real vLLM, started, asked, given other weights and stopped by the vllm engine.

In fp32 it must choose the tokens that the transformers engine chooses.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import runs
import vllm_parts

from evalkit.engines.endings import declared_end, end_token_ids
from evalkit.engines.transformers import TransformersEngine
from evalkit.engines.vllm import VllmEngine
from evalkit.errors import PrerequisiteError, ScoreError
from evalkit.loading import load_model
from evalkit.records import Response
from evalkit.roles import GenerationRequest, Sampling

pytestmark = pytest.mark.vllm

GREEDY, SAMPLED = Sampling(0.0, 1.0, 16), Sampling(1.0, 1.0, 16)
TIE_NATS = 1e-3


@pytest.fixture(scope="module")
def other(pocket_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vllm_parts.disturbed(pocket_base, tmp_path_factory.mktemp("other") / "checkpoint")


@pytest.fixture(scope="module")
def running() -> Iterator[VllmEngine]:
    """One engine whose server is kept from test to test, and given other weights."""
    made = vllm_parts.engine(reload_weights=True)
    yield made
    made.close()


@pytest.fixture
def engine(running: VllmEngine, pocket_base: Path) -> VllmEngine:
    return running.serve(vllm_parts.checkpoint(pocket_base), _not_opened)


def _not_opened() -> None:
    raise AssertionError("the vllm engine must not load the model into this process")


def _process(engine: VllmEngine) -> subprocess.Popen[bytes]:
    process = engine._place._process  # type: ignore[union-attr]
    assert process is not None
    return process


def _unlike_transformers(
    folder: Path, requests: list[GenerationRequest], answers: list[tuple[Response, ...]]
) -> list[int]:
    """Requests whose greedy tokens are not those of the same weights in transformers.

    Where the first different tokens are as likely as each other, either is right.
    """
    import torch

    loaded = load_model(folder)
    plain = TransformersEngine(TransformersEngine.Options())
    plain.serve(vllm_parts.checkpoint(folder), lambda: loaded)
    unlike = []
    for number, (request, mine, theirs) in enumerate(
        zip(requests, answers, plain.generate(requests, GREEDY, vllm_parts.ignore), strict=True)
    ):
        a, b = mine[0].token_ids, theirs[0].token_ids
        if mine == theirs:
            continue
        place = next(i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y)
        ids = torch.tensor([[*request.prompt_token_ids, *a[:place]]])
        logits = loaded.model(ids).logits[0, -1].detach()
        if abs(float(logits[a[place]] - logits[b[place]])) > TIE_NATS:
            unlike.append(number)
    return unlike


def test_greedy_tokens_are_those_of_transformers(engine: VllmEngine, pocket_base: Path) -> None:
    """Also that no model is loaded here, that reasons and texts agree, and n copies are equal."""
    requests = vllm_parts.requests(40)
    answers = engine.generate(requests, GREEDY, vllm_parts.ignore)
    assert _unlike_transformers(pocket_base, requests, answers) == []
    cut = engine.generate(requests, GREEDY._replace(max_new_tokens=1), vllm_parts.ignore)
    for (short,), (whole,) in zip(cut, answers, strict=True):
        assert short.token_ids == whole.token_ids[:1]
        assert short.finish_reason == ("stop" if whole.token_ids == short.token_ids else "length")
    assert {answer.finish_reason for (answer,) in [*cut, *answers]} == {"stop", "length"}
    three = engine.generate([requests[0]._replace(n=3)], GREEDY, vllm_parts.ignore)[0]
    assert three == answers[0] * 3


def test_samples_depend_on_their_seed_alone(engine: VllmEngine) -> None:
    requests = vllm_parts.requests(30, n=5)
    answers = engine.generate(requests, SAMPLED, vllm_parts.ignore)
    assert all(len(group) == 5 for group in answers)
    assert sum(len(set(group)) > 1 for group in answers) > 20
    alone = engine.generate(requests[7:9], SAMPLED, vllm_parts.ignore)
    assert alone == answers[7:9]
    reseeded = engine.generate([requests[7]._replace(seed=5)], SAMPLED, vllm_parts.ignore)
    assert reseeded[0] != answers[7]


def test_closing_tokens_are_kept_and_reasons_told(engine: VllmEngine, pocket_base: Path) -> None:
    ends = end_token_ids(engine.tokenizer, declared_end(pocket_base))
    answers = engine.generate(vllm_parts.requests(40, n=2), SAMPLED, vllm_parts.ignore)
    for answer in (one for group in answers for one in group):
        assert (answer.token_ids[-1] in ends) == (answer.finish_reason == "stop")
        assert not set(answer.token_ids[:-1]) & ends
        assert len(answer.token_ids) <= SAMPLED.max_new_tokens
        assert answer.finish_reason == "stop" or len(answer.token_ids) == SAMPLED.max_new_tokens


def test_stop_strings_end_a_response_and_are_cut_off(engine: VllmEngine) -> None:
    free = engine.generate(vllm_parts.requests(30), SAMPLED, vllm_parts.ignore)
    cut = engine.generate(vllm_parts.requests(30, stop=("e",)), SAMPLED, vllm_parts.ignore)
    seen = 0
    for (whole,), (answer,) in zip(free, cut, strict=True):
        if "e" in whole.text:
            seen += 1
            assert answer.text == whole.text[: whole.text.index("e")]
            assert answer.finish_reason == "stop"
            assert answer.token_ids == whole.token_ids[: len(answer.token_ids)]
        else:
            assert answer == whole
    assert seen > 5


def test_a_prompt_without_room_is_refused_and_little_room_is_used(
    engine: VllmEngine, pocket_base: Path
) -> None:
    context = load_model(pocket_base).model.config.max_position_embeddings
    full, nearly = GenerationRequest((5,) * context), GenerationRequest((5,) * (context - 2))
    with pytest.raises(ScoreError, match="fills the model's context"):
        engine.generate([full], GREEDY, vllm_parts.ignore)
    (answer,) = engine.generate([nearly], GREEDY, vllm_parts.ignore)[0]
    assert len(answer.token_ids) <= 2


def test_more_prompt_tokens_than_one_step_takes(engine: VllmEngine) -> None:
    """Seeded requests whose prompts must wait for each other: vLLM's default dies of them."""
    requests = [
        GenerationRequest((1, *(5 + number % 400,) * 300), 2, number) for number in range(40)
    ]
    answers = engine.generate(requests, SAMPLED, vllm_parts.ignore)
    assert engine.generate(requests[3:5], SAMPLED, vllm_parts.ignore) == answers[3:5]


def test_batches_stream_as_they_are_whole(engine: VllmEngine) -> None:
    requests = vllm_parts.requests(24, n=2)
    whole = engine.generate(requests, SAMPLED, vllm_parts.ignore)
    batches = [requests[:10], requests[10:11], requests[11:]]
    streamed = dict(engine.stream(batches, SAMPLED))
    assert [*streamed[0], *streamed[1], *streamed[2]] == whole


def test_the_server_is_reused_and_takes_other_weights(
    engine: VllmEngine, pocket_base: Path, other: Path
) -> None:
    """Reloaded weights answer as a server started with them would: as transformers does."""
    requests = vllm_parts.requests(20)
    before = engine.generate(requests, GREEDY, vllm_parts.ignore)
    process = _process(engine).pid
    engine.serve(vllm_parts.checkpoint(other), _not_opened)
    swapped = engine.generate(requests, GREEDY, vllm_parts.ignore)
    assert swapped != before
    assert _unlike_transformers(other, requests, swapped) == []
    engine.rest()
    engine.serve(vllm_parts.checkpoint(pocket_base), _not_opened)
    assert engine.generate(requests, GREEDY, vllm_parts.ignore) == before
    assert _process(engine).pid == process


def test_restarted_for_other_weights_and_a_death_is_told(pocket_base: Path, other: Path) -> None:
    """Without `reload_weights` another server takes over; a killed one is an error with its log."""
    engine = vllm_parts.engine(max_num_seqs=32)
    requests = vllm_parts.requests(20)
    try:
        engine.serve(vllm_parts.checkpoint(pocket_base), _not_opened)
        engine.generate(requests[:2], GREEDY, vllm_parts.ignore)
        first = _process(engine)
        engine.serve(vllm_parts.checkpoint(other), _not_opened)
        answers = engine.generate(requests, GREEDY, vllm_parts.ignore)
        assert _unlike_transformers(other, requests, answers) == []
        assert first.poll() is not None
        second = _process(engine).pid
        for pid in set(vllm_parts.group_of(second)) - {second}:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(PrerequisiteError, match="log ends with") as caught:
            engine.generate(requests, GREEDY, vllm_parts.ignore)
        assert "died" in caught.value.message
        assert "run the same command again" in caught.value.hint
        assert vllm_parts.group_of(second) == []
    finally:
        engine.close()


def test_what_a_server_dies_of_is_told(pocket_base: Path) -> None:
    engine = vllm_parts.engine(arguments={"no_such_argument": 1})
    engine.serve(vllm_parts.checkpoint(pocket_base), _not_opened)
    with pytest.raises(PrerequisiteError, match="did not start") as caught:
        engine.generate(vllm_parts.requests(1), GREEDY, vllm_parts.ignore)
    assert "no-such-argument" in caught.value.message


def test_in_process_where_vllm_can_be_imported(engine: VllmEngine, pocket_base: Path) -> None:
    """Run by vLLM's own Python, the engine needs no server and gives the same responses."""
    requests = vllm_parts.requests(20, n=2)
    expected = engine.generate(requests, SAMPLED, vllm_parts.ignore)
    script = (
        "import sys, vllm_parts\n"
        "from pathlib import Path\n"
        "from evalkit.engines.vllm import VllmEngine\n"
        "from evalkit.roles import Sampling\n"
        "from evalkit.records import dumps\n"
        "if __name__ == '__main__':\n"
        "    engine = VllmEngine(VllmEngine.Options())\n"
        "    assert engine.check() == []\n"
        "    engine.serve(vllm_parts.checkpoint(Path(sys.argv[1])), None)\n"
        "    made = engine.generate(\n"
        "        vllm_parts.requests(20, n=2), Sampling(1.0, 1.0, 16), vllm_parts.ignore)\n"
        "    print('\\nanswers: ' + dumps([one.token_ids for group in made for one in group]))\n"
        "    engine.close()\n"
    )
    python = vllm_parts.how().get("python", sys.executable)
    done = subprocess.run(
        [python, "-c", script, pocket_base], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{vllm_parts.ROOT}:{vllm_parts.ROOT / 'tests'}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(x for x in done.stdout.splitlines() if x.startswith("answers: "))
    ids = [list(one.token_ids) for group in expected for one in group]
    assert json.loads(line.removeprefix("answers: ")) == ids


def _overrides() -> list[str]:
    python = vllm_parts.how().get("python", sys.executable)
    engine = f"engine={{name: vllm, mode: server, python: {python}, reload_weights: true}}"
    return ["--set", engine, "--set", "variants=[]"]


def test_a_run_killed_in_generation_is_resumed_and_leaves_no_server(tmp_path: Path) -> None:
    """SIGKILL ends the server too; the same command keeps what was sampled, and goes to the end."""
    steps = tmp_path / "run" / "steps"
    recipe = runs.RECIPES / "micro.yaml"
    # More prompts than one batch of the journal, and longer answers than a kill takes.
    long = [*_overrides(), "--set", "stages.0.prompts.count=640",
            "--set", "stages.0.prompts_per_iteration=320"]  # fmt: skip
    with subprocess.Popen(
        runs.command(recipe, tmp_path, *long), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        journal = _await(lambda: next(steps.glob("iter1-responses*/*/journal.jsonl"), None))
        _await(lambda: journal.stat().st_size or None)
        process.kill()
    kept = journal.read_text().splitlines()
    sockets = f"{tmp_path}/run/steps/base/checkpoint"
    _await(lambda: not vllm_parts.processes(sockets) or None, 30)
    runs.finish(recipe, tmp_path, *long)
    assert kept
    made = (steps / "iter1-responses" / "groups.jsonl").read_text()
    for line in kept:
        first = line.partition('"token_ids":')[2].partition("]")[0]
        assert first in made
    assert (steps / "iter2-train" / "receipt.json").is_file()
    assert not vllm_parts.processes(f"--model {tmp_path}")


def _await(found: Callable[[], object], timeout_s: float = 600) -> Path:
    """What `found` gives as soon as it gives something."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := found():
            return value  # type: ignore[return-value]
        time.sleep(0.05)
    raise AssertionError("waited in vain")
