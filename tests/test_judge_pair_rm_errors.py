"""PairRM: folders that are none, damaged files, an unreachable Hub, logits that are no numbers."""

from __future__ import annotations

import json
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import pair_rm_parts as parts
from safetensors.torch import load_file, save_file

from evalkit import registry
from evalkit.errors import PrerequisiteError, RecipeError
from evalkit.judges.pair_rm_tokens import load_tokenizer
from evalkit.pipeline import plugins
from evalkit.records import Message, Prompt, Question, Turn
from evalkit.roles import PairRequest, PluginRef

PLUGIN = registry.load("judges", "pair_rm")
REQUESTS = [PairRequest(Prompt("hello", (Message("user", "say hello"),)), "hello", "good")]


def silent(done: int, total: int, note: str = "") -> None:
    """A progress bar that nobody sees."""


def judge_of(folder: Path, **options: Any) -> Any:
    return PLUGIN(PLUGIN.Options(model=str(folder), **options))


def write_config(folder: Path, **changes: Any) -> None:
    (folder / "config.json").write_text(json.dumps({**parts.RANKER, **changes}))


MISSING = {
    "no config": (
        lambda folder: (folder / "config.json").unlink(),
        "{0} is not a checkpoint: it has no config.json",
        "give the folder that save_pretrained wrote",
    ),
    "a causal LM": (
        lambda folder: (folder / "config.json").write_text('{"model_type": "llama"}'),
        "{0} is no PairRM: its config.json has neither 'ranker_type' nor the model_type"
        " 'deberta-v2'",
        "use llm-blender/PairRM, llm-blender/PairRM-hf or a model trained like them",
    ),
    "another ranker": (
        lambda folder: write_config(folder, ranker_type="dual"),
        "{0} holds a ranker of type 'dual', not 'pairranker'",
        "only pair rankers compare two responses in one pass",
    ),
    "an unknown backbone": (
        lambda folder: write_config(folder, model_name="microsoft/deberta-v3-larg"),
        "{0}/config.json: model_name 'microsoft/deberta-v3-larg' is no backbone that is known here",
        "did you mean 'microsoft/deberta-v3-large'?   (known: microsoft/deberta-v3-base,"
        " microsoft/deberta-v3-large, microsoft/deberta-v3-small, microsoft/deberta-v3-xsmall);"
        " or name a folder that holds the backbone's config.json",
    ),
    "no weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        "{0} holds no weights (looked for model.safetensors, pytorch_model.bin)",
        "copy all files of the repository llm-blender/PairRM there",
    ),
    "no tokenizer": (
        lambda folder: (folder / "tokenizer.json").unlink(),
        "{0} holds no tokenizer (looked for tokenizer.json, spm.model)",
        "copy all files of the repository llm-blender/PairRM there",
    ),
}


@pytest.mark.parametrize("case", MISSING)
def test_a_folder_is_checked_before_the_run(case: str, tmp_path: Path) -> None:
    folder = parts.write_blender(tmp_path / "model")
    spoil, message, hint = MISSING[case]
    assert judge_of(folder).check() == []
    spoil(folder)
    (problem,) = judge_of(folder).check()
    assert problem == ("model", message.format(folder), hint, False)
    with pytest.raises(RecipeError) as error:
        judge_of(folder).compare(REQUESTS, silent)
    assert error.value.message == problem.message


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_a_folder_that_is_not_there(model: str) -> None:
    problems = PLUGIN(PLUGIN.Options(model=model)).check()
    hint = "give a folder or a Hub id"
    assert problems == [("model", f"there is no folder {model}", hint, False)]


def test_a_folder_has_no_revisions(tmp_path: Path) -> None:
    folder = parts.write_blender(tmp_path / "model")
    (problem,) = judge_of(folder, revision="main").check()
    assert problem.where == "revision"
    assert problem.message == f"{folder} is a folder, which has no revisions"
    assert problem.hint == "leave it out, or give a Hub id as model"


def test_what_cannot_be_a_hub_id() -> None:
    with pytest.raises(RecipeError) as error:
        PLUGIN(PLUGIN.Options(model="Pair RM")).compare(REQUESTS, silent)
    assert error.value.message == "judge.model: Pair RM is neither a folder nor a Hub id"
    assert error.value.hint == (
        "give a folder written by save_pretrained, or an id such as llm-blender/PairRM"
    )


def test_wrong_options_are_all_named() -> None:
    options = {"batch_size": 0, "precision": "int8", "max_length": 3, "source_max_length": 2}
    with pytest.raises(RecipeError) as error:
        plugins.make("judges", PluginRef(name="pair-rm", **options))
    found = {problem.where: problem.message for problem in error.value.problems}
    assert set(found) == set(options)
    assert found["max_length"] == "there is no such option"


class Run:
    """Pickled, it would write a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (Path.touch, (self.file,))


def cut_off(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def lose_a_layer(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state["head_layer.4.bias"]
    save_file(state, folder / "model.safetensors")


def lose_embeddings(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    name = "pretrained_model.embeddings.word_embeddings.weight"
    state[name] = state[name][:20].clone()
    save_file(state, folder / "model.safetensors")


def hide_code(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Run(folder / "hacked")))


DAMAGE = {
    "cut off": (cut_off, "{0}/model.safetensors holds no tensors that can be read: "),
    "a missing layer": (
        lose_a_layer,
        "{0}/model.safetensors does not hold the weights that its config describes:"
        ' Missing key(s) in state_dict: "4.bias"',
    ),
    "too few embeddings": (
        lose_embeddings,
        "{0}/model.safetensors does not hold the weights that its config describes:"
        " 20 embeddings for a tokenizer of ",
    ),
    "code in a pickle": (hide_code, "{0}/pytorch_model.bin holds no tensors that can be read: "),
    "no JSON in the tokenizer": (
        lambda folder: (folder / "tokenizer.json").write_text("{"),
        "{0}/tokenizer.json is no tokenizer: ",
    ),
    "no [SEP]": (
        lambda folder: (folder / "tokenizer.json").write_text(
            json.dumps(
                {**json.loads((folder / "tokenizer.json").read_text()), "post_processor": None}
            )
        ),
        "{0}/tokenizer.json puts no [CLS] and [SEP] around a text, as PairRM's tokenizer does",
    ),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_files_are_named(case: str, tmp_path: Path) -> None:
    folder = parts.write_blender(tmp_path / "model")
    spoil, message = DAMAGE[case]
    spoil(folder)
    with pytest.raises(RecipeError) as error:
        judge_of(folder).compare(REQUESTS, silent)
    assert error.value.message.startswith(message.format(folder))
    assert error.value.hint
    assert not (folder / "hacked").exists()


@pytest.mark.parametrize("damage", [b"", b"\x0a\xff", b"not one at all", b"\x0b\x01"])
def test_a_damaged_sentencepiece_model_is_named(tmp_path: Path, damage: bytes) -> None:
    file = tmp_path / "spm.model"
    file.write_bytes(damage)
    with pytest.raises(RecipeError, match=r"spm\.model is no SentencePiece model$"):
        load_tokenizer(file)


def test_it_does_not_rate() -> None:
    (problem,) = PLUGIN(PLUGIN.Options()).check_questions([Question("q", "c", (Turn("Why?"),))])
    assert problem.message == "pair_rm compares responses and cannot rate one"


@pytest.mark.parametrize("broken", ["nan", "inf"])
def test_a_logit_that_is_no_number_is_missing(tmp_path: Path, broken: str) -> None:
    folder = parts.write_blender(tmp_path / "broken")
    state = load_file(folder / "model.safetensors")
    state["head_layer.4.weight"][0, 0] = float(broken)
    save_file(state, folder / "model.safetensors")
    verdict = judge_of(folder).compare(REQUESTS[:1], silent)[0]
    assert verdict.value is None
    assert verdict.reason in {
        f"PairRM's logit is {value}; another precision may help" for value in ("nan", "inf", "-inf")
    }


def test_an_unreachable_hub_is_a_prerequisite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    judge = PLUGIN(PLUGIN.Options())
    (problem,) = judge.check()
    assert problem.prerequisite
    assert problem.message.startswith("the model llm-blender/PairRM is not in this machine's cache")
    assert problem.hint == (
        "connect, or bring it along: evalkit prefetch RECIPE, or hf download llm-blender/PairRM"
    )
    with pytest.raises(
        PrerequisiteError,
        match=r"^judge\.model: there is no folder llm-blender/PairRM, and the Hub does not",
    ) as error:
        judge.compare(REQUESTS, silent)
    assert error.value.hint == (
        "check the id and the network; a gated model needs a token (hf auth login)"
    )
