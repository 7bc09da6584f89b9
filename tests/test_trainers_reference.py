"""The reference pass: exact, kept batch by batch, found again under what decides it, compact."""

from __future__ import annotations

import os
import subprocess
import sys
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_trainers_trainer import BASIC, Killed, difference, examples, ignore, run
from transformers import AutoModelForCausalLM, AutoTokenizer

from evalkit.errors import ScoreError
from evalkit.records import TrainingExample
from evalkit.scoring import PackedBatch, ScoringModel
from evalkit.trainers.batches import epoch_order
from evalkit.trainers.reference import reference_logps


class Passes:
    """A Progress that counts the batches of a reference pass, and may stop at one."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.count, self._stop_at = 0, stop_at

    def __call__(self, done: int, total: int, note: str = "") -> None:
        if note == "reference":
            self.count += 1
        if self.count == self._stop_at:
            raise Killed


class Computed:
    """Counts the forward passes that were really computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from evalkit.trainers import reference

        self.count, plain = 0, reference._score_pass

        def counted(*arguments: Any) -> Any:
            self.count += 1
            return plain(*arguments)

        monkeypatch.setattr(reference, "_score_pass", counted)


def by_hand(folder: Path, example: TrainingExample) -> list[torch.Tensor]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    found = []
    for ids in example.continuations:
        with torch.no_grad():
            logits = model(torch.tensor([[*example.prompt_token_ids, *ids]])).logits[0].double()
        table = logits[len(example.prompt_token_ids) - 1 : -1].log_softmax(-1)
        found.append(table.gather(1, torch.tensor(ids)[:, None])[:, 0])
    return found


def test_equals_a_plain_forward_pass_by_token_and_in_sum(tiny_llama: Path) -> None:
    data = examples()
    scored = reference_logps(data, tiny_llama, BASIC, 3, ignore)
    for index in (0, 5, 13):  # 13 is in the last batch, which is not full
        expected = by_hand(tiny_llama, data[index])
        tokens = scored[index].reference_token_logps
        assert tokens is not None
        for ours, theirs in zip(tokens, expected, strict=True):
            assert isinstance(ours, array)
            assert torch.tensor(ours).double() == pytest.approx(theirs, abs=1e-4)
        sums = [float(logps.sum()) for logps in expected]
        assert scored[index].reference_logps == pytest.approx(sums, abs=1e-4)
        plain = replace(scored[index], reference_logps=None, reference_token_logps=None)
        assert plain == data[index]


def test_a_finished_pass_is_read_back_bit_for_bit(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = reference_logps(examples(), tiny_llama, BASIC, 3, ignore, tmp_path)
    computed = Computed(monkeypatch)
    assert reference_logps(examples(), tiny_llama, BASIC, 3, ignore, tmp_path) == first
    assert computed.count == 0
    assert reference_logps(examples(), tiny_llama, BASIC, 3, ignore) == first
    assert computed.count == 4


def test_its_passes_are_those_of_the_first_epoch(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = BASIC.model_copy(update={"schedule_epochs": 1.0, "token_budget": 60})
    passes: dict[bool, list[torch.Tensor]] = {False: [], True: []}
    plain = ScoringModel.forward

    def forward(self: ScoringModel, batch: PackedBatch, *rest: Any, **options: Any) -> Any:
        passes[torch.is_grad_enabled()].append(batch.input_ids_RT)
        return plain(self, batch, *rest, **options)

    monkeypatch.setattr(ScoringModel, "forward", forward)
    run(tmp_path / "out", tiny_llama, settings)
    assert len(passes[False]) > 4
    assert all(one.equal(other) for one, other in zip(*passes.values(), strict=True))


def test_it_is_kept_in_four_bytes_a_token(tiny_llama: Path, tmp_path: Path) -> None:
    data = examples(200)
    reference_logps(data, tiny_llama, BASIC, 3, ignore, tmp_path)
    [file] = tmp_path.iterdir()  # neither journals nor locks are left
    continuations = [ids for example in data for ids in example.continuations]
    numbers = len(continuations) + sum(map(len, continuations))
    assert 4 * numbers < file.stat().st_size < 4 * numbers + 400


@pytest.mark.parametrize(
    "change", [{"learning_rate": 1e-2}, {"schedule_epochs": 1.0}, {"optimizer": "sgd"}]
)
def test_other_optimisation_meets_the_same_pass(
    tiny_llama: Path, tmp_path: Path, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference_logps(examples(), tiny_llama, BASIC, 3, ignore, tmp_path)
    computed = Computed(monkeypatch)
    reference_logps(examples(), tiny_llama, BASIC.model_copy(update=change), 3, ignore, tmp_path)
    assert computed.count == 0


@pytest.mark.parametrize(
    "change",
    ["tokens", "cut", "weights", "seed", "precision", "token_budget", "batch_size", "attention",
     "layout", "transformers"],
)  # fmt: skip
def test_whatever_decides_it_makes_it_anew(
    tiny_llama: Path, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    data, start, settings, seed = examples(), tiny_llama, BASIC, 3
    reference_logps(data, start, settings, seed, ignore, cache)
    [before] = cache.iterdir()
    if change == "tokens":
        data[4] = replace(data[4], prompt_token_ids=(*data[4].prompt_token_ids, 11))
    elif change == "cut":  # the same ids, cut elsewhere
        whole = data[4].prompt_token_ids
        later = ((whole[-1], *data[4].continuations[0]), *data[4].continuations[1:])
        data[4] = replace(data[4], prompt_token_ids=whole[:-1], continuations=later)
    elif change == "weights":
        start = tmp_path / "other"
        model = AutoModelForCausalLM.from_pretrained(tiny_llama)
        model.get_output_embeddings().weight.data[0, 0] += 1e-3
        model.save_pretrained(start)
        AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(start)
    elif change == "seed":
        seed = 4
    elif change == "transformers":
        monkeypatch.setattr("transformers.__version__", "0.0")
    else:
        values = {
            "precision": "bfloat16", "token_budget": 50, "batch_size": 2, "attention": "eager",
            "layout": "padded",
        }  # fmt: skip
        settings = BASIC.model_copy(update={change: values[change]})
    computed = Computed(monkeypatch)
    reference_logps(data, start, settings, seed, ignore, cache)
    assert computed.count > 0
    [after] = cache.iterdir()  # what belonged to others is gone
    assert after.name != before.name


def test_a_kill_loses_at_most_one_batch(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = reference_logps(examples(), tiny_llama, BASIC, 3, ignore)
    for stop_at in (2, 3):  # of 4 batches
        with pytest.raises(Killed):
            reference_logps(examples(), tiny_llama, BASIC, 3, Passes(stop_at), tmp_path)
    [journal] = tmp_path.glob("reference-*.parts/rank-0.jsonl")
    with journal.open("a") as stream:
        stream.write('{"key": "3", "answer"')  # cut off while it was written
    computed = Computed(monkeypatch)
    assert reference_logps(examples(), tiny_llama, BASIC, 3, ignore, tmp_path) == unbroken
    assert computed.count == 1
    assert [file.suffix for file in tmp_path.iterdir()] == [".safetensors"]


def test_a_damaged_file_is_made_again(
    tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = reference_logps(examples(), tiny_llama, BASIC, 3, ignore, tmp_path)
    [file] = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:50])
    assert reference_logps(examples(), tiny_llama, BASIC, 3, ignore, tmp_path) == first
    assert "is damaged" in capsys.readouterr().err
    assert file.read_bytes() == whole


def test_a_reference_that_is_not_of_these_weights_is_refused(
    tiny_llama: Path, tmp_path: Path
) -> None:
    work = tmp_path / "out-work"
    with pytest.raises(Killed):
        run(tmp_path / "out", tiny_llama, progress=_kill_in_training)
    [file] = work.glob("reference-*.safetensors")
    with safe_open(file, "pt") as content:
        metadata = content.metadata()
    tensors = load_file(file)
    tensors["logps"][3 * epoch_order(14, 3, 0)[0] + 1] += 0.1
    save_file(tensors, file, metadata)
    with pytest.raises(ScoreError, match=r"0\.1 nats instead of 0"):
        run(tmp_path / "out", tiny_llama)


def _kill_in_training(done: int, total: int, note: str = "") -> None:
    if note.startswith("training"):
        raise Killed


def test_it_outlives_the_attempt_in_a_folder_of_its_own(tiny_llama: Path, tmp_path: Path) -> None:
    from test_trainers_trainer import pointwise

    from evalkit.trainers.training import train

    (tmp_path / "out").mkdir()
    places = (tmp_path / "out", 3, ignore, tmp_path / "work")
    train(pointwise(), examples(), tiny_llama, BASIC, *places, cache=tmp_path / "cache")
    run(tmp_path / "other", tiny_llama)
    assert difference(tmp_path / "out", tmp_path / "other") == 0
    assert not list((tmp_path / "work").glob("reference*"))
    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".safetensors"]


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from test_trainers_trainer import BASIC, examples, ignore
from evalkit.trainers import reference
own, plain = [], reference._score_pass
def counted(model, piece):
    own.extend(example.prompt_id for example in piece.examples)
    return plain(model, piece)
reference._score_pass = counted
data = examples(15)
settings = BASIC.model_copy(update=dict(micro_batch_size=2))
found = reference.reference_logps(data, Path(sys.argv[1]), settings, 3, ignore, Path(sys.argv[2]))
torch.save([own, found], Path(sys.argv[3]) / f"rank-{{torch.distributed.get_rank()}}.pt")
"""


@pytest.mark.slow
def test_two_processes_score_half_each_and_know_all(tiny_llama: Path, tmp_path: Path) -> None:
    script = tmp_path / "score_it.py"
    script.write_text(SCRIPT.format(tests=str(Path(__file__).parent)))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    words = [str(script), str(tiny_llama), str(tmp_path / "cache"), str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *launch, *words], check=True, env=environment, timeout=200)
    results = [torch.load(tmp_path / f"rank-{n}.pt", weights_only=False) for n in range(2)]
    assert results[0][1] == results[1][1]
    own = [set(result[0]) for result in results]
    assert not own[0] & own[1]
    assert own[0] | own[1] == {f"p{number}" for number in range(15)}
    assert abs(len(own[0]) - len(own[1])) <= 2
    # Passes of two prompts are the same as in one process with micro-batches of two.
    settings = BASIC.model_copy(update={"micro_batch_size": 2})
    assert reference_logps(examples(15), tiny_llama, settings, 3, ignore) == results[0][1]
    assert [file.suffix for file in (tmp_path / "cache").iterdir()] == [".safetensors"]
