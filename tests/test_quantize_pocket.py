"""Response perplexity of the pocket base's variants: within 1 % (GPTQ, FP8) and 3 % (rounding)."""

import math
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from evalkit import registry
from evalkit.loading import load_model
from evalkit.pocket.corpus import Faults, conversations
from evalkit.pocket.pretrain import Encoded, encode
from evalkit.records import Checkpoint

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

pytestmark = pytest.mark.slow

ALLOWED = {"fp8_dynamic": 0.01, "w4a16_gptq": 0.01, "w4a16_rtn": 0.03}
FAULTS = Faults(habit=0.6, short_habit=0.3, noise=0.1)


def encoded(tokenizer: Any, seed: int, n: int) -> list[Encoded]:
    """Pocket conversations as the base is trained on them."""
    return [encode(one, tokenizer) for one in islice(conversations(seed, FAULTS), n)]


def response_perplexity(model: Any, conversations: list[Encoded]) -> float:
    """Of what the assistant says."""
    nats = tokens = 0.0
    for one in conversations:
        labels_BT = torch.tensor([one.labels])
        said = int((labels_BT[:, 1:] >= 0).sum())
        with torch.no_grad():
            loss = model(torch.tensor([one.ids]), labels=labels_BT).loss
        nats += float(loss) * said
        tokens += said
    return math.exp(nats / tokens)


@pytest.mark.parametrize("name", sorted(ALLOWED))
def test_responses_stay_as_likely(name: str, pocket_base: Path, tmp_path: Path) -> None:
    parent = load_model(pocket_base, dtype="bfloat16", device="cpu")
    plugin = registry.load("schemes", name)
    calibration = [one.ids for one in encoded(parent.tokenizer, seed=5, n=128)]
    checkpoint = Checkpoint("base", str(pocket_base), "d", "float32")
    plugin(plugin.Options()).quantize(checkpoint, calibration, tmp_path)
    held_out = encoded(parent.tokenizer, seed=999, n=300)
    before = response_perplexity(parent.model, held_out)
    after = response_perplexity(load_model(tmp_path, device="cpu").model, held_out)
    assert after == pytest.approx(before, rel=ALLOWED[name])
