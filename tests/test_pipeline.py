"""The whole road on the pocket world: what it leaves behind is true and loads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from evalkit import frontmatter
from evalkit.family import Family, Member
from evalkit.hub.serve import running
from evalkit.pipeline.carding import read_family
from evalkit.pipeline.groups import read_groups
from evalkit.rundir import RunDir
from evalkit.tables import family_table

MEMBERS = ("Base", "Iter1", "Iter2", "Iter2-W4A16", "Iter2-FP8-Dynamic")
REPOSITORIES = [f"micro/Micro-SPPO-{name}" for name in MEMBERS]
LOAD = """
import sys
from transformers import AutoModelForCausalLM, AutoTokenizer
for name in sys.argv[1:]:
    model = AutoModelForCausalLM.from_pretrained(name)
    tokenizer = AutoTokenizer.from_pretrained(name)
    chat = [{"role": "user", "content": "Copy: red blue"}]
    ids = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    assert model.generate(**ids, max_new_tokens=4).shape[1] > ids["input_ids"].shape[1]
    print(name)
"""


@pytest.fixture(scope="module")
def family(micro_run: Path) -> Family:
    return read_family(micro_run / "run" / "steps" / "cards")


def _card(micro_run: Path, title: str) -> str:
    return (micro_run / "run" / "steps" / "cards" / title / "README.md").read_text()


@pytest.mark.slow
def test_every_published_checkpoint_loads_with_only_the_endpoint_set(
    micro_run: Path, tmp_path: Path
) -> None:
    with running(micro_run / "hub") as server:
        hidden = {"HF_TOKEN", "HF_HUB_DISABLE_XET", "HF_HUB_OFFLINE"}
        clean = {key: value for key, value in os.environ.items() if key not in hidden}
        done = subprocess.run(
            [sys.executable, "-c", LOAD, *REPOSITORIES],
            env={**clean, "HF_ENDPOINT": server.endpoint, "HF_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stdout.split() == REPOSITORIES, done.stderr


@pytest.mark.slow
def test_what_is_published_is_what_was_made(micro_run: Path, tmp_path: Path) -> None:
    from huggingface_hub import HfApi

    releases = json.loads((micro_run / "run/steps/publish/releases.json").read_text())
    assert [release["repo_id"] for release in releases] == REPOSITORIES
    with running(micro_run / "hub") as server:
        api = HfApi(endpoint=server.endpoint)
        (collection,) = api.list_collections(owner="micro")
        items = api.get_collection(collection.slug).items
        assert [item.item_id for item in items] == REPOSITORIES
        for release in releases:
            assert api.model_info(release["repo_id"]).sha == release["commit"]
            assert not api.model_info(release["repo_id"]).private
            files = set(api.list_repo_files(release["repo_id"])) - {".gitattributes"}
            assert files == set(release["files"])
            assert {"README.md", "model.safetensors", "eval/mt_bench/result.json"} <= files


def _measured(micro_run: Path, member: Member) -> dict[tuple[str, str], float]:
    """(task, metric) -> value of all of a member's records, read from their files."""
    found = {}
    for results in member.results:
        step = f"eval-{member.checkpoint.name}-{results.benchmark}"
        records = json.loads((micro_run / "run" / "steps" / step / "result.json").read_text())
        found |= {(score["task"], score["metric"]): score["value"] for score in records["scores"]}
    return found


@pytest.mark.slow
def test_card_numbers_equal_the_records(micro_run: Path, family: Family) -> None:
    for member in family.members:
        metadata = frontmatter.parse(_card(micro_run, member.title)).metadata
        claimed = {
            (result["dataset"]["type"], metric["type"]): metric["value"]
            for result in metadata["model-index"][0]["results"]
            for metric in result["metrics"]
        }
        measured = _measured(micro_run, member)
        assert claimed.keys() == measured.keys()
        for key, value in claimed.items():
            assert value == pytest.approx(measured[key], abs=0.006), key


@pytest.mark.slow
def test_the_family_table_stands_on_every_card_with_its_own_row_bold(
    micro_run: Path, family: Family
) -> None:
    table = family_table(family)
    for member in family.members:
        card = _card(micro_run, member.title)
        for row in table.rows:
            assert row[1] in card
        bold = [line for line in card.splitlines() if line.startswith("| **")]
        assert any(member.title in line for line in bold)


@pytest.mark.slow
def test_lineage_is_written_on_the_cards(micro_run: Path) -> None:
    older = frontmatter.parse(_card(micro_run, "Micro-SPPO-Iter1")).metadata
    assert older["new_version"] == "micro/Micro-SPPO-Iter2"
    assert older["base_model"] == "micro/Micro-SPPO-Base"
    assert older["base_model_relation"] == "finetune"
    variant = frontmatter.parse(_card(micro_run, "Micro-SPPO-Iter2-W4A16")).metadata
    assert variant["base_model"] == "micro/Micro-SPPO-Iter2"
    assert variant["base_model_relation"] == "quantized"
    assert variant["quantized_by"] == "evalkit"


@pytest.mark.slow
def test_no_step_leaves_a_trace_of_this_machine(micro_run: Path) -> None:
    for file in (micro_run / "run" / "steps").rglob("*"):
        if file.suffix in (".json", ".jsonl", ".md", ".yaml", ".csv"):
            assert str(micro_run) not in file.read_text("utf-8"), file


@pytest.mark.parametrize("name", ["Iter1", "Iter2"])
def test_what_judging_found_and_dropped_stands_in_receipt_and_card(
    micro_run: Path, name: str
) -> None:
    run, step = RunDir(micro_run / "run"), name.lower()
    judged, trained = run.receipt(f"{step}-judge"), run.receipt(f"{step}-train")
    assert judged is not None
    assert trained is not None
    stats, dropped = judged.result["stats"], trained.result["dropped"]
    assert trained.result["judging"] == stats
    assert trained.result["examples"] + sum(dropped.values()) == _judged_prompts(run, step)
    card = _card(micro_run, f"Micro-SPPO-{name}")
    line = next(line for line in card.splitlines() if line.startswith("- dropped: "))
    for reason, count in dropped.items():
        assert f"{reason.replace('_', ' ')} {count}" in line
    assert dropped
    assert "- judging, logit gained by being shown first (mean): 0" in card
    assert f"- judging, duplicate responses: {stats['duplicate_responses']}" in card


def _judged_prompts(run: RunDir, step: str) -> int:
    return len(read_groups(run.folder(f"{step}-judge")))
