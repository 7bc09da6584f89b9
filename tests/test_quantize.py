"""All three schemes through the real llmcompressor, on a small Llama that was really trained."""

import json
import math
import os
import random
import shutil
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from evalkit import checkpoint_size as size
from evalkit import registry
from evalkit.errors import PrerequisiteError, RecipeError
from evalkit.loading import config_of, load_model
from evalkit.quantize import calibration as calibration_module
from evalkit.quantize import compress
from evalkit.quantize.calibration import batches, choose
from evalkit.records import Checkpoint
from evalkit.roles import Scheme

torch = pytest.importorskip("torch")
if find_spec("llmcompressor") is None:  # not imported here: the schemes must do it in silence
    pytest.skip("llmcompressor is not installed", allow_module_level=True)

SCHEMES = ("fp8_dynamic", "w4a16_gptq", "w4a16_rtn")
# What a variant's linear layers are of their bfloat16 size, and how much perplexity may move on
# this test's model, whose text is a tenth noise (a pocket model moves less: see the slow test).
RATIO = {"fp8_dynamic": 0.50, "w4a16_gptq": 0.26, "w4a16_rtn": 0.26}
PERPLEXITY = {"fp8_dynamic": 0.01, "w4a16_gptq": 0.05, "w4a16_rtn": 0.06}
FORMAT = {"fp8_dynamic": "float-quantized", "w4a16_gptq": "pack-quantized"}
STEPS = 120
RETURNED: dict[str, Mapping[str, Any]] = {}


def sequences(n: int, seed: int) -> list[list[int]]:
    """Counting in steps, with slips: something that a small model learns in seconds."""
    draw = random.Random(seed)
    made = []
    for _ in range(n):
        value, step, row = draw.randrange(300), draw.choice((1, 2, 5)), [0]
        for _ in range(draw.randrange(16, 48)):
            row.append(10 + value)
            value = (value + step if draw.random() < 0.9 else draw.randrange(300)) % 300
        made.append(row)
    return made


def train(folder: Path) -> None:
    """A few seconds of next-token training on `sequences`."""
    model, _ = load_model(folder, device="cpu")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(STEPS):
        rows = sequences(32, seed=1000 + step)
        shortest = min(map(len, rows))
        ids_BT = torch.tensor([row[:shortest] for row in rows])
        model(ids_BT, labels=ids_BT).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)


def perplexity(model: Any, rows: Sequence[Sequence[int]]) -> float:
    """Of all tokens but the first of each row."""
    nats = tokens = 0.0
    with torch.no_grad():
        for row in rows:
            ids_BT = torch.tensor([row])
            nats += float(model(ids_BT, labels=ids_BT).loss) * (len(row) - 1)
            tokens += len(row) - 1
    return math.exp(nats / tokens)


def scheme(name: str, **options: Any) -> Scheme:
    """The plug-in with these options."""
    plugin = registry.load("schemes", name)
    made: Scheme = plugin(plugin.Options(**options))
    return made


def quantize(name: str, parent: Path, folder: Path, **options: Any) -> Path:
    """The folder, made and filled with one variant of `parent`; `RETURNED` gets the facts."""
    folder.mkdir()
    chosen = scheme(name, **options)
    calibration = sequences(64, seed=1) if chosen.calibrated else []
    checkpoint = Checkpoint("base", str(parent), "d", "float32")
    RETURNED[name] = chosen.quantize(checkpoint, calibration, folder)
    return folder


@pytest.fixture(scope="module")
def parent(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float32 checkpoint that has learned something, with a licence beside it."""
    folder = tmp_path_factory.mktemp("quantize") / "parent"
    shutil.copytree(tiny_llama, folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        train(folder)
    (folder / "LICENSE").write_text("Apache License\n", "utf-8")
    (folder / "optimizer.pt").write_bytes(b"not for publishing")
    return folder


@pytest.fixture(scope="module")
def variants(parent: Path) -> dict[str, Path]:
    """One variant of `parent` per scheme."""
    return {name: quantize(name, parent, parent.parent / name) for name in SCHEMES}


def test_every_scheme_is_found_by_name() -> None:
    assert registry.names("schemes") == SCHEMES
    for name in SCHEMES:
        plugin = registry.load("schemes", name)
        assert plugin.label
        assert plugin.suffix
        assert plugin.bits in (4, 8)
    assert len({registry.load("schemes", name).suffix for name in SCHEMES}) == len(SCHEMES)


@pytest.mark.parametrize("name", SCHEMES)
def test_linear_layers_shrink_as_stated(name: str, variants: dict[str, Path], parent: Path) -> None:
    assert size.linear_ratio(variants[name]) == pytest.approx(RATIO[name], abs=0.02)
    assert size.parameters(variants[name]) == size.parameters(parent)
    assert size.checkpoint_bytes(variants[name]) < size.checkpoint_bytes(parent) / 2


@pytest.mark.parametrize("name", SCHEMES)
def test_perplexity_stays_near_the_parent(
    name: str, variants: dict[str, Path], parent: Path
) -> None:
    rows = sequences(60, seed=2)
    before = perplexity(load_model(parent, dtype="bfloat16", device="cpu").model, rows)
    after = perplexity(load_model(variants[name], device="cpu").model, rows)
    assert before < 150  # of 384 tokens: it has learned, so that there is something to lose
    assert after == pytest.approx(before, rel=PERPLEXITY[name])


@pytest.mark.parametrize("dtype", ["auto", "float32"])
@pytest.mark.parametrize("name", SCHEMES)
def test_backbone_and_head_can_be_called_apart(
    name: str, dtype: str, variants: dict[str, Path]
) -> None:
    model = load_model(variants[name], dtype=dtype, device="cpu").model
    ids_BT = torch.tensor([sequences(1, seed=3)[0]])
    with torch.no_grad():
        apart = model.lm_head(model.model(ids_BT)[0])
        assert torch.equal(apart, model(ids_BT).logits)
    assert model.lm_head.weight.dtype == (torch.float32 if dtype == "float32" else torch.bfloat16)


@pytest.mark.parametrize("name", SCHEMES)
def test_plain_transformers_reloads_and_generates(name: str, variants: dict[str, Path]) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(variants[name])
    ids_BT = torch.tensor([sequences(1, seed=4)[0][:8]])
    assert model.generate(ids_BT, max_new_tokens=4, do_sample=False).shape[1] > 8


@pytest.mark.parametrize("name", SCHEMES)
def test_config_states_the_format(name: str, variants: dict[str, Path]) -> None:
    config = config_of(variants[name])
    stated = config["quantization_config"]
    weights = stated["config_groups"]["group_0"]["weights"]
    assert config["dtype"] == "bfloat16"
    assert stated["quant_method"] == "compressed-tensors"
    assert stated["format"] == FORMAT.get(name, "pack-quantized")
    assert stated["ignore"] == ["lm_head"]
    if name == "fp8_dynamic":
        assert (weights["type"], weights["strategy"]) == ("float", "channel")
        assert stated["config_groups"]["group_0"]["input_activations"]["dynamic"] is True
    else:
        assert (weights["type"], weights["group_size"]) == ("int", 128)
        assert weights["symmetric"] is True


@pytest.mark.parametrize("name", SCHEMES)
def test_everything_a_repository_needs_travels(
    name: str, variants: dict[str, Path], parent: Path
) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "LICENSE"):
        assert (variants[name] / file).read_bytes() == (parent / file).read_bytes()
    made = {file.name for file in variants[name].iterdir()}
    assert {"generation_config.json", "recipe.yaml", "quantization.json"} <= made
    assert "optimizer.pt" not in made


@pytest.mark.parametrize("name", SCHEMES)
def test_no_file_tells_where_it_was_made(name: str, variants: dict[str, Path]) -> None:
    places = [str(variants[name].parent), str(Path.cwd()), str(Path.home())]
    for file in variants[name].iterdir():
        content = file.read_bytes()
        assert not [place for place in places if place.encode() in content], file.name


@pytest.mark.parametrize("name", SCHEMES)
def test_the_same_input_gives_the_same_bytes(
    name: str, variants: dict[str, Path], parent: Path, tmp_path: Path
) -> None:
    again = quantize(name, parent, tmp_path / "again")
    assert {file.name for file in again.iterdir()} == {f.name for f in variants[name].iterdir()}
    for file in again.iterdir():
        assert file.read_bytes() == (variants[name] / file.name).read_bytes(), file.name


def test_the_facts_say_what_was_calibrated_on(variants: dict[str, Path]) -> None:
    facts = json.loads((variants["w4a16_gptq"] / "quantization.json").read_text("utf-8"))
    used = facts["calibration"]
    assert used["sequences"] == 64
    assert used["tokens"] == sum(map(len, sequences(64, seed=1)))
    assert facts["parent_dtype"] == "F32"
    assert facts["rounded_to"] == "BF16"
    rtn = json.loads((variants["w4a16_rtn"] / "quantization.json").read_text("utf-8"))
    assert rtn["calibration"] is None


@pytest.mark.usefixtures("variants")
def test_a_scheme_returns_what_it_did() -> None:
    assert {name: RETURNED[name]["calibration_samples"] for name in SCHEMES} == {
        "fp8_dynamic": 0,
        "w4a16_gptq": 64,
        "w4a16_rtn": 0,
    }
    for name in SCHEMES:
        assert RETURNED[name]["scheme"] == name
        json.dumps(RETURNED[name])


def test_what_must_be_installed_is_said_beforehand() -> None:
    needed = (("llmcompressor", "quantize"), ("compressed_tensors", "quantize"))
    assert all(registry.load("schemes", name).requires == needed for name in SCHEMES)


def test_gptq_is_closer_to_its_parent_than_rounding(
    variants: dict[str, Path], parent: Path
) -> None:
    original = load_model(parent, dtype="float32", device="cpu").model
    rows = sequences(40, seed=5)

    def divergence(folder: Path) -> float:
        model, total = load_model(folder, dtype="float32", device="cpu").model, 0.0
        with torch.no_grad():
            for row in rows:
                ids_BT = torch.tensor([row])
                p_TV, q_TV = (m(ids_BT).logits[0].log_softmax(-1) for m in (original, model))
                total += float((p_TV.exp() * (p_TV - q_TV)).sum(-1).mean())
        return total / len(rows)

    assert divergence(variants["w4a16_gptq"]) < 0.9 * divergence(variants["w4a16_rtn"])


def test_batches_of_one_length_change_nothing_but_rounding(
    variants: dict[str, Path], parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration_module, "MAX_BATCH_TOKENS", 1)
    chosen = choose(sequences(64, seed=1), samples=64, max_length=2048, vocabulary=384, seed=0)
    assert all(len(batch) == 1 for batch in batches(chosen))
    single = quantize("w4a16_gptq", parent, tmp_path / "single")
    one, many = (
        load_model(folder, dtype="float32", device="cpu").model.state_dict()
        for folder in (single, variants["w4a16_gptq"])
    )
    name = "model.layers.0.mlp.down_proj.weight"
    same = (one[name] == many[name]).float().mean()
    assert same > 0.98


def test_it_is_silent_and_leaves_the_process_as_it_was(
    parent: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    model = load_model(parent, device="cpu").model
    ids_BT = torch.tensor([sequences(1, seed=6)[0]])
    logits_BTV = model(ids_BT).logits
    surroundings, generator = dict(os.environ), torch.get_rng_state()
    capfd.readouterr()
    quantize("w4a16_gptq", parent, tmp_path / "out")
    written = capfd.readouterr()
    assert written.out == ""
    assert written.err == ""
    assert list((tmp_path / "cwd").iterdir()) == []
    assert dict(os.environ) == surroundings
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.equal(model(ids_BT).logits, logits_BTV)


def test_a_smaller_group_is_an_option(parent: Path, tmp_path: Path) -> None:
    folder = quantize("w4a16_rtn", parent, tmp_path / "out", group_size=32)
    weights = config_of(folder)["quantization_config"]["config_groups"]["group_0"]["weights"]
    assert weights["group_size"] == 32
    assert 0.28 < size.linear_ratio(folder) < 0.30  # four times as many scales


def test_gptq_refuses_to_run_without_calibration(parent: Path, tmp_path: Path) -> None:
    checkpoint = Checkpoint("base", str(parent), "d", "float32")
    with pytest.raises(RecipeError, match="calibration") as caught:
        scheme("w4a16_gptq").quantize(checkpoint, [], tmp_path)
    assert "w4a16_rtn" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_singular_hessian_is_an_error_and_not_rounding_in_silence(
    parent: Path, tmp_path: Path
) -> None:
    checkpoint = Checkpoint("base", str(parent), "d", "float32")
    with pytest.raises(RecipeError, match="singular") as caught:
        scheme("w4a16_gptq", dampening=1e-12).quantize(checkpoint, [[0, 11, 12]], tmp_path)
    assert "dampening" in caught.value.hint


def test_a_variant_is_not_quantized_again(variants: dict[str, Path], tmp_path: Path) -> None:
    checkpoint = Checkpoint("iter2-fp8", str(variants["fp8_dynamic"]), "d", "fp8_dynamic")
    with pytest.raises(RecipeError, match="already") as caught:
        scheme("w4a16_rtn").quantize(checkpoint, [], tmp_path)
    assert len(caught.value.problems) == 1


def test_only_a_folder_can_be_quantized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: Any, **__: Any) -> str:
        raise AssertionError("a scheme fetches nothing")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    for path in (str(tmp_path / "nowhere"), "someone/nowhere"):
        with pytest.raises(RecipeError, match=f"no folder {path}") as caught:
            scheme("w4a16_rtn").quantize(Checkpoint("base", path, "d", "float32"), [], tmp_path)
        assert "folder" in caught.value.hint


def test_a_missing_llmcompressor_names_the_extra(
    parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llmcompressor", None)
    with pytest.raises(PrerequisiteError, match="llmcompressor") as caught:
        quantize("w4a16_rtn", parent, tmp_path / "out")
    assert "evalkit[quantize]" in caught.value.hint


def test_too_little_memory_is_noticed_before_any_work(
    parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 2 * size.parameters(parent)
    memory = {"total": 10 * needed, "available": needed - 1}
    monkeypatch.setattr(compress, "memory_bytes", lambda: memory)
    with pytest.raises(PrerequisiteError, match="main memory"):
        quantize("w4a16_rtn", parent, tmp_path / "out")
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_a_full_disk_is_noticed_before_any_work(
    parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1000))
    with pytest.raises(PrerequisiteError, match="disk"):
        quantize("w4a16_rtn", parent, tmp_path / "out")
