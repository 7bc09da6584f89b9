"""Reward models: rewards equal to transformers' own, each read once, limits, labels, refusals."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import reward_model_parts as parts

from evalkit import registry
from evalkit.errors import RecipeError
from evalkit.preferences import PreferenceOptions, judge_groups
from evalkit.records import Message, Prompt, PromptGroup, Response
from evalkit.roles import PairRequest

PLUGIN = registry.load("judges", "reward_model")
ASK = Prompt("ask", (Message("user", "What is the capital of France?"),))
CHAT = Prompt(
    "chat",
    (
        Message("system", "Be brief."),
        Message("user", "Hello."),
        Message("assistant", "Hi."),
        Message("user", "Name a river."),
    ),
)
ANSWERS = {ASK: ["Paris.", "It is Rome, " * 6, ""], CHAT: ["The Rhine.", "A river? " * 9]}
REQUESTS = [
    PairRequest(prompt, first, second)
    for prompt, answers in ANSWERS.items()
    for first, second in permutations(answers, 2)
]


def silent(done: int, total: int, note: str = "") -> None:
    """A progress bar that nobody sees."""


def judge_of(folder: Path, **options: Any) -> Any:
    return PLUGIN(PLUGIN.Options(model=str(folder), **options))


def turns(prompt: Prompt, answer: str) -> list[dict[str, str]]:
    asked = [{"role": message.role, "content": message.content} for message in prompt.messages]
    return [*asked, {"role": "assistant", "content": answer}]


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return parts.write_reward_model(tmp_path_factory.mktemp("reward") / "llama")


# --- rewards --------------------------------------------------------------------------------------


@pytest.mark.parametrize("token_budget", [1, 300, 100_000])
@pytest.mark.parametrize("pad", [False, True])
@pytest.mark.parametrize("kind", parts.DECODERS)
def test_a_decoder_is_asked_in_its_own_template(
    kind: str, pad: bool, token_budget: int, tmp_path: Path
) -> None:
    folder = parts.write_reward_model(tmp_path / "model", kind, pad=pad)
    texts = [(prompt, answer) for prompt, answers in ANSWERS.items() for answer in answers]
    plain = parts.plain_rewards(folder, [turns(*text) for text in texts])
    rewards = {text: row[0] for text, row in zip(texts, plain, strict=True)}
    verdicts = judge_of(folder, token_budget=token_budget).compare(REQUESTS, silent)
    for request, verdict in zip(REQUESTS, verdicts, strict=True):
        prompt = request.prompt
        expected = rewards[prompt, request.first] - rewards[prompt, request.second]
        assert verdict.value == pytest.approx(expected, abs=1e-5)
        assert abs(expected) > 1e-3
        assert not verdict.cut


@pytest.mark.parametrize("kind", parts.ENCODERS)
def test_an_encoder_is_asked_a_pair_of_texts(kind: str, tmp_path: Path) -> None:
    folder = parts.write_reward_model(tmp_path / "model", kind)
    asked = ASK.messages[0].content
    plain = parts.plain_rewards(folder, [(asked, answer) for answer in ANSWERS[ASK]])
    judge = judge_of(folder, temperature=0.5)
    requests = [PairRequest(ASK, *pair) for pair in permutations(ANSWERS[ASK], 2)]
    expected = [2 * (a[0] - b[0]) for a, b in permutations(plain, 2)]
    found = [verdict.value for verdict in judge.compare(requests, silent)]
    assert found == pytest.approx(expected, abs=2e-5)


def test_the_pad_token_that_ends_a_turn_changes_no_reward(tmp_path: Path) -> None:
    # With pad = eos, a decoder's reward is read before a trailing eos; batches must do it alike.
    closing = parts.CHATML.replace("<|im_end|>\n' }}", "</s>' }}")
    for name, padding in (("eos", 257), ("impossible", -1), ("none", None)):
        folder = parts.write_reward_model(tmp_path / name, template=closing, pad_token_id=padding)
        plain = parts.plain_rewards(folder, [turns(ASK, answer) for answer in ANSWERS[ASK]])
        requests = [PairRequest(ASK, *pair) for pair in permutations(ANSWERS[ASK], 2)]
        found = [verdict.value for verdict in judge_of(folder).compare(requests, silent)]
        expected = [a[0] - b[0] for a, b in permutations(plain, 2)]
        assert found == pytest.approx(expected, abs=1e-5), name


@pytest.mark.parametrize("bos", ["", "{{ bos_token }}", "{{ bos_token }}{{ bos_token }}"])
def test_there_is_one_bos_whatever_the_template_writes(bos: str, tmp_path: Path) -> None:
    template = parts.CHATML.replace("{{ bos_token }}", bos)
    folder = parts.write_reward_model(tmp_path / "model", template=template)
    judge = judge_of(folder)
    judge.compare(REQUESTS[:1], silent)
    ids = judge._ready.encoder.encode(ASK.messages, "Paris.").ids
    assert ids.count(256) == 1
    assert ids[0] == 256


def test_a_decoder_without_template_reads_two_texts_after_one_bos(tmp_path: Path) -> None:
    folder = parts.write_reward_model(tmp_path / "model", template=None)
    judge = judge_of(folder)
    assert judge.compare(REQUESTS, silent)[0].value is not None
    ids = judge._ready.encoder.encode(ASK.messages, "Paris.").ids
    assert judge._ready.encoder._tokenizer.decode(ids) == (
        "<s>What is the capital of France?Paris."
    )


def test_every_response_is_read_once(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judge = judge_of(llama, token_budget=150)
    judge.compare(REQUESTS[:1], silent)
    read: list[int] = []
    scores = judge._ready.model.scores
    monkeypatch.setattr(
        judge._ready.model, "scores", lambda inputs: read.append(len(inputs)) or scores(inputs)
    )
    told: list[tuple[int, int]] = []
    judge.compare(REQUESTS * 2, lambda done, total, note="": told.append((done, total)))
    assert sum(read) == 5
    assert len(read) > 1
    assert told[-1] == (5, 5)


def test_it_judges_groups_without_order_bias(llama: Path) -> None:
    responses = tuple(Response(text, (1,), "stop") for text in ANSWERS[ASK])
    judge = judge_of(llama)
    group = PromptGroup(ASK, (1,), responses)
    judged, stats = judge_groups([group], judge, PreferenceOptions(), silent)
    assert stats.order_bias == pytest.approx(0, abs=1e-12)
    assert stats.order_flips == 0
    assert sum(judged[0].win_probs or ()) == pytest.approx(1.5)
    judge.close()
    assert judge._ready is None
    assert judge.compare(REQUESTS[:1], silent)[0].value is not None  # it may be asked again


# --- lengths --------------------------------------------------------------------------------------

LONG = Prompt(
    "long", (Message("system", "Be brief."), Message("user", " ".join(map(str, range(60)))))
)


def test_what_is_too_long_is_missing_with_its_reason(llama: Path) -> None:
    judge = judge_of(llama, max_length=120)
    (short, long) = judge.compare(
        [PairRequest(ASK, "a", "b"), PairRequest(LONG, "yes", "no")], silent
    )
    assert short.value is not None
    assert long.value is None
    assert "of at most 120" in long.reason


def test_a_prompt_can_lose_its_beginning_and_the_template_stays(llama: Path) -> None:
    judge = judge_of(llama, max_length=120, too_long="cut_prompt")
    verdict = judge.compare([PairRequest(LONG, "yes", "no")], silent)[0]
    assert verdict.value is not None
    assert verdict.cut
    encoder = judge._ready.encoder
    made = encoder.encode(LONG.messages, "yes")
    assert len(made.ids) <= 120
    text = encoder._tokenizer.decode(made.ids)
    assert text.startswith("<s><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")
    assert text.endswith("58 59<|im_end|>\n<|im_start|>assistant\nyes<|im_end|>\n")
    assert "0 1 2" not in text
    assert "the response alone does not fit" in encoder.encode(ASK.messages, "no " * 60)


def test_the_model_limits_the_length(llama: Path, tmp_path: Path) -> None:
    assert judge_of(llama).identity()["max_length"] == 256
    (problem,) = judge_of(llama, max_length=257).check()
    assert problem.message == "max_length 257 is beyond the 256 positions of the reward model"
    deberta = parts.write_reward_model(tmp_path / "deberta", "deberta-v2")
    assert judge_of(deberta, max_length=4000).check() == []
    assert judge_of(deberta).identity()["max_length"] is None


# --- labels, refusals, identity -------------------------------------------------------------------


def test_a_label_among_several_is_worth_its_log_odds(tmp_path: Path) -> None:
    labels = {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}
    folder = parts.write_reward_model(tmp_path / "model", num_labels=2, **labels)
    (problem,) = judge_of(folder).check()
    assert "has 2 labels (bad, good), and none is said to be good" in problem.message
    assert problem.hint == "set 'label' to one of them, say 'label: good'"
    assert "did you mean 'good'" in judge_of(folder, label="god").check()[0].hint
    assert "no label number 2" in judge_of(folder, label=2).check()[0].message
    rows = parts.plain_rewards(folder, [turns(ASK, answer) for answer in ANSWERS[ASK][:2]])
    expected = (rows[0][1] - rows[0][0]) - (rows[1][1] - rows[1][0])
    for label in ("good", 1):
        judge = judge_of(folder, label=label)
        assert judge.check() == []
        assert judge.compare(REQUESTS[:1], silent)[0].value == pytest.approx(expected, abs=1e-5)


def test_a_regression_output_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = parts.write_reward_model(tmp_path / "model", num_labels=3, problem_type="regression")
    rows = parts.plain_rewards(folder, [turns(ASK, answer) for answer in ANSWERS[ASK][:2]])
    found = judge_of(folder, label="LABEL_1").compare(REQUESTS[:1], silent)[0].value
    assert found == pytest.approx(rows[0][1] - rows[1][1], abs=1e-5)


def test_a_causal_model_is_refused_before_the_run(tiny_llama: Path) -> None:
    (problem,) = judge_of(tiny_llama).check()
    assert problem.message == (
        f"{tiny_llama} is no reward model: its architecture (LlamaForCausalLM) has no score head"
    )


def test_a_head_that_is_not_in_the_weights_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(tiny_llama, tmp_path / "headless")
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "good"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(RecipeError, match=r"lacks weights of a reward model: score\.weight"):
        judge_of(folder).compare(REQUESTS, silent)


def test_prompts_that_the_template_refuses_are_told(tmp_path: Path) -> None:
    strict = "{% if messages | length > 2 %}{{ raise_exception('one turn only') }}{% endif %}"
    folder = parts.write_reward_model(tmp_path / "model", template=strict + parts.CHATML)
    (problem,) = judge_of(folder).check_prompts([ASK, CHAT])
    assert "cannot read prompt chat" in problem.message
    verdict = judge_of(folder).compare([PairRequest(CHAT, "a", "b")], silent)[0]
    assert verdict.value is None
    assert "one turn only" in verdict.reason
    assert judge_of(folder).check_questions([])[0].message.endswith("cannot rate one")


@pytest.mark.parametrize("model", ["./nowhere", "a/b/c"])
def test_a_folder_that_is_not_there(model: str) -> None:
    (problem,) = PLUGIN(PLUGIN.Options(model=model)).check()
    assert problem.message == f"there is no folder {model}"


def test_identity_pins_what_decides_its_answers(llama: Path) -> None:
    identity = judge_of(llama).identity()
    assert {k: identity[k] for k in ("model", "revision", "precision", "label")} == {
        "model": "llama",
        "revision": None,
        "precision": "float32",
        "label": 0,
    }
    assert len(identity["digest"]) == 64
    assert judge_of(llama).check() == []
