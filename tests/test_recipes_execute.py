"""Every shipped recipe, executed to its last step on a tiny model of its base's architecture."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from judge_server import served
from pair_rm_parts import write_blender
from recipe_bases import BASES, WINDOW
from recipe_worlds import BASE_OF, RECIPES, evalkit, make_world, sizeless

from evalkit.records import PromptGroup, from_json
from evalkit.rendering import plain_template
from evalkit.rundir import RunDir

for package in ("torch", "transformers", "lm_eval", "alpaca_eval", "llmcompressor"):
    pytest.importorskip(package)

# huggingface_hub uploads in a way that httpx deprecates, which then blames whoever is above both.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]

# Checkpoints that training makes, in order; each comes from the one before.
TRAINED = {
    "gemma-2-9b-sppo": ["iter1", "iter2", "iter3"],
    "llama-3-8b-sppo": ["iter1", "iter2", "iter3"],
    "mistral-7b-sppo": ["iter1", "iter2", "iter3"],
    "phi-2-spin": ["iter1"],
    "phi-2-spin-sft-spin": ["iter1", "sft", "iter2"],
    "smollm2-135m-sppo": ["iter1", "iter2"],
    "zephyr-7b-spin": ["iter1", "iter2", "iter3", "iter4"],
}
VARIANTS = ["w4a16_gptq", "fp8_dynamic"]
SPPO = [name for name in TRAINED if name.endswith("sppo")]


class Executed(NamedTuple):
    """A recipe that ran: its own words, and where its run and its Hub lie."""

    name: str
    plan: dict[str, Any]
    run: RunDir
    hub: Path

    def result(self, step: str) -> Any:
        """What a step's receipt holds."""
        receipt = self.run.receipt(step)
        assert receipt is not None, f"{step} is not finished"
        return receipt.result

    def groups(self, checkpoint: str) -> list[PromptGroup]:
        """Prompts and responses that a checkpoint was trained on."""
        lines = (self.run.folder(f"{checkpoint}-responses") / "groups.jsonl").read_text("utf-8")
        return [from_json(PromptGroup, json.loads(line)) for line in lines.splitlines()]

    def training(self, checkpoint: str) -> Any:
        """What the family's cards tell of a checkpoint's training."""
        family = json.loads((self.run.folder("cards") / "family.json").read_text("utf-8"))
        (member,) = (m for m in family["members"] if m["checkpoint"]["name"] == checkpoint)
        return member["training"]

    def stages(self) -> list[dict[str, Any]]:
        """The recipe's stages as written, one for each iteration with what differs there."""
        return [
            {**stage, **{key: {**stage[key], **value} for key, value in changes.items()}}
            for stage in self.plan["stages"]
            for changes in stage.get("per_iteration", [{}] * stage.get("iterations", 1))
        ]

    def learning_rates(self, checkpoint: str) -> list[float]:
        """Of each training step."""
        lines = (self.run.folder(f"{checkpoint}-train") / "metrics.jsonl").read_text("utf-8")
        return [json.loads(line)["learning_rate"] for line in lines.splitlines()]


@pytest.fixture(scope="module", params=sorted(BASE_OF))
def executed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Executed:
    """One recipe after another, run by the real command."""
    name: str = request.param
    folder = tmp_path_factory.mktemp(name)
    run, hub = folder / "run", folder / "hub"
    with served() as judge:
        world = make_world(name, folder, write_blender(folder / "pair_rm"), judge.url)
        words = ["train-and-publish", str(RECIPES / f"{name}.yaml"), *world.flags()]
        assert evalkit(*words, "--out", str(run), "--hub-root", str(hub)) == 0
    plan = yaml.safe_load((RECIPES / f"{name}.yaml").read_text("utf-8"))
    plan["name"] = sizeless(plan["name"])
    return Executed(name, plan, RunDir(run), hub)


def test_every_step_is_done(executed: Executed) -> None:
    steps = [row["step"] for row in json.loads((executed.run.path / "plan.json").read_text())]
    assert all(executed.run.receipt(step) for step in steps)
    trained = TRAINED[executed.name]
    checkpoints = ["base", *trained, *(f"{trained[-1]}-{variant}" for variant in VARIANTS)]
    suites = [benchmark["name"] for benchmark in executed.plan["evaluation"]["benchmarks"]]
    assert len(suites) == (2 if executed.name == "smollm2-135m-sppo" else 3)
    measured = {f"eval-{checkpoint}-{suite}" for checkpoint in checkpoints for suite in suites}
    assert measured == {step for step in steps if step.startswith("eval-")}


def test_each_checkpoint_comes_from_the_one_before_and_differs(executed: Executed) -> None:
    names = TRAINED[executed.name]
    parents = [executed.result(f"{name}-train")["parent"] for name in names]
    assert parents == ["base", *names[:-1]]
    digests = [executed.result("base")["digest"]]
    digests += [executed.result(f"{name}-train")["digest"] for name in names]
    assert len(set(digests)) == len(digests)


def test_cards_and_repositories(executed: Executed) -> None:
    names = TRAINED[executed.name]
    releases = json.loads((executed.run.folder("publish") / "releases.json").read_text())
    titles = [release["repo_id"].removeprefix("your-name/") for release in releases]
    assert len(titles) == len(names) + len(VARIANTS)
    assert all(title.startswith(executed.plan["name"]) for title in titles)
    cards = executed.run.folder("cards").glob("*/README.md")
    assert sorted(card.parent.name for card in cards) == sorted(titles)


def test_every_published_checkpoint_loads_and_generates(executed: Executed, tmp_path: Path) -> None:
    from huggingface_hub import snapshot_download
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from evalkit.hub.serve import running

    releases = json.loads((executed.run.folder("publish") / "releases.json").read_text())
    with running(executed.hub, orgs=["your-name"]) as hub:
        for release in releases:
            folder = tmp_path / release["repo_id"]
            where = {"endpoint": hub.endpoint, "token": hub.token, "revision": release["commit"]}
            snapshot_download(release["repo_id"], local_dir=folder, **where)
            tokenizer = AutoTokenizer.from_pretrained(folder)
            own = BASES[BASE_OF[executed.name]].template  # without one, that which it learned with
            assert tokenizer.chat_template == (own or plain_template(tokenizer))
            model = AutoModelForCausalLM.from_pretrained(folder)
            ids = tokenizer("Say why.", return_tensors="pt")
            made = model.generate(**ids, max_new_tokens=3, min_new_tokens=3, do_sample=False)
            assert made.shape[1] == ids["input_ids"].shape[1] + 3


def test_prompts_of_sppo_s_iterations_are_disjoint_and_spin_s_the_same(executed: Executed) -> None:
    asked = [
        {group.prompt.messages for group in executed.groups(name)}
        for name in TRAINED[executed.name]
    ]
    assert all(len(prompts) == 4 for prompts in asked)
    if executed.name in SPPO:
        assert len(set.union(*asked)) == 4 * len(asked)
    else:
        assert len(set.union(*asked)) == 4


def test_methods_ran_with_the_recipe_s_own_settings(executed: Executed) -> None:
    for name, stage in zip(TRAINED[executed.name], executed.stages(), strict=True):
        told = executed.training(name)
        method = stage["method"] if isinstance(stage["method"], dict) else {"name": stage["method"]}
        assert told["method"] == method["name"]
        assert method.items() <= {"name": told["method"], **told["options"]}.items()
        kept = stage["training"].keys() - {"batch_size", "micro_batch_size", "log_steps"}
        assert {key: told["settings"][key] for key in kept} == {
            key: stage["training"][key] for key in kept
        }
        assert 0 < max(executed.learning_rates(name)) <= stage["training"]["learning_rate"]
        if "judge" in stage:
            assert told["judge"]["name"] == "pair_rm"
            assert all(len(group.responses) == 5 for group in executed.groups(name))


def test_pairs_of_the_previous_iteration_are_kept_where_spin_goes_on(executed: Executed) -> None:
    told = [executed.training(name) for name in TRAINED[executed.name]]
    pairs = [one["examples"] + sum(one["dropped"].values()) for one in told]
    goes_on = executed.name == "zephyr-7b-spin"
    assert pairs == [4] + [8 if goes_on else 4] * (len(told) - 1)
    mix = executed.result(f"{TRAINED[executed.name][-1]}-train")["trained_on"]
    assert [part["iteration"] for part in mix] == TRAINED[executed.name][-2 if goes_on else -1 :]


def test_awkward_conversations_and_windows_were_met(executed: Executed) -> None:
    """What makes each base worth a recipe of its own was in the data."""
    groups = executed.groups("iter1")
    roles = {tuple(message.role for message in group.prompt.messages) for group in groups}
    expected = {
        "gemma-2-9b-sppo": {("system", "user")},
        "zephyr-7b-spin": {("user", "assistant", "user")},
    }
    assert roles == expected.get(executed.name, {("user",)})
    if "sliding_window" in BASES[BASE_OF[executed.name]].config:
        assert all(len(group.prompt_token_ids) > WINDOW for group in groups)
