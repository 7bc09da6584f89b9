"""PairRM: its logits, its checkpoints in both layouts, its identity, and a run it judges."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import pair_rm_parts as parts
import runs
import torch
from safetensors.torch import load_file
from transformers import DebertaV2Config, DebertaV2Model, PreTrainedTokenizerFast

from evalkit import registry
from evalkit.judges.pair_rm_checkpoint import find_files
from evalkit.judges.pair_rm_text import source_of
from evalkit.preferences import PreferenceOptions, judge_groups
from evalkit.records import Message, Prompt, PromptGroup, Response
from evalkit.roles import Judge, PairRequest

PLUGIN = registry.load("judges", "pair_rm")
FRANCE = Prompt("france", (Message("user", "what is the capital of france?"),))
HELLO = Prompt("hello", (Message("user", "say hello"),))
CHAT = (
    Message("user", "hello"),
    Message("assistant", "hi"),
    Message("user", "what is a city?"),
)


def silent(done: int, total: int, note: str = "") -> None:
    """A progress bar that nobody sees."""


def judge_of(folder: Path, **options: Any) -> Any:
    return PLUGIN(PLUGIN.Options(model=str(folder), **options))


@pytest.fixture(scope="module")
def blender(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return parts.write_blender(tmp_path_factory.mktemp("pair-rm") / "blender")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return parts.write_port(tmp_path_factory.mktemp("pair-rm") / "port")


@pytest.fixture(scope="module")
def judge(blender: Path) -> Iterator[Any]:
    judge = judge_of(blender)
    yield judge
    judge.close()


def compare(judge: Judge, requests: Sequence[PairRequest]) -> list[float | None]:
    return [verdict.value for verdict in judge.compare(requests, silent)]


REQUESTS = [
    PairRequest(FRANCE, "paris", "rome"),
    PairRequest(FRANCE, "rome", "paris"),
    PairRequest(FRANCE, "paris is a good city " * 12, "no"),
    PairRequest(HELLO, "hello", "good"),
    PairRequest(HELLO, "", "hello hello hello"),
    PairRequest(Prompt("chat", CHAT), "a city is good", "rome"),
    PairRequest(HELLO, "hi", "say hello user " * 30),
]


# --- the logits ---------------------------------------------------------------------------------


def straightforward_logit(folder: Path, source: str, first: str, second: str) -> float:
    """The same by the description alone: no batch, no places, the tokenizer's own truncation."""
    state = load_file(folder / "model.safetensors")
    backbone = DebertaV2Model(parts.backbone_config()).eval()
    own = {name.removeprefix("pretrained_model."): tensor for name, tensor in state.items()}
    backbone.load_state_dict({n: t for n, t in own.items() if not n.startswith("head_layer")})
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=parts.tiny_tokenizer())
    ids = tokenizer.encode(f"<|source|>{source}", max_length=1224, truncation=True)
    room = (2048 - len(ids)) // 2
    for marker, text in (("<|candidate1|>", first), ("<|candidate2|>", second)):
        ids += tokenizer.encode(marker + text, max_length=room, truncation=True)
    with torch.no_grad():
        states = backbone(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
        marked = [
            states[ids.index(tokenizer.convert_tokens_to_ids(marker))]
            for marker in ("<|source|>", "<|candidate1|>", "<|candidate2|>")
        ]
        scores = [
            torch.tanh(
                torch.cat([marked[0], candidate]) @ state["head_layer.1.weight"].T
                + state["head_layer.1.bias"]
            )
            @ state["head_layer.4.weight"][0]
            for candidate in marked[1:]
        ]
    return float(scores[0] - scores[1])


def test_logits_are_those_of_the_description(judge: Any, blender: Path) -> None:
    for request, logit in zip(REQUESTS, compare(judge, REQUESTS), strict=True):
        source = source_of(request.prompt.messages)
        candidates = [
            f"{source.earlier}{source.label}{text}" for text in (request.first, request.second)
        ]
        expected = straightforward_logit(blender, source.text, *candidates)
        assert abs(expected) > 1e-3
        assert logit == pytest.approx(expected, abs=1e-5)


def test_both_layouts_and_both_weight_files_give_the_same(
    judge: Any, port: Path, tmp_path: Path
) -> None:
    pickled = parts.write_blender(tmp_path / "pickled", weights="pytorch_model.bin")
    expected = compare(judge, REQUESTS)
    assert compare(judge_of(port), REQUESTS) == pytest.approx(expected, abs=1e-6)
    assert compare(judge_of(pickled), REQUESTS) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batch_mates_do_not_matter(judge: Any, blender: Path, batch_size: int) -> None:
    other = judge_of(blender, batch_size=batch_size)
    backwards = compare(other, REQUESTS[::-1])[::-1]
    assert backwards == pytest.approx(compare(judge, REQUESTS), abs=1e-5)


def test_progress_is_told_batch_by_batch(blender: Path) -> None:
    told: list[tuple[int, int, str]] = []
    judge_of(blender, batch_size=3).compare(REQUESTS, lambda *now: told.append(now))
    assert told == [(3, 7, "judging"), (6, 7, "judging"), (7, 7, "judging")]
    assert judge_of(blender).compare([], silent) == []


def test_half_precision_stays_near(judge: Any, blender: Path) -> None:
    half = judge_of(blender, precision="bfloat16")
    assert half.identity()["precision"] == "bfloat16"
    logits = compare(half, REQUESTS)
    assert logits == pytest.approx(compare(judge, REQUESTS), abs=0.1)
    assert logits != compare(judge, REQUESTS)


def test_the_order_of_a_pair_matters_until_it_is_debiased(judge: Any) -> None:
    forward, backward = compare(judge, REQUESTS[:2])
    assert forward is not None
    assert backward is not None
    assert abs(forward + backward) > 0.1
    texts = ("paris", "rome", "a good city", "paris")
    groups = [
        PromptGroup(prompt, (1,), tuple(Response(text, (1,), "stop") for text in texts))
        for prompt in (FRANCE, HELLO)
    ]
    judged = judge_groups(groups, judge, PreferenceOptions(), silent)
    assert judged.stats.missing == 0
    assert judged.stats.verdicts == 12
    assert judged.stats.order_bias == pytest.approx(
        sum(
            row[j]
            for g in judged.groups
            for i, row in enumerate(g.pair_logits[:3])
            for j in range(3)
        )
        / 12,
        abs=1e-9,
    )
    for group in judged.groups:
        assert group.pair_logits[0][1] != -group.pair_logits[1][0]
        probs = group.pair_probs
        assert all(
            probs[i][j] + probs[j][i] == pytest.approx(1) for i in range(4) for j in range(4)
        )
        assert sum(group.win_probs) / 4 == pytest.approx(0.5)
        assert group.win_probs[0] == pytest.approx(group.win_probs[3])
        assert max(group.win_probs) - min(group.win_probs) > 1e-3


def test_a_verdict_says_that_something_was_cut(judge: Any, blender: Path) -> None:
    assert not any(verdict.cut for verdict in judge.compare(REQUESTS, silent))
    short = judge_of(blender, source_max_length=12, candidate_max_length=30)
    long = PairRequest(FRANCE, "paris is a good city " * 12, "no")
    asked = [PairRequest(HELLO, "hello", "good"), long, long._replace(first="a", prompt=HELLO)]
    prompt_too_long = PairRequest(Prompt("x", (Message("user", "a city " * 9),)), "hi", "no")
    cut = [verdict.cut for verdict in short.compare([*asked, prompt_too_long], silent)]
    assert cut == [False, True, False, True]


# --- the checkpoint -------------------------------------------------------------------------------


def test_the_published_backbone_has_the_published_size(tmp_path: Path) -> None:
    """436 million parameters, says the Hub of llm-blender/PairRM, and 128,005 tokens."""
    folder = parts.write_blender(tmp_path / "large")
    config = {**parts.RANKER, "model_name": "microsoft/deberta-v3-large"}
    (folder / "config.json").write_text(json.dumps(config))
    backbone = find_files(folder).backbone
    with torch.device("meta"):
        model = DebertaV2Model(DebertaV2Config(**backbone, vocab_size=128_005))
    head = 1024 * (2 * 1024 + 1) + 1024 + 1
    assert round((sum(p.numel() for p in model.parameters()) + head) / 1e6) == 436
    tiny = set(DebertaV2Model(parts.backbone_config()).state_dict())
    assert {n.replace("layer.23.", "layer.1.") for n in model.state_dict() if ".23." in n} <= tiny
    assert tiny <= set(model.state_dict())


def test_identity_pins_the_files_and_names_no_folder(
    judge: Any, blender: Path, tmp_path: Path
) -> None:
    identity = dict(judge.identity())
    assert len(identity.pop("digest")) == 64
    assert identity == {
        "name": "pair_rm",
        "version": 1,
        "model": "blender",
        "revision": None,
        "precision": "float32",
        "source_max_length": 1224,
        "candidate_max_length": 412,
    }
    same = parts.write_blender(tmp_path / "blender")
    assert judge_of(same).identity() == judge.identity()
    other = parts.write_blender(tmp_path / "other" / "blender", seed=1)
    assert judge_of(other).identity() != judge.identity()
    backbone = json.loads((same / "backbone/config.json").read_text())
    (same / "backbone/config.json").write_text(json.dumps({**backbone, "num_attention_heads": 2}))
    assert judge_of(same).identity() != judge.identity()


def test_closing_frees_the_model_and_asking_opens_it_again(blender: Path) -> None:
    judge = judge_of(blender)
    judge.close()
    first = compare(judge, REQUESTS[:1])
    held = weakref.ref(judge._ready.model)
    judge.close()
    assert held() is None
    assert compare(judge, REQUESTS[:1]) == first


def test_the_limits_of_a_judge_are_its_models_unless_given(blender: Path) -> None:
    config = json.loads((blender / "config.json").read_text())
    assert (config["source_maxlength"], config["candidate_maxlength"]) == (1224, 412)
    cut = judge_of(blender, source_max_length=9, candidate_max_length=8)
    whole = judge_of(blender)
    names = ("source_max_length", "candidate_max_length")
    assert [cut.identity()[name] for name in names] == [9, 8]
    assert [whole.identity()[name] for name in names] == [1224, 412]
    long = [PairRequest(FRANCE, "paris " * 40, "rome " * 40)]
    short = [PairRequest(FRANCE, "paris " * 5, "rome " * 5)]
    assert compare(cut, long) == compare(cut, short)
    assert compare(whole, long) != compare(whole, short)


# --- from the Hub ---------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_a_hub_id_is_fetched_at_its_commit(
    port: Path, judge: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("starlette")
    from evalkit.hub.client import open_api
    from evalkit.hub.serve import running

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    with running(tmp_path / "hub") as server, open_api(server.target()) as api:
        api.create_repo("evalkit/tiny", private=False)
        commit = api.upload_folder(folder_path=port, repo_id="evalkit/tiny").oid
        place = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.endpoint)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", place)
        fetched = PLUGIN(PLUGIN.Options(model="evalkit/tiny", revision="main"))
        assert fetched.check() == []
        assert compare(fetched, REQUESTS) == pytest.approx(compare(judge, REQUESTS), abs=1e-6)
    assert fetched.identity()["model"] == "evalkit/tiny"
    assert fetched.identity()["revision"] == commit
    assert fetched.identity()["digest"] == judge_of(port).identity()["digest"]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("model", ["llm-blender/PairRM-hf", "llm-blender/PairRM"])
def test_the_published_model_gives_its_published_logits(model: str) -> None:
    """Those of the example in the README of yuchenlin/LLM-Blender at 2a67366."""
    examples = [("hello!", "hi!", "f**k off!"), ("I love you!", "I hate you!", "I love you, too!")]
    requests = [
        PairRequest(Prompt(source, (Message("user", source),)), first, second)
        for source, first, second in examples
    ]
    logits = compare(PLUGIN(PLUGIN.Options(model=model, precision="float32")), requests)
    assert logits == pytest.approx([1.9003, -1.2547], abs=0.01)


# --- in a run -------------------------------------------------------------------------------------

NOTING = """
from pathlib import Path
from evalkit.judges.pair_rm import PairRMJudge

class Noting(PairRMJudge):
    def close(self):
        open_before = self._ready is not None
        super().close()
        with Path(__file__).with_suffix(".log").open("a") as log:
            log.write(f"closed, open before: {open_before}\\n")

PLUGIN = Noting
"""


@pytest.mark.slow
def test_it_judges_a_run_of_sppo_and_an_evaluation(blender: Path, tmp_path: Path) -> None:
    """Through the real command; and what it holds is freed after either step."""
    flags = ["--set", "variants=[]", "--set", "stages.0.iterations=1", "--until"]
    flags.append("eval-iter1-alpaca_eval")
    for key in ("stages.0.judge", "evaluation.judge"):
        file = tmp_path / f"{key.split('.')[0]}.py"
        file.write_text(NOTING)
        flags += ["--set", f"{key}={{name: {file}, model: {blender}, batch_size: 32}}"]
    flags += [
        "--set",
        "evaluation.benchmarks=[{name: alpaca_eval, baseline: gold, max_new_tokens: 8,"
        " instructions: {name: pocket, split: open, count: 8}}]",
    ]
    runs.finish(runs.RECIPES / "micro.yaml", tmp_path, *flags)
    receipt = json.loads((tmp_path / "run/steps/iter1-judge/receipt.json").read_text())
    assert receipt["result"]["judge"]["name"] == "pair_rm"
    assert receipt["result"]["stats"]["missing"] == 0
    result = json.loads((tmp_path / "run/steps/eval-iter1-alpaca_eval/result.json").read_text())
    assert result["provenance"]["judge"] == receipt["result"]["judge"]
    for log in ("stages.log", "evaluation.log"):
        # Its memory may be given to another before the step ends and closes it for good.
        first, *later = (tmp_path / log).read_text().splitlines()
        assert first == "closed, open before: True"
        assert set(later) <= {"closed, open before: False"}
