"""Training in several processes, through `accelerate launch` and the configs that ship."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evalkit import resources
from evalkit.errors import EvalkitError, PrerequisiteError, RecipeError
from evalkit.pipeline import children, launching
from evalkit.pipeline.step import Launch
from evalkit.recipe_file import read_recipe

TESTS = Path(__file__).parent
MICRO = TESTS / "recipes" / "micro.yaml"
SCRIPT = TESTS / "launched_training.py"


# --- configs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", launching.SHIPPED)
def test_accelerate_knows_every_key_of_a_shipped_config(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    launch = launching.find_launch(name, None)
    loaded = load_config_from_file(launch.config)
    assert loaded.distributed_type.value in launching.DISTRIBUTED
    assert (launch.processes, loaded.num_processes, loaded.num_machines) == (8, 8, 1)
    assert loaded.mixed_precision == "no"


def test_accelerate_understands_what_it_is_told() -> None:
    """The launcher's own reading of files and flags, down to what each process is given."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    words = launching.words_of(launching.find_launch("fsdp2", 2))
    parsed = launch_command_parser().parse_args([*words, "script.py"])
    arguments, *_ = _validate_launch_command(parsed)
    told = prepare_multi_gpu_env(arguments)
    assert arguments.nproc_per_node == "2"
    assert told["ACCELERATE_USE_FSDP"] == "true"
    assert told["FSDP_VERSION"] == "2"
    assert told["FSDP_STATE_DICT_TYPE"] == "SHARDED_STATE_DICT"
    assert told["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "false"
    assert told["ACCELERATE_MIXED_PRECISION"] == "no"


@pytest.mark.parametrize(
    ("old", "new", "said", "hint"),
    [
        (
            "num_machines",
            "num_machine",
            "yaml:5  accelerate knows no key 'num_machine'",
            "num_machines",
        ),
        (
            "fsdp_version",
            "fsdp_verson",
            "yaml:11  .*no key 'fsdp_config.fsdp_verson'",
            "fsdp_version",
        ),
        ("num_machines: 1", "num_machines: 2", "this is FSDP on 2", "--launch fsdp2"),
        ("distributed_type: FSDP", "distributed_type: XLA", "this is XLA on 1", "--launch fsdp2"),
        ("num_processes: 8", "num_processes: -1", "how many processes", "--processes"),
    ],
)
def test_a_slip_in_a_config_is_told(
    tmp_path: Path, old: str, new: str, said: str, hint: str
) -> None:
    text = resources.launch_config("fsdp2").read_text()
    assert old in text
    (tmp_path / "mine.yaml").write_text(text.replace(old, new))
    with pytest.raises(RecipeError, match=said) as caught:
        launching.find_launch(str(tmp_path / "mine.yaml"), None)
    assert hint in caught.value.hint


def test_a_config_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such launch config") as caught:
        launching.find_launch("fsdp", None)
    assert "fsdp2" in caught.value.hint


def test_zero3_agrees_with_the_trainer(tiny_llama: Path, tmp_path: Path) -> None:
    """What transformers makes of the JSON without DeepSpeed: every `auto` filled, no mismatch."""
    from accelerate.utils.deepspeed import HfDeepSpeedConfig
    from test_trainers_trainer import BASIC
    from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig

    from evalkit.trainers.reference import training_model
    from evalkit.trainers.trainer import training_arguments

    class Checked(HfTrainerDeepSpeedConfig, HfDeepSpeedConfig):
        """transformers' own, which without deepspeed has no base that reads the file."""

        def __init__(self, file: str) -> None:
            HfDeepSpeedConfig.__init__(self, file)
            self._dtype, self.mismatches = None, []

    words = launching.words_of(launching.find_launch("deepspeed_zero3", None))
    config = Checked(words[words.index("--deepspeed_config_file") + 1])
    assert config.is_zero3()
    settings = BASIC.model_copy(update={"precision": "bfloat16", "max_grad_norm": 0.5})
    model = training_model(tiny_llama, settings)
    arguments = training_arguments(settings, tmp_path, 0, model)
    config.trainer_config_process(arguments)
    config.trainer_config_finalize(arguments, model, 10)
    assert "auto" not in json.dumps(config.config)
    assert config.get_value("bf16.enabled") is True
    assert config.get_value("gradient_clipping") == 0.5
    assert config.get_value("train_batch_size") == settings.batch_size
    assert config.get_value("zero_optimization.stage3_gather_16bit_weights_on_model_save") is True


# --- checks before any work ----------------------------------------------------------------------


def _problems(launch: Launch, gpus: int, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(launching, "_gpus", lambda: gpus)
    return list(launching.check(launch, read_recipe(MICRO)))


def test_what_a_machine_lacks_is_told_before(monkeypatch: pytest.MonkeyPatch) -> None:
    zero3 = _problems(launching.find_launch("deepspeed_zero3", 2), 0, monkeypatch)
    assert ["deepspeed" in p.message or "GPU" in p.message for p in zero3] == [True] * len(zero3)
    assert all(problem.prerequisite for problem in zero3) and zero3
    fsdp2 = launching.find_launch("fsdp2", 2)
    assert _problems(fsdp2, 0, monkeypatch) == []  # on CPUs
    assert _problems(fsdp2, 2, monkeypatch) == []
    [few] = _problems(fsdp2, 1, monkeypatch)
    assert few.prerequisite and few.hint == "use --processes 1"


def test_a_batch_that_cannot_be_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    [problem] = _problems(launching.find_launch("ddp", 3), 0, monkeypatch)
    assert "a batch of 2 prompts cannot be shared out to 3 processes" in problem.message
    assert "stages.0.training.batch_size" in problem.where and not problem.prerequisite


def test_errors_travel_between_processes(tmp_path: Path) -> None:
    assert children.left_error(tmp_path) is None
    children.leave_error(tmp_path, 10, EvalkitError("later"))
    children.leave_error(tmp_path, 2, PrerequisiteError("first", "do this"))
    error = children.left_error(tmp_path)
    assert type(error) is PrerequisiteError and (error.message, error.hint) == ("first", "do this")


# --- equal to one process ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def starts(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two checkpoints: without and with one matrix for embedding and head."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tied = tmp_path_factory.mktemp("tied")
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(tied)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tied)
    assert AutoModelForCausalLM.from_pretrained(tied).config.tie_word_embeddings
    return tiny_llama, tied


@pytest.fixture(scope="module")
def alone(starts: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    words = [sys.executable, str(SCRIPT), str(folder), *map(str, starts)]
    subprocess.run(words, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=800)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp", "fsdp2"])
def test_two_processes_train_as_one(
    name: str, starts: tuple[Path, Path], alone: Path, tmp_path: Path
) -> None:
    from launched_training import VARIANTS
    from test_trainers_trainer import difference, metrics

    words = [sys.executable, "-m", launching.__name__]
    words += launching.words_of(launching.find_launch(name, 2))
    words += [str(SCRIPT), str(tmp_path), *map(str, starts)]
    subprocess.run(words, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=800)
    for variant in VARIANTS:
        one, two = alone / variant, tmp_path / variant
        # Adam makes full steps of the last bits of small gradients.
        assert difference(one, two) < (1e-4 if variant == "saved" else 1e-5), variant
        start = starts[1] if variant == "tied" else starts[0]
        assert difference(one, start) > 1e-3, variant
        assert {f.name for f in one.iterdir()} == {f.name for f in two.iterdir()}
        for a, b in zip(metrics(one), metrics(two), strict=True):
            assert a.pop("padding_factor") and b.pop("padding_factor")  # rows are filled otherwise
            assert a == pytest.approx(b, rel=1e-3, abs=1e-4), variant
    work = tmp_path / "resumed-work"
    kept = (work / "fsdp" if name == "fsdp2" else work) / "checkpoint-8"
    assert kept.is_dir() and not (kept.parent / "partial" / kept.name).exists()
    assert difference(tmp_path / "saved", tmp_path / "resumed") == 0
    assert metrics(tmp_path / "saved") == metrics(tmp_path / "resumed")
