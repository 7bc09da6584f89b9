"""The files of a PairRM checkpoint, in LLM-Blender's own layout or that of its transformers port.

Only reads JSON, so that a folder can be checked before any run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.errors import RecipeError, did_you_mean
from evalkit.loading import config_of, file_digest

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
TOKENIZERS = ("tokenizer.json", "spm.model")
# Source: LLM-Blender's train_ranker.sh (its largest lengths) and tokenize_pair in
# llm_blender/blender/blender_utils.py at 2a67366; the model card names the same numbers.
SOURCE_MAX_LENGTH, CANDIDATE_MAX_LENGTH = 1224, 412

# What a config of LLM-Blender's leaves to the backbone it names.
# Source: config.json of microsoft/deberta-v3-{xsmall,small,base,large} on the Hub.
_DEBERTA_V3 = {
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-7,
    "max_position_embeddings": 512,
    "max_relative_positions": -1,
    "norm_rel_ebd": "layer_norm",
    "pad_token_id": 0,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "position_buckets": 256,
    "relative_attention": True,
    "share_att_key": True,
    "type_vocab_size": 0,
}
_SIZES = {  # hidden size, layers, heads
    "microsoft/deberta-v3-xsmall": (384, 12, 6),
    "microsoft/deberta-v3-small": (768, 6, 12),
    "microsoft/deberta-v3-base": (768, 12, 12),
    "microsoft/deberta-v3-large": (1024, 24, 16),
}


class PairRMFiles(NamedTuple):
    """Where the parts of a checkpoint lie, and what its config says.

    backbone: options of DebertaV2Config; its vocabulary size is that of the weights instead.
    backbone_config: the file that the backbone comes from, if it is another than config.json.
    """

    folder: Path
    weights: Path
    tokenizer: Path
    backbone: Mapping[str, Any]
    backbone_config: Path | None
    n_tasks: int
    source_max_length: int
    candidate_max_length: int

    def digest(self) -> str:
        """sha256 (hex) over names and contents of all files that decide its answers."""
        beside = [self.tokenizer.with_name("added_tokens.json"), self.backbone_config]
        files = [self.folder / "config.json", self.weights, self.tokenizer]
        files += [file for file in beside if file is not None and file.is_file()]
        total = hashlib.sha256()
        for file in files:
            total.update(file.name.encode() + b"\0" + file_digest(file).encode())
        return total.hexdigest()


def find_files(folder: Path) -> PairRMFiles:
    """The parts of the PairRM checkpoint in `folder`.

    Raises:
        RecipeError: it is none, or a part is missing.
    """
    config = config_of(folder)
    if "ranker_type" in config:
        backbone, backbone_config = _named_backbone(folder, config)
    elif config.get("model_type") == "deberta-v2":
        backbone, backbone_config = config, None
    else:
        raise RecipeError(
            f"{folder} is no PairRM: its config.json has neither 'ranker_type'"
            " nor the model_type 'deberta-v2'",
            "use llm-blender/PairRM, llm-blender/PairRM-hf or a model trained like them",
        )
    return PairRMFiles(
        folder,
        weights=_first(folder, WEIGHTS, "weights"),
        tokenizer=_first(folder, TOKENIZERS, "tokenizer"),
        backbone=backbone,
        backbone_config=backbone_config,
        n_tasks=int(config.get("n_tasks") or 1),
        source_max_length=int(config.get("source_maxlength") or SOURCE_MAX_LENGTH),
        candidate_max_length=int(config.get("candidate_maxlength") or CANDIDATE_MAX_LENGTH),
    )


def _named_backbone(
    folder: Path, config: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Path | None]:
    if config["ranker_type"] != "pairranker":
        raise RecipeError(
            f"{folder} holds a ranker of type '{config['ranker_type']}', not 'pairranker'",
            "only pair rankers compare two responses in one pass",
        )
    name = str(config.get("model_name"))
    beside = folder / name / "config.json"  # an absolute name stays what it is
    if beside.is_file():
        return config_of(beside.parent), beside
    if name not in _SIZES:
        raise RecipeError(
            f"{folder}/config.json: model_name '{name}' is no backbone that is known here",
            f"{did_you_mean(name, _SIZES)}; or name a folder that holds the backbone's config.json",
        )
    hidden, layers, heads = _SIZES[name]
    sizes = {
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }
    return {**_DEBERTA_V3, **sizes}, None


def _first(folder: Path, names: tuple[str, ...], what: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise RecipeError(
        f"{folder} holds no {what} (looked for {', '.join(names)})",
        "copy all files of the repository llm-blender/PairRM there",
    )
