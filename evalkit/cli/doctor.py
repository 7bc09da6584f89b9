"""`evalkit doctor`: what this machine can run, what is missing, and what to install."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from evalkit import __version__
from evalkit.cli.app import FILE, cli, echo_json
from evalkit.cli.options import Command, json_flag, option


@cli.command(cls=Command)
@option("--recipe", type=FILE, help="Also: has this machine what this recipe needs?")
@json_flag
def doctor(recipe: Path | None, as_json: bool) -> int:
    """Tell what this machine can run, what is missing, and what to install.

    Exit code 1 if evalkit itself is broken here, or the recipe's needs are not met.
    """
    from evalkit.pipeline.extras import describe_extras
    from evalkit.pipeline.machine import describe_machine

    found: dict[str, Any] = {
        "evalkit": __version__, "machine": describe_machine(Path()), **describe_extras()
    }  # fmt: skip
    if recipe is not None:
        found["recipe"] = _needs(recipe)
    if as_json:
        echo_json(found)
    else:
        _print_machine(found["machine"])
        _print_abilities(found)
        _print_recipe(found.get("recipe"))
    sound = found["abilities"]["cards and leaderboards"]["possible"]
    return int(not sound or bool(found.get("recipe", {}).get("lacking")))


def _needs(recipe: Path) -> dict[str, Any]:
    """What this machine lacks for a recipe, and the disk that its checkpoints take at least."""
    from evalkit.pipeline import preflight
    from evalkit.pipeline.sizes import checkpoints_bytes
    from evalkit.recipe_file import read_recipe

    file = read_recipe(recipe)
    lacking = preflight.check(file, "train-and-publish", only_plan=True)
    return {
        "file": str(recipe),
        "lacking": [problem._asdict() for problem in lacking],
        "disk_bytes": checkpoints_bytes(file.recipe),
    }


def _print_machine(machine: dict[str, Any]) -> None:
    rows = [
        ("evalkit", f"{__version__}, Python {machine['python']}, {machine['platform']}"),
        ("cores", str(machine["cores"])),
        ("memory", f"{_gb(machine['memory_bytes'])},"
                   f" {_gb(machine['memory_available_bytes'])} available"),
        ("disk here", f"{_gb(machine['disk_free_bytes'])} free"),
        *(("GPU", f"{gpu['name']}, {_gb(gpu['memory_bytes'])}, {_gb(gpu['free_bytes'])} free,"
                  f" driver {gpu['driver']}") for gpu in machine["gpus"]),
        *([] if machine["gpus"] else [("GPU", "none that nvidia-smi knows of")]),
        ("holds about", f"a model of {_billions(machine['parameters_loadable'])} parameters to"
                        f" evaluate, {_billions(machine['parameters_trainable'])} to train"
                        " (2 and 16 bytes each)"),
        ("secrets set", ", ".join(machine["secrets"]) or "none"),
        ("Hub", (machine["hub_endpoint"] or "https://huggingface.co")
                + (" (offline)" if machine["hub_offline"] else "")),
        ("vLLM", machine["vllm"] or "not found here, in .venv-vllm, or on the path"),
        ("port 8000", "free" if machine["port_8000_free"] else "in use: hub serve needs --port"),
    ]  # fmt: skip
    for name, value in rows:
        click.echo(f"{name:<13}{value}")


def _print_abilities(found: dict[str, Any]) -> None:
    where = "GPU" if found["machine"]["gpus"] and not _cpu_torch(found) else "CPU"
    click.echo()
    for name, ability in found["abilities"].items():
        on = f" ({where})" if name in ("train", "evaluate", "quantize") else ""
        if ability["possible"]:
            click.echo(f"{name + ':':<25}yes{on}")
        else:
            click.echo(f"{name + ':':<25}no: {ability['install']}")
            click.echo(f"{'':<25}    lacking: {', '.join(ability['lacking'])}")
    if found["machine"]["gpus"] and _cpu_torch(found):
        click.echo("torch is built for the CPU here and will not use the GPU:"
                   " pip install --force-reinstall torch")  # fmt: skip


def _cpu_torch(found: dict[str, Any]) -> bool:
    packages = {one["package"]: one["installed"] for one in found["extras"].get("train", [])}
    return str(packages.get("torch") or "").endswith("+cpu")


def _print_recipe(needs: dict[str, Any] | None) -> None:
    if needs is None:
        return
    click.echo()
    if needs["disk_bytes"]:
        click.echo(f"{needs['file']}: its checkpoints take at least {_gb(needs['disk_bytes'])}")
    for problem in needs["lacking"]:
        click.echo(f"{problem['where']}: {problem['message']}")
        if problem["hint"]:
            click.echo(f"  hint: {problem['hint']}")
    if not needs["lacking"]:
        click.echo(f"{needs['file']}: this machine has what it needs")


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _billions(count: int) -> str:
    return f"{count / 1e9:.1f} B"
