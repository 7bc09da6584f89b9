"""Plug-ins written from their pages alone, in a real run: by path, and by an installed name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import plugin_pages
import pytest
import yaml
from plugin_pages import KINDS, page

from evalkit.rundir import RunDir

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent
TRAINING = {"learning_rate": 1e-3, "batch_size": 2, "optimizer": "adamw_torch"}
SAMPLING = {"max_new_tokens": 12}


class Used:
    """A finished run in which every page's plug-in took part, and how they were named in it."""

    def __init__(self, folder: Path, by_path: bool, paths: str) -> None:
        self.folder, self.by_path = folder, by_path
        # No proxy, no home: what a test must not reach is still out of reach in the child.
        self.environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        self.run = RunDir(folder / "run")

    def evalkit(self, *words: str) -> str:
        """What a command prints, which must end well."""
        done = subprocess.run(
            [sys.executable, "-m", "evalkit.cli", *words], cwd=self.folder, env=self.environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def receipt(self, step: str) -> Any:
        """The receipt of a finished step."""
        found = self.run.receipt(step)
        assert found is not None, f"there is no step {step}"
        return found

    def lines(self, step: str, file: str) -> list[dict[str, Any]]:
        """A file of JSON lines of a step."""
        text = (self.run.folder(step) / file).read_text("utf-8")
        return [json.loads(line) for line in text.splitlines()]


def _recipe(by_path: bool) -> dict[str, Any]:
    """The parts of recipes that the pages show, put together."""
    part = {kind: page(role).recipe(by_path) for kind, role in KINDS.items() if kind != "importers"}
    method, judge, source = (part[kind]["stages"][0] for kind in ("methods", "judges", "sources"))
    stages = [
        method,
        {**judge, "prompts": method["prompts"], "sampling": SAMPLING},
        source,
    ]
    return {
        "name": "Own",
        **part["builders"],
        **part["engines"],
        "stages": [{**stage, "training": TRAINING} for stage in stages],
        **part["benchmarks"],
        **part["schemes"],
        "card": {"title": "Own", "license": "mit"},
    }


def _install(folder: Path) -> str:
    """Installs the pages' plug-ins as the page on packages shows; the folder to import from."""
    package = folder / "package"
    package.mkdir()
    project = tomllib.loads(plugin_pages.packaging())
    points = []
    for kind, role in KINDS.items():
        page(role).write(package)
        points.append(f'[project.entry-points."evalkit.{kind}"]\n{page(role).name} = '
                      f'"{page(role).name}:PLUGIN"\n')  # fmt: skip
    assert project["project"]["entry-points"] == {"evalkit.judges": {"shortest": "shortest:PLUGIN"}}
    shown = '[project.entry-points."evalkit.judges"]\nshortest = "shortest:PLUGIN"\n'
    text = plugin_pages.packaging()
    assert shown in text
    files = ", ".join(f'"{page(role).name}.py"' for role in KINDS.values())
    text = text.replace(shown, "\n".join(points)).replace('"shortest.py"', files)
    (package / "pyproject.toml").write_text(text)
    target = folder / "site"
    words = ["pip", "install", "-qq", "--no-deps", "--no-index", "--no-build-isolation",
             "--disable-pip-version-check", "--target", str(target), str(package)]  # fmt: skip
    subprocess.run([sys.executable, "-m", *words], check=True)
    return str(target)


@pytest.fixture(scope="module", params=["path", "name"])
def used(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path
) -> Used:
    """The run, with plug-ins outside the repository: named by path, or installed in a package."""
    folder = tmp_path_factory.mktemp(f"by-{request.param}")
    by_path = request.param == "path"
    made = Used(folder, by_path, str(ROOT) if by_path else f"{ROOT}:{_install(folder)}")
    for role in KINDS.values():
        if by_path:
            page(role).write(folder)
    (folder / "my-tokenizer").symlink_to(tiny_llama)
    pairs = [f"say word{i}\tword{i}\tno word{i} at all\n" for i in range(6)]
    (folder / "pairs.tsv").write_text("".join(pairs))
    (folder / "mine.yaml").write_text(yaml.safe_dump(_recipe(by_path), sort_keys=False))
    made.evalkit("card", "build", "mine.yaml", "--out", "run")
    return made


def test_the_builder_built_the_base(used: Used) -> None:
    config = json.loads((used.run.folder("base") / "checkpoint/config.json").read_text())
    assert config["hidden_size"] == 128
    assert used.receipt("base").result["description"]["how"] == "random weights"


def test_the_method_trained_on_the_pairs_of_the_source(used: Used) -> None:
    settings = used.receipt("hinge-train").settings["settings"]
    assert settings["method"]["options"] == {"beta": 0.5}
    metrics = used.lines("hinge-train", "metrics.jsonl")
    assert metrics and all("margin_nats" in line for line in metrics)
    groups = used.lines("hinge-responses", "groups.jsonl")
    assert [response["text"] for response in groups[0]["responses"]] == ["word0", "no word0 at all"]


def test_the_engine_answered_and_the_judge_compared(used: Used) -> None:
    groups = used.lines("iter1-judge", "groups.jsonl")
    for group in groups:
        assert len(group["responses"]) == 4
        for response in group["responses"]:
            ids = response["token_ids"]
            assert ids == group["prompt_token_ids"][: len(ids)]
    judged = used.receipt("iter1-judge").result
    assert judged["judge"] == {"name": "shortest", "scale": 0.5}
    assert judged["stats"]["order_flips"] in (0.0, None)


def test_the_source_is_part_of_what_decides(used: Used) -> None:
    result = used.receipt("dpo-responses").result
    assert result["source"]["name"] == "pairs"
    assert result["prompts"] == 6


def test_the_scheme_made_a_variant_that_was_measured(used: Used) -> None:
    variant = used.run.folder("dpo-half") / "checkpoint/config.json"
    assert json.loads(variant.read_text())["dtype"] == "bfloat16"
    result = json.loads((used.run.folder("eval-dpo-half-length") / "result.json").read_text())
    assert result["scores"][0]["n"] == 6


def test_the_card_tells_of_them(used: Used) -> None:
    cards = used.run.folder("cards")
    (card,) = [file.read_text("utf-8") for file in cards.glob("Own-*-BF16/README.md")]
    assert "16-bit (bfloat16)" in card
    assert "bf16" in card
    assert "random weights" in (cards / "Own-Base" / "README.md").read_text()


def test_what_they_are_is_part_of_the_fingerprint(used: Used) -> None:
    settings = used.receipt("iter1-judge").settings["settings"]["judge"]
    assert settings["name"] == "shortest"
    if used.by_path:
        assert len(settings["file"]) == 64
    else:
        assert settings["package"] == "my-evalkit-plugins 1.0"


def test_the_same_command_finds_nothing_to_do(used: Used) -> None:
    again = used.evalkit("card", "build", "mine.yaml", "--out", "run", "--dry-run")
    assert "to do" not in again


@pytest.mark.parametrize("kind", KINDS)
def test_an_installed_one_is_listed(used: Used, kind: str) -> None:
    listed = used.evalkit("list", kind)
    shown = page(KINDS[kind])
    if used.by_path:
        assert "my-evalkit-plugins" not in listed
    else:
        line = shown.code.splitlines()[0].strip('"')
        assert f"{shown.name:<18}{line} (of my-evalkit-plugins 1.0)" in listed


def test_the_importer_reads_for_a_card(used: Used) -> None:
    (used.folder / "scores.csv").write_text(
        "model,task,metric,percent,n\nme/model,arc,acc,61.5,200\n"
    )
    words = page("Importer").use.split()
    assert words.pop(0) == "evalkit"
    if not used.by_path:
        words = [word.replace("./score_table.py", "score_table") for word in words]
    used.evalkit(*words, "--out", "imported")
    assert "61.5" in (used.folder / "imported" / "README.md").read_text()
