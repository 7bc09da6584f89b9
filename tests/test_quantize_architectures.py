"""Every architecture that `architecture.TESTED` names, through every scheme, and back again."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from evalkit import checkpoint_size as size
from evalkit import registry
from evalkit.loading import config_of, load_model
from evalkit.quantize.architecture import TESTED
from evalkit.records import Checkpoint

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = pytest.mark.slow

SCHEMES = registry.names("schemes")
# Relative error of each weight matrix: of Gaussian weights, e4m3 loses 0.027, 4 bits in groups
# of 128 about 0.1, and GPTQ a little more, because it minimises the error of the outputs.
WEIGHTS = {"fp8_dynamic": 0.04, "w4a16_gptq": 0.25, "w4a16_rtn": 0.13}
# Of the logits of random models, which amplify errors; two unrelated models differ by 1.4.
LOGITS = {"fp8_dynamic": 0.25, "w4a16_gptq": 0.7, "w4a16_rtn": 0.7}
EXTRA: dict[str, dict[str, Any]] = {
    "gemma3_text": {"sliding_window": 16},
    "gemma2": {"sliding_window": 16},
    "mistral": {"sliding_window": 16},
    "phi3": {"pad_token_id": 2},
}
VOCABULARY = 384


def ids(seed: int, n: int, length: int) -> list[list[int]]:
    """Random token ids."""
    generator = torch.Generator().manual_seed(seed)
    rows: list[list[int]] = torch.randint(6, VOCABULARY, (n, length), generator=generator).tolist()
    return rows


def change(before: Any, after: Any) -> float:
    """The norm of the difference, relative."""
    return float((after - before).norm() / before.norm())


@pytest.fixture(scope="module", params=sorted(TESTED))
def parent(
    request: pytest.FixtureRequest, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A random model of one architecture with the tiny Llama's tokenizer."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        request.param,
        vocab_size=VOCABULARY,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=256,
        initializer_range=0.1,
        **EXTRA.get(request.param, {}),
    )
    folder = tmp_path_factory.mktemp(request.param)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    for file in tiny_llama.iterdir():
        if "token" in file.name:
            shutil.copy(file, folder)
    return folder


@pytest.mark.parametrize("name", SCHEMES)
def test_it_goes_through_and_loads_back(name: str, parent: Path, tmp_path: Path) -> None:
    plugin = registry.load("schemes", name)
    scheme = plugin(plugin.Options())
    assert scheme.check_model(config_of(parent)) == []
    calibration = [row for length in (12, 20, 31) for row in ids(length, 8, length)]
    scheme.quantize(Checkpoint("base", str(parent), "d", "float32"), calibration, tmp_path)

    assert size.linear_ratio(tmp_path) == pytest.approx(4 / 16 if "4" in name else 0.5, abs=0.02)
    assert size.parameters(tmp_path) == size.parameters(parent)
    original = load_model(parent, dtype="float32", device="cpu").model
    model = load_model(tmp_path, dtype="float32", device="cpu").model
    ids_BT = torch.tensor(ids(99, 2, 24))
    with torch.no_grad():
        before, after = original(ids_BT).logits, model(ids_BT).logits
        hidden = model.model(ids_BT)[0]
        head = model.lm_head(hidden)
    assert change(before, after) < LOGITS[name]
    weights, kept = original.state_dict(), model.state_dict()
    linear = [key for key in weights if key.endswith("proj.weight") or ".fc" in key]
    assert linear
    assert max(change(weights[key], kept[key]) for key in linear) < WEIGHTS[name]
    if not getattr(model.config, "final_logit_softcapping", None):
        assert torch.allclose(head, after)
    generated = model.generate(ids_BT[:, :8], max_new_tokens=3, do_sample=False)
    assert generated.shape[1] > 8
