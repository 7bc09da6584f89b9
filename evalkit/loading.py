"""Loads checkpoints (a folder, or a Hub id at a revision), checks and digests their folders.

Only making a model needs torch; the rest reads files, of the weights no more than it must.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from evalkit.console import no_foreign_bars
from evalkit.errors import PrerequisiteError, RecipeError, did_you_mean, gist, missing_extra
from evalkit.fingerprint import fingerprint
from evalkit.roles import LoadedModel

WEIGHT_PATTERNS = ("*.safetensors", "pytorch_model*.bin")  # the first that is there counts
# Any of these is enough to load a tokenizer from.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.json",
    "vocab.txt",
    "tekken.json",
)
# What else of a folder decides results: how text becomes tokens, and where responses end.
COMPANION_FILES = (
    "chat_template.jinja",
    "generation_config.json",
    "tokenizer_config.json",
    *TOKENIZER_FILES,
)
_CONVERT = "convert it: AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder)"


def load_model(
    path: str | Path,
    *,
    revision: str | None = None,
    dtype: str = "auto",
    device: str | None = None,
    attention: str | None = None,
    quantization: Any = None,
) -> LoadedModel:
    """The causal LM at `path` and its tokenizer, ready for `scoring` and the engines.

    dtype: `auto` (as stored), `float32` or `bfloat16`.
    device: default the first GPU where there is one, else the CPU.
    quantization: a quantization config of transformers, to be applied while loading.
    A compressed checkpoint is decompressed here, so that its backbone and head can be called apart.

    Raises:
        RecipeError: nothing loadable is there.
        PrerequisiteError: torch or transformers is not installed.
    """
    try:
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise missing_extra("torch and transformers", "train") from error
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    options: dict[str, Any] = {}
    if attention is not None:
        options["attn_implementation"] = attention
    if quantization is not None:
        options |= {"quantization_config": quantization, "device_map": {"": device}}
    with no_foreign_bars():
        tokenizer = load_tokenizer(path, revision)
        try:
            model = AutoModelForCausalLM.from_pretrained(
                path, revision=revision, dtype=dtype, **options
            )
        except ImportError as error:
            raise PrerequisiteError(
                f"cannot load a model from {path}: {gist(error)}",
                "install what is named there, or set training.attention: auto",
            ) from error
        except (OSError, ValueError, SafetensorError) as error:
            raise RecipeError(
                f"cannot load a model from {path}: {gist(error)}",
                "check that its files are complete and that transformers knows its model_type",
            ) from error
        model = model.to(device).eval()
        stored_quantized = getattr(model.config, "quantization_config", None) is not None
        if stored_quantized and quantization is None:
            _decompress(model, torch)
    if attention is None:
        keep_soft_cap(model)
    return LoadedModel(model, tokenizer)


def keep_soft_cap(model: Any) -> None:
    """Gives a model whose attention logits are capped a kernel that caps them.

    The sdpa kernel that transformers 5.17 picks for Gemma 2 silently drops the soft cap.
    """
    if getattr(model.config, "attn_logit_softcapping", None) is not None:
        model.set_attn_implementation("eager")


def load_tokenizer(path: str | Path, revision: str | None = None) -> Any:
    """The tokenizer at `path`; needs transformers.

    Raises:
        RecipeError: nothing loadable is there.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, revision=revision)
    except Exception as error:  # of the tokenizers library, too, which raises plain Exception
        raise RecipeError(
            f"cannot load a tokenizer from {path}: {gist(error)}",
            "the folder must hold the model's config.json and tokenizer files;"
            " tokenizer.save_pretrained(folder) writes the latter",
        ) from error


def check_model_type(folder: str | Path) -> None:
    """Raises RecipeError unless this transformers has a causal LM for a folder's model_type."""
    from transformers import __version__
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kind = str(config_of(folder).get("model_type"))
    file = Path(folder) / "config.json"
    if kind not in CONFIG_MAPPING_NAMES:
        raise RecipeError(
            f"{file}: transformers {__version__} knows no model_type '{kind}'",
            did_you_mean(kind, CONFIG_MAPPING_NAMES) + "; a newer transformers may know it",
        )
    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise RecipeError(
            f"{file}: a '{kind}' model is no causal language model",
            "give one that continues text, such as a Llama, Mistral, Gemma or Qwen",
        )


def without_weights(folder: str | Path) -> Any:
    """The model of a folder as its config has it, on torch's meta device: nothing is allocated.

    Raises:
        RecipeError: this transformers has no causal LM for it.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    check_model_type(folder)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))


def _decompress(model: Any, torch: Any) -> None:
    # One ordinary call unpacks the weights: before it, `lm_head` and the backbone raise when they
    # are called directly.
    with torch.no_grad():
        model(torch.zeros((1, 1), dtype=torch.long, device=model.device))


def config_of(folder: str | Path) -> dict[str, Any]:
    """The config.json of a checkpoint folder.

    Raises:
        RecipeError: there is none, or it is not a JSON object.
    """
    return json_object(_config_file(Path(folder)))


def _config_file(folder: Path) -> Path:
    file = folder / "config.json"
    if not file.is_file():
        raise RecipeError(
            f"{folder} is not a checkpoint: it has no config.json",
            "give the folder that save_pretrained wrote",
        )
    return file


def json_object(file: Path) -> dict[str, Any]:
    """The JSON object that a file of a checkpoint holds.

    Raises:
        RecipeError: it is not one.
    """
    try:
        content = json.loads(file.read_text("utf-8"))
    except ValueError as error:  # also of bytes that are no UTF-8
        raise RecipeError(f"{file} is not JSON: {gist(error)}", "fetch or save it again") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{file} is not a JSON object", "fetch or save it again")
    return content


def stored_dtype(config: Mapping[str, Any]) -> str:
    """The dtype that a checkpoint's config declares, `float32` where it says nothing."""
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


# --- checking a folder --------------------------------------------------------------------


def check_folder(folder: str | Path) -> None:
    """Raises unless a folder holds a config, whole safetensors files and a tokenizer.

    Quick, as of the weights only headers are read.

    Raises:
        RecipeError: something is missing or cut off.
    """
    root = Path(folder)
    config_of(root)
    files = sorted(root.glob("*.safetensors"))
    if not files:
        other = any(root.glob("*.bin")) or any(root.glob("*.pth"))
        raise RecipeError(
            f"{root} holds no weights in safetensors files",
            _CONVERT if other else "give the folder that save_pretrained wrote",
        )
    for file in files:
        _check_whole(file)
    index = root / "model.safetensors.index.json"
    listed = set(json_object(index).get("weight_map", {}).values()) if index.is_file() else set()
    if missing := sorted(listed - {file.name for file in files}):
        raise RecipeError(f"{root} lacks {missing[0]}, named in {index.name}", "fetch it again")
    if not any((root / name).is_file() for name in TOKENIZER_FILES):
        raise RecipeError(
            f"{root} holds no tokenizer (looked for {', '.join(TOKENIZER_FILES)})",
            "write it there with tokenizer.save_pretrained(folder)",
        )


def _check_whole(file: Path) -> None:
    """Compares a safetensors file's size with what its header announces.

    Source: github.com/huggingface/safetensors, README, section Format.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = 8 + int.from_bytes(stream.read(8), "little")
        try:
            header = json.loads(stream.read(start - 8) if start <= size else b"")
            entries = [entry for name, entry in header.items() if name != "__metadata__"]
            end = start + max((entry["data_offsets"][1] for entry in entries), default=0)
        except (ValueError, LookupError, AttributeError, TypeError):
            end = -1
    if end != size:
        raise RecipeError(f"{file} is cut off or damaged", "fetch or save it again")


# --- digests ------------------------------------------------------------------------------


def weights_digest(folder: str | Path) -> str:
    """sha256 (hex) over names and contents of all files of a checkpoint that decide results.

    These are config and weights (safetensors; where there are none, PyTorch's .bin files), and
    of `COMPANION_FILES` those present. A file is read once per process, unless it changes.

    Raises:
        RecipeError: the folder has no config.json.
        PrerequisiteError: the folder holds no weights.
    """
    total = hashlib.sha256()
    for file in _deciding_files(Path(folder)):
        digest = _known_digest(str(file.resolve()), _file_state(file))
        total.update(file.name.encode() + b"\0" + digest.encode())
    return total.hexdigest()


def quick_state(folder: str | Path) -> str:
    """A fingerprint of names and file system states of the files that `weights_digest` reads.

    Without reading any it tells whether a folder was changed in place. States differ between
    copies and machines: compare it within one run's folder, and let it decide no result.

    Raises:
        RecipeError: the folder has no config.json.
        PrerequisiteError: the folder holds no weights.
    """
    return fingerprint([[file.name, *_file_state(file)] for file in _deciding_files(Path(folder))])


def file_digest(file: Path) -> str:
    """sha256 (hex) of a file's bytes, read in blocks."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _deciding_files(root: Path) -> list[Path]:
    found = (sorted(root.glob(pattern)) for pattern in WEIGHT_PATTERNS)
    weights = next((files for files in found if files), None)
    if weights is None:
        raise PrerequisiteError(f"{root} holds no weight files")
    companions = [root / name for name in sorted(COMPANION_FILES)]
    return [_config_file(root), *weights, *(file for file in companions if file.is_file())]


def _file_state(file: Path) -> tuple[int, int, int, int]:
    """What changes whenever a file is written or replaced, even where its time is set back."""
    state = file.stat()
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


@lru_cache(maxsize=1024)
def _known_digest(path: str, state: tuple[int, int, int, int]) -> str:
    return file_digest(Path(path))
