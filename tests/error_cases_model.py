"""Models, templates, schemes and plug-in files that cannot be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from error_cases import Case, Desk

Prepare = Callable[[Desk], None]
BOS_TWICE = "{{ bos_token }}{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}"
ONE_TURN_ONLY = (
    "{% if messages | length > 2 %}{{ raise_exception('only one question is allowed') }}{% endif %}"
    "{{ bos_token }}{% for m in messages %}{{ m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
)
WITHOUT_BOS = (
    "{% for m in messages %}{{ '<|' ~ m.role ~ '|>' ~ m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
BOS_LEFT_OUT = "{model: base, without_bos: true}"
CHAT = {
    "messages": [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "What is 2 + 2?"},
    ],
    "rule": {"kind": "exact", "answer": "4"},
}


def _removed(*patterns: str) -> Prepare:
    def prepare(desk: Desk) -> None:
        base = desk.own_base()
        found = [file for pattern in patterns for file in base.glob(pattern)]
        assert found
        for file in found:
            file.unlink()

    return prepare


def _config(**changes: Any) -> Prepare:
    return lambda desk: desk.edit_json("config.json", **changes)


def _template(text: str | None) -> Prepare:
    def prepare(desk: Desk) -> None:
        file = desk.own_base() / "chat_template.jinja"
        if text is None:
            file.unlink()
        else:
            file.write_text(text)

    return prepare


def _content(name: str, content: bytes | str) -> Prepare:
    def prepare(desk: Desk) -> None:
        desk.own_base()
        desk.write(f"base/{name}", content)

    return prepare


def _empty_base(desk: Desk) -> None:
    (desk.path / "base").unlink()
    (desk.path / "base").mkdir()


def _only_bin(desk: Desk) -> None:
    weights = desk.own_base() / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))


def _cut_weights(desk: Desk) -> None:
    weights = desk.own_base() / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def _missing_shard(desk: Desk) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    _content("model.safetensors.index.json", json.dumps(index))(desk)


def _begins_text_with_bos(desk: Desk) -> None:
    """As zephyr's does: the tokenizer puts BOS before plain text, and the template nowhere."""
    _template(WITHOUT_BOS)(desk)
    tokenizer = json.loads((desk.path / "base" / "tokenizer.json").read_text())
    bos = {"id": "<|bos|>", "ids": [0], "tokens": ["<|bos|>"]}
    assert tokenizer["added_tokens"][0]["content"] == bos["id"]
    parts = [
        {"SpecialToken": {"id": bos["id"], "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ]
    desk.edit_json(
        "tokenizer.json",
        post_processor={
            "type": "TemplateProcessing",
            "single": parts,
            "pair": [*parts, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {bos["id"]: bos},
        },
    )


def _one_turn_only(desk: Desk) -> None:
    _template(ONE_TURN_ONLY)(desk)
    desk.write("chats.jsonl", json.dumps(CHAT) + "\n")
    desk.recipe(
        **{
            "{name: pocket, split: self_play, count: 8}": "{name: file, path: chats.jsonl}",
            "iterations: 2": "iterations: 1",
            "prompts_per_iteration: 4": "prompts_per_iteration: 1",
        }
    )


def _plugin(text: str) -> Prepare:
    return lambda desk: (desk.write("mine.py", text), None)[1]


def _by_path(name: str, text: str | None) -> Case:
    edits = {"    judge: rule": "    judge: ./mine.py"}
    return Case(name, edits=edits, prepare=_plugin(text) if text is not None else None)


TRAIN = "train mine.yaml"
BASES = [
    Case("base-folder-missing", TRAIN, {"{model: base}": "{model: ./nowhere}"}),
    Case("base-home-folder-missing", TRAIN, {"{model: base}": "{model: ~/nowhere}"}),
    Case("base-is-no-checkpoint", TRAIN, prepare=_empty_base),
    Case("base-config-damaged", TRAIN, prepare=_content("config.json", '{"model_type": "lla')),
    Case("base-config-a-list", TRAIN, prepare=_content("config.json", "[]")),
    Case("base-of-unknown-architecture", TRAIN, prepare=_config(model_type="lama")),
    Case("base-is-an-encoder", TRAIN, prepare=_config(model_type="vit")),
    Case("base-without-weights", TRAIN, prepare=_removed("*.safetensors")),
    Case("base-with-bin-weights-only", TRAIN, prepare=_only_bin),
    Case("base-weights-cut-off", TRAIN, prepare=_cut_weights),
    Case("base-lacks-a-shard", TRAIN, prepare=_missing_shard),
    Case("base-without-tokenizer", TRAIN, prepare=_removed("tokenizer*")),
    Case("base-tokenizer-damaged", TRAIN, prepare=_content("tokenizer.json", "{}")),
    Case("template-doubles-bos", TRAIN, prepare=_template(BOS_TWICE)),
    Case("template-leaves-out-bos", TRAIN, prepare=_begins_text_with_bos),
    Case("template-writes-bos-all-the-same", TRAIN, {"{model: base}": BOS_LEFT_OUT}),
    Case("template-is-no-jinja", TRAIN, prepare=_template("{% for m in messages %}")),
    Case("template-refuses-the-roles", TRAIN, prepare=_one_turn_only),
    Case(
        "no-chat-template-to-apply",
        edits={"limit: 4": "limit: 4, apply_chat_template: true"},
        prepare=_template(None),
    ),
]
SCHEMES = [
    Case("scheme-width-not-divisible", "quantize mine.yaml", prepare=_config(hidden_size=100)),
    Case(
        "scheme-base-quantized-already",
        "quantize mine.yaml",
        prepare=_config(quantization_config={"quant_method": "gptq"}),
    ),
    Case("scheme-architecture-untested", "quantize mine.yaml", prepare=_config(model_type="bloom")),
    Case(
        "scheme-without-calibration",
        edits={"[w4a16_rtn]": "[w4a16_gptq]"},
        prepare=lambda desk: desk.write("mine.yaml", _without_stages(desk)) and None,
    ),
]


def _without_stages(desk: Desk) -> str:
    text = (desk.path / "mine.yaml").read_text()
    start, end = text.index("stages:"), text.index("evaluation:")
    return text[:start] + text[end:]


FILES = [
    _by_path("plugin-file-missing", None),
    _by_path("plugin-file-without-plugin", "x = 1\n"),
    _by_path("plugin-of-another-role", "from evalkit.roles import Engine as PLUGIN\n"),
    _by_path(
        "plugin-file-with-syntax-error", "from evalkit import roles\nclass Mine(roles.Judge\n"
    ),
    _by_path("plugin-file-imports-what-is-not", "import evalkit\nimport nonesuch_package\n"),
    _by_path(
        "plugin-lacks-a-method",
        "from evalkit import roles\nclass Mine(roles.Judge):\n    pass\nPLUGIN = Mine\n",
    ),
]
_JUDGE = "    judge: rule"
JUDGES = [
    Case(
        "reward-model-without-head", TRAIN, {_JUDGE: "    judge: {name: reward_model, model: base}"}
    ),
    Case(
        "reward-model-with-several-labels",
        TRAIN,
        {_JUDGE: "    judge: {name: reward_model, model: base}"},
        prepare=_config(
            architectures=["LlamaForSequenceClassification"], id2label={"0": "bad", "1": "good"}
        ),
    ),
    Case(
        "reward-model-shorter-than-asked",
        TRAIN,
        {_JUDGE: "    judge: {name: reward_model, model: base, max_length: 100000}"},
        prepare=_config(architectures=["LlamaForSequenceClassification"], id2label={"0": "good"}),
    ),
]
CASES = [*BASES, *SCHEMES, *JUDGES, *FILES]
