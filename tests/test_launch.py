"""Training in several processes, through `accelerate launch` and the configs that ship."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from evalkit import resources
from evalkit.errors import EvalkitError, PrerequisiteError, RecipeError
from evalkit.pipeline import children, launch_checks, launching, runner
from evalkit.pipeline.step import Launch, Plan, RunOptions, Step
from evalkit.recipe_file import read_recipe
from evalkit.rundir import RunDir

TESTS = Path(__file__).parent
MICRO = TESTS / "recipes" / "micro.yaml"
SCRIPT = TESTS / "launched_training.py"
# Adam makes full steps of the last bits of small gradients; in 16 bits passes that are laid out
# otherwise round otherwise.
TOLERANCES = {"saved": 1e-4, "bfloat16": 1e-3}
CPUS = """
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_CPU
num_machines: 1
num_processes: 2
main_process_port: 0
mixed_precision: 'no'
use_cpu: true
"""  # as `accelerate config` writes it
STEP = Step("iter1-train", "train", "", {}, (), lambda context: {})


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
    # Told of neither, it keeps weights, gradients and their sums in float32.
    assert not config.get_value("bf16.enabled") and not config.get_value("fp16.enabled")
    assert config.get_value("gradient_clipping") == 0.5
    assert config.get_value("train_batch_size") == settings.batch_size
    assert config.get_value("zero_optimization.stage3_gather_16bit_weights_on_model_save") is True


# --- checks before any work ----------------------------------------------------------------------


def _problems(launch: Launch, gpus: int, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(launch_checks, "_gpu_memory", lambda: [80 << 30] * gpus)
    return list(launch_checks.check(launch, read_recipe(MICRO)))


def test_what_a_machine_lacks_is_told_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch_checks, "find_spec", lambda name: None)
    [zero3] = _problems(launching.find_launch("deepspeed_zero3", 2), 0, monkeypatch)
    assert "'deepspeed' is not installed" in zero3.message and zero3.prerequisite
    fsdp2 = launching.find_launch("fsdp2", 2)
    assert _problems(fsdp2, 0, monkeypatch) == []  # on CPUs
    assert _problems(fsdp2, 2, monkeypatch) == []
    [few] = _problems(fsdp2, 1, monkeypatch)
    assert few.prerequisite and few.hint == "use --processes 1"


def test_what_would_train_on_the_wrong_thing_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cpus.yaml").write_text(CPUS)
    cpus = launching.find_launch(str(tmp_path / "cpus.yaml"), None)
    assert _problems(cpus, 0, monkeypatch) == []
    [problem] = _problems(cpus, 2, monkeypatch)
    assert "2 GPUs are here" in problem.message and "--launch ddp" in problem.hint

    monkeypatch.setattr(launch_checks, "find_spec", lambda name: True)
    zero3 = Path(launching.find_launch("deepspeed_zero3", 2).config)
    told = json.loads(zero3.with_suffix(".json").read_text())
    (tmp_path / zero3.name).write_text(zero3.read_text())
    (tmp_path / zero3.with_suffix(".json").name).write_text(
        json.dumps({**told, "bf16": {"enabled": True}})
    )
    own = launching.find_launch(str(tmp_path / zero3.name), 2)
    [problem] = _problems(own, 0, monkeypatch)
    assert "bf16.enabled: true would train weights in 16 bits" in problem.message


def test_what_cannot_fit_into_memory_is_told_before(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = launch_checks.stored_weights(tiny_llama)
    document = yaml.safe_load(MICRO.read_text())
    document["base"] = {"model": str(tiny_llama)}  # with AdamW: 16 bytes a weight
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(document))
    recipe = read_recipe(tmp_path / "recipe.yaml")

    def found(launch: str, gpu: int, host: int = 1 << 40) -> list[str]:
        monkeypatch.setattr(launch_checks, "_gpu_memory", lambda: [gpu] * 2)
        monkeypatch.setattr(launch_checks, "_host_memory", lambda: host)
        problems = list(launch_checks.check(launching.find_launch(launch, 2), recipe))
        assert all(problem.prerequisite for problem in problems)
        return [f"{problem.message}: {problem.hint}" for problem in problems]

    assert found("ddp", 16 * weights) == found("fsdp2", 8 * weights) == []
    [whole] = found("ddp", 16 * weights - 1)
    assert "each process holds at least" in whole and "--launch fsdp2" in whole
    [shard] = found("fsdp2", 8 * weights - 1)
    assert "training.adapter" in shard
    [host] = found("fsdp2", 8 * weights, host=4 * weights - 1)
    assert "the first process reads" in host


def test_an_adapter_that_is_thinner_than_the_launch_is_wide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = yaml.safe_load(MICRO.read_text())
    document["stages"][0]["training"] |= {"batch_size": 8, "adapter": {"rank": 4}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(document))
    recipe = read_recipe(tmp_path / "recipe.yaml")
    monkeypatch.setattr(launch_checks, "_gpu_memory", list)
    assert not list(launch_checks.check(launching.find_launch("fsdp2", 4), recipe))
    assert not list(launch_checks.check(launching.find_launch("ddp", 8), recipe))
    [problem] = launch_checks.check(launching.find_launch("fsdp2", 8), recipe)
    assert "stages.0.training.adapter.rank" in problem.where and "rank of 8" in problem.hint


def test_a_batch_that_cannot_be_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    [problem] = _problems(launching.find_launch("ddp", 3), 0, monkeypatch)
    assert "a batch of 2 prompts cannot be shared out to 3 processes" in problem.message
    assert "stages.0.training.batch_size" in problem.where and not problem.prerequisite


# --- errors of several processes ---------------------------------------------------------------


def test_the_first_error_for_people_is_the_one_told(tmp_path: Path) -> None:
    assert children.left_error(tmp_path) is None and not children.left_traceback(tmp_path)
    children.leave_error(tmp_path, 0, ConnectionError("peer 2 is gone"))
    children.leave_error(tmp_path, 2, PrerequisiteError("first", "do this"))
    children.leave_error(tmp_path, 1, EvalkitError("later"))
    error = children.left_error(tmp_path)
    assert type(error) is PrerequisiteError and (error.message, error.hint) == ("first", "do this")


def test_what_no_one_expected_keeps_the_traceback_of_the_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    children.leave_error(tmp_path, 1, ZeroDivisionError("the cause"))
    children.leave_error(tmp_path, 0, ConnectionError("peer 1 is gone"))
    ended = launching._what_ended(STEP, tmp_path, 1)
    said = capsys.readouterr().err
    assert "ZeroDivisionError: the cause" in said and "ConnectionError" not in said
    assert isinstance(ended, EvalkitError) and "iter1-train failed" in ended.message
    # Where one was killed, the others only missed it.
    killed = launching._what_ended(STEP, tmp_path, launching.KILLED)
    assert isinstance(killed, PrerequisiteError) and not capsys.readouterr().err


def test_an_error_before_the_step_is_left_too(tmp_path: Path) -> None:
    task = children.task_of(
        STEP, RunDir(tmp_path / "no-run"), RunOptions(tmp_path), "train", str(tmp_path)
    )
    with pytest.raises(SystemExit):
        children.main(task)
    error = children.left_error(tmp_path)
    assert error is not None and "recipe.yaml" in error.message


def test_processes_beside_the_first_write_nothing_of_the_folder(tmp_path: Path) -> None:
    """Two that wrote its mark at once met in the draft, and one died of what no one expected."""
    run, plan = RunDir(tmp_path), Plan(read_recipe(MICRO).recipe, (STEP,))
    options = RunOptions(tmp_path)
    assert runner.begin_step(STEP, run)
    folder = run.working(STEP.name)
    before = {file: file.stat() for file in (folder, *folder.rglob("*"))}
    runner.join_step(plan, STEP, run, options)
    assert {file: file.stat() for file in (folder, *folder.rglob("*"))} == before
    runner.run_step(plan, STEP, run, options)
    assert run.receipt(STEP.name) is not None


# --- equal to one process ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def starts(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints: two matrices for embedding and head, or one; and one with a tower for images."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folders = {name: tmp_path_factory.mktemp(name) for name in ("tied", "multimodal")}
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(folders["tied"])
    assert AutoModelForCausalLM.from_pretrained(folders["tied"]).config.tie_word_embeddings
    multimodal = tiny_gemma3()
    assert any("vision" in name for name, _ in multimodal.named_parameters())
    multimodal.save_pretrained(folders["multimodal"])
    for folder in folders.values():
        AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder)
    return {"plain": tiny_llama, **folders}


def tiny_gemma3() -> Any:
    """A Gemma 3 whose tower for images gets no gradient from text."""
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    shape = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    text = {
        **shape,
        "vocab_size": 512,
        "num_hidden_layers": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "sliding_window": 16,
        "layer_types": ["sliding_attention", "full_attention"],
    }
    vision = {**shape, "num_hidden_layers": 1, "image_size": 28, "patch_size": 14}
    torch.manual_seed(0)
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    return Gemma3ForConditionalGeneration(config)


def train_variants(folder: Path, starts: dict[str, Path], *words: str) -> Path:
    """Trains them in this many processes as words of `accelerate launch` say, else in one."""
    launch = ["-m", launching.__name__, *words] if words else []
    given = [f"{name}={path}" for name, path in starts.items()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launch, str(SCRIPT), str(folder), *given]
    subprocess.run(command, check=True, env=environment, timeout=800)
    return folder


@pytest.fixture(scope="module")
def alone(starts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_variants(tmp_path_factory.mktemp("alone"), starts)


@pytest.mark.slow
@pytest.mark.parametrize("name", launching.SHIPPED)
def test_two_processes_train_as_one(
    name: str, starts: dict[str, Path], alone: Path, tmp_path: Path
) -> None:
    from launched_training import variants
    from test_trainers_trainer import difference, metrics

    if name == "deepspeed_zero3" and find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed: it would train as one process does")
    train_variants(tmp_path, starts, *launching.words_of(launching.find_launch(name, 2)))
    for variant in variants(name):
        one, two = alone / variant, tmp_path / variant
        assert difference(one, two) < TOLERANCES.get(variant, 1e-5), variant
        assert difference(one, starts.get(variant, starts["plain"])) > 1e-3, variant
        assert {f.name for f in one.iterdir()} == {f.name for f in two.iterdir()}
        for a, b in zip(metrics(one), metrics(two), strict=True):
            assert a.pop("padding_factor") and b.pop("padding_factor")  # rows are filled otherwise
            if variant != "bfloat16":
                assert a == pytest.approx(b, rel=1e-3, abs=1e-4), variant
    work = tmp_path / "resumed-work"
    kept = {"ddp": work, "fsdp2": work / "fsdp", "deepspeed_zero3": work / "deepspeed"}[name]
    assert (kept / "checkpoint-8").is_dir() and not (kept / "partial" / "checkpoint-8").exists()
    assert difference(tmp_path / "saved", tmp_path / "resumed") == 0
    assert metrics(tmp_path / "saved") == metrics(tmp_path / "resumed")


@pytest.mark.slow
def test_accelerate_s_own_config_of_several_cpus(tmp_path: Path) -> None:
    (tmp_path / "cpus.yaml").write_text(CPUS)
    script = tmp_path / "who.py"
    script.write_text(
        "import pathlib\n"
        "from accelerate import PartialState\n"
        "state = PartialState(cpu=True)\n"
        "told = f'{state.num_processes} {state.distributed_type.value}'\n"
        "pathlib.Path(__file__).with_name(f'{state.process_index}.txt').write_text(told)\n"
    )
    words = launching.words_of(launching.find_launch(str(tmp_path / "cpus.yaml"), None))
    command = [sys.executable, "-m", launching.__name__, *words, str(script)]
    subprocess.run(command, check=True, timeout=300)
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)] == ["2 MULTI_CPU"] * 2
