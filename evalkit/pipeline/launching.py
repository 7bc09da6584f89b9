"""Training steps in several processes: `accelerate launch` of one step, on one machine.

All processes do the step's work and train together; only the first writes the step. How many
they are is no part of the recipe, and the result is that of one process but for rounding.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalkit import resources
from evalkit.errors import RecipeError, did_you_mean, missing_extra
from evalkit.pipeline import children, runner
from evalkit.pipeline.step import Launch, RunOptions, Step
from evalkit.rundir import RunDir
from evalkit.yaml_file import read_mapping

KILLED = 128 + signal.SIGKILL  # what a shell makes of it
SHIPPED = ("ddp", "fsdp2", "deepspeed_zero3")
DISTRIBUTED = ("MULTI_GPU", "FSDP", "DEEPSPEED", "MULTI_CPU")


def find_launch(name: str, processes: int | None) -> Launch:
    """The launch that a shipped name, or the path of an accelerate config, stands for.

    processes: how many; default as the config says.

    Raises:
        RecipeError: there is no such config, or it asks for what cannot be done here.
        PrerequisiteError: accelerate is not installed.
    """
    file = resources.launch_config(name) if name in SHIPPED else Path(name)
    if not file.is_file():
        known = ", ".join(SHIPPED)
        raise RecipeError(
            f"--launch {name}: no such launch config", did_you_mean(name, SHIPPED) or f"use {known}"
        )
    config = read_config(file)
    number = config.get("num_processes") if processes is None else processes
    if not isinstance(number, int) or number < 1:
        raise RecipeError(f"{file} does not say how many processes to start", "add --processes N")
    return Launch(str(file.absolute()), number)


def read_config(file: Path) -> dict[str, Any]:
    """An accelerate config whose every key accelerate knows; itself it lets nested ones pass."""
    config, lines = read_mapping(file, "launch config")
    for key, known in _keys(config):
        if key[-1] not in known:
            raise RecipeError(
                f"{file}:{lines[key]}  accelerate knows no key '{'.'.join(key)}'",
                did_you_mean(key[-1], known),
            )
    kind = config.get("distributed_type")
    if kind not in DISTRIBUTED or config.get("num_machines", 1) != 1:
        raise RecipeError(
            f"{file}: evalkit launches on one machine, as {', '.join(DISTRIBUTED)};"
            f" this is {kind} on {config.get('num_machines', 1)}",
            "start from one of its own: --launch fsdp2",
        )
    return config


def _keys(config: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], set[str]]]:
    """Every key of a config, and those that may stand in its place."""
    for key, value in config.items():
        yield (key,), _known_keys()
        if key in ("fsdp_config", "deepspeed_config"):
            flags = _known_flags()
            short = {flag.removeprefix("fsdp_") for flag in flags if flag.startswith("fsdp_")}
            for inner in value or {}:
                yield (key, inner), flags | short if key == "fsdp_config" else flags


def _known_keys() -> set[str]:
    try:
        from accelerate.commands.config.config_args import ClusterConfig
    except ImportError:
        raise missing_extra("accelerate", "train") from None
    return set(ClusterConfig.__dataclass_fields__)


def _known_flags() -> set[str]:
    from accelerate.commands.launch import launch_command_parser

    return {action.dest for action in launch_command_parser()._actions}


def words_of(launch: Launch) -> list[str]:
    """What `accelerate launch` is told, up to the module that it starts."""
    words = ["--config_file", launch.config, "--num_processes", str(launch.processes)]
    words += ["--mixed_precision", "no"]  # training.precision decides, whatever the config says
    config = read_config(Path(launch.config))
    if config["distributed_type"] == "MULTI_CPU":
        # By itself accelerate starts several processes on CPUs with MPI alone. As if there were
        # GPUs, torchrun does; where there are none, each then trains on the CPU.
        words.append("--multi_gpu")
    beside = deepspeed_file(launch, config)
    return words if beside is None else [*words, "--deepspeed_config_file", str(beside)]


def deepspeed_file(launch: Launch, config: dict[str, Any]) -> Path | None:
    """What DeepSpeed itself is told, a file named relative to the launch config."""
    name = (config.get("deepspeed_config") or {}).get("deepspeed_config_file")
    return None if name is None else Path(launch.config).parent / name


def run_launched(step: Step, run: RunDir, options: RunOptions, goal: str) -> None:
    """Does a step of a goal's plan in the processes of `options.launch`.

    Raises:
        EvalkitError: the step failed in one of them: that one's error, where it has one.
    """
    assert options.launch is not None
    if not runner.begin_step(step, run):
        return
    with tempfile.TemporaryDirectory() as told:
        task = children.task_of(step, run, options, goal, told)
        words = [*words_of(options.launch), "-m", children.__name__, task]
        done = subprocess.run(
            [sys.executable, "-m", __name__, *words],
            check=False, pass_fds=children.kept_descriptors(run), stdout=2,
        )  # fmt: skip
        if done.returncode:
            raise _what_ended(step, Path(told), done.returncode)


def _what_ended(step: Step, told: Path, code: int) -> BaseException:
    """What is to be raised where a launch ended with an exit code other than 0."""
    error = children.left_error(told)
    if error is not None:
        return error
    if code not in (KILLED, children.INTERRUPTED):  # there, others only missed the one that ended
        sys.stderr.write(children.left_traceback(told))
    return children.ending(step, code)


def main(words: list[str]) -> int:
    """The process between: `accelerate launch`, without a traceback of its own."""
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.disable(logging.CRITICAL)  # every process says itself what went wrong
    try:
        launch_command(launch_command_parser().parse_args(words))
    except ChildFailedError as error:
        ends = {failure.exitcode for failure in error.failures.values()}
        return KILLED if -signal.SIGKILL in ends else 1
    return 0


if __name__ == "__main__":
    children.end_with_parent()
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(children.INTERRUPTED)
