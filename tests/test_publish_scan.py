"""What must never leave the machine is found before anything is sent."""

import json
import os
from pathlib import Path

import hub_parts
import pytest

from evalkit.checkpoint_files import COMPANIONS
from evalkit.errors import PublishError
from evalkit.hub import scan
from evalkit.hub.plan import name_problems, plan_release, release_problems

REPO = "evalkit/tiny"
# put together here, so that no scanner takes this file for a leak
SECRETS = {
    "Hugging Face": "hf_" + "aB3" * 12,
    "OpenAI": "sk-" + "a1B2" * 12,
    "Anthropic": "sk-ant-" + "a1-B2_" * 6,
    "AWS access": "AKIA" + "ABCDEFGH12345678",
    "AWS secret": "aws_secret_access_key = " + "a1/B" * 10,
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "GitHub": "ghp_" + "a1B2" * 9,
}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return hub_parts.write_release(tmp_path / "release")


def problems(folder: Path) -> list[str]:
    return [f"{p.where}: {p.message}" for p in release_problems(folder, REPO)]


def test_a_good_folder_has_no_problems(release: Path) -> None:
    assert problems(release) == []


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
@pytest.mark.parametrize(
    "path", ["README.md", "config.json", "tokenizer.json", "eval/log.txt", "recipe.yaml"]
)
def test_secrets_are_found_in_every_kind_of_file(release: Path, path: str, secret: str) -> None:
    file = release / path
    old = file.read_text() if file.exists() else ""
    if path.endswith(".json"):
        file.write_text(json.dumps({**json.loads(old or "{}"), "x": secret}))
    else:
        file.write_text(f"{old}a line\nthe key: {secret}\n")
    found = problems(release)
    assert len(found) == 1, found
    assert "holds what looks like" in found[0]
    assert secret not in found[0]
    with pytest.raises(PublishError, match="must not be published"):
        plan_release(release, REPO, checkpoint="tiny")


def test_secrets_are_found_in_the_head_of_weights(release: Path) -> None:
    header = json.dumps({"__metadata__": {"note": SECRETS["Hugging Face"]}}).encode()
    file = release / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    assert "Hugging Face token" in problems(release)[0]


def test_paths_are_found_in_the_head_of_weights(release: Path) -> None:
    header = json.dumps({"__metadata__": {"saved_by": "/home/alice/train.py"}}).encode()
    (release / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert "path of this machine" in problems(release)[0]


def test_names_are_found_in_the_head_of_weights(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "_own_names", lambda: frozenset({"alicia"}))
    header = json.dumps({"__metadata__": {"saved_by": "alicia"}}).encode()
    (release / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert "user or host" in problems(release)[0]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("config.json", '{"trained_by": "alicia"}'),
        ("config.json", '{"cache": "/scratch/alicia/cache"}'),
        ("eval/log.txt", "job of alicia@node17 ended\n"),
        ("eval/samples.jsonl", '{"who": "gpu-box-17"}\n'),
    ],
)
def test_names_of_this_machines_user_and_host_are_found(
    release: Path, path: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "_own_names", lambda: frozenset({"alicia", "gpu-box-17"}))
    (release / path).write_text(text)
    found = [line for line in problems(release) if "user or host" in line]
    assert len(found) == 1, found
    told = release_problems(release, "alicia/tiny")  # under one's own name it is no secret
    assert bool(told) == ("gpu-box" in text or "/scratch" in text), told


def test_names_that_every_machine_has_are_words_like_others(
    release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan._own_names.cache_clear()
    monkeypatch.setattr("getpass.getuser", lambda: "root")
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    assert scan._own_names() == frozenset()
    scan._own_names.cache_clear()


@pytest.mark.parametrize(
    "secret",
    [
        "WANDB_API_KEY=" + "0123456789abcdef" * 2 + "01234567",
        "gsk_" + "a1B2" * 13,
        "nvapi-" + "a1B2-" * 10,
        "r8_" + "a1B2" * 10,
        "Authorization: Bearer " + "a1B2" * 8,
    ],
)
def test_secrets_of_other_services_are_found(release: Path, secret: str) -> None:
    (release / "eval" / "log.txt").write_text(f"{secret}\n")
    [found] = problems(release)
    assert "holds what looks like" in found
    assert secret not in found


def test_a_secret_is_not_quoted_by_what_parsers_say(release: Path) -> None:
    secret = SECRETS["Hugging Face"]
    (release / "recipe.yaml").write_text(f"a: [{secret}\n")
    (release / "README.md").write_text(f"---\na: [{secret}\n---\n# x\n")
    assert len(problems(release)) == 2
    assert secret not in "".join(problems(release))


def test_words_that_only_look_alike_pass(release: Path) -> None:
    text = "a task-oriented risk-averse sk-learn desk-" + "a" * 40 + " hf_transfer AKIA short\n"
    text += "see https://example.com/home/alice/page and a/tmp/b and /homework\n"
    (release / "README.md").write_text(hub_parts.CARD + text)
    assert problems(release) == []


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "optimizer.pt", "rng_state.pth", "training_args.bin", "x.pkl", ".env"],
)
def test_pickles_and_training_state_are_refused(release: Path, name: str) -> None:
    (release / name).write_bytes(b"\x80\x04")
    assert [line.partition(":")[0] for line in problems(release)] == [name]


def test_files_that_no_release_holds_are_refused(release: Path) -> None:
    for name in ("notes.docx", "deep/config.json", "eval/run.sh"):
        (release / name).parent.mkdir(exist_ok=True)
        (release / name).write_text("x")
    assert len(problems(release)) == 3


def test_links_out_of_the_folder_are_refused(release: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.json").write_text("{}")
    os.symlink(tmp_path / "outside.json", release / "generation_config.json")
    os.symlink(tmp_path, release / "figures")
    found = problems(release)
    assert [line.partition(":")[0] for line in found] == ["figures", "generation_config.json"]


def test_a_link_within_the_folder_is_a_file(release: Path) -> None:
    os.symlink("config.json", release / "generation_config.json")
    assert problems(release) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("README.md", hub_parts.CARD + "load it from /home/alice/models/x\n"),
        ("README.md", hub_parts.CARD + "see /Users/alice.b/x\n"),
        ("config.json", '{"_name_or_path": "/data/runs/model"}'),
        ("recipe.yaml", "path: /tmp/run1\n"),
        ("eval/log.txt", f"wrote {Path.cwd()}/out\n"),
    ],
)
def test_paths_of_this_machine_are_refused(release: Path, path: str, text: str) -> None:
    (release / path).write_text(text)
    found = problems(release)
    assert len(found) == 1, found
    assert "path of this machine" in found[0]


def test_benchmark_texts_may_speak_of_homes(release: Path) -> None:
    (release / "eval" / "samples.jsonl").write_text('{"prompt": "list /home/user please"}\n')
    assert problems(release) == []


@pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors"])
def test_what_every_release_needs(release: Path, name: str) -> None:
    (release / name).unlink()
    assert len(problems(release)) == 1


def test_missing_shards_and_cut_weights(release: Path) -> None:
    index = {"weight_map": {"w": "model-00001-of-00002.safetensors", "v": "model.safetensors"}}
    (release / "model.safetensors.index.json").write_text(json.dumps(index))
    weights = (release / "model.safetensors").read_bytes()
    (release / "model.safetensors").write_bytes(weights[:-1])
    found = problems(release)
    assert "cut off" in found[0]
    assert found[1].startswith("model-00001-of-00002.safetensors: is missing")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("eval/results.json", '{"a": [1, {"b": NaN}]}'),
        ("eval/samples.jsonl", '{"a": 1}\n{"a": -Infinity}\n'),
        ("lineage.json", '{"a": Infinity}'),
        (".eval_results/gsm8k.yaml", "- value: .nan\n"),
        ("README.md", hub_parts.CARD.replace("license: mit", "license: mit\nscore: .inf")),
    ],
)
def test_numbers_that_are_none(release: Path, path: str, text: str) -> None:
    (release / path).parent.mkdir(exist_ok=True)
    (release / path).write_text(text)
    [found] = problems(release)
    assert "not finite" in found or "no number" in found


def test_words_and_configurations_may_hold_what_scores_may_not(release: Path) -> None:
    text = '{"prompt": "is NaN a number? {\\"a\\": NaN}", "answer": "Infinity"}\n'
    (release / "eval" / "samples.jsonl").write_text(text)
    (release / "config.json").write_text('{"model_type": "mamba2", "limit": [0.0, Infinity]}')
    assert problems(release) == []


@pytest.mark.parametrize("text", ["no block", "---\na: [\n---\n", "---\nlicense: 3\n---\n"])
def test_cards_without_metadata(release: Path, text: str) -> None:
    (release / "README.md").write_text(text)
    assert len(problems(release)) == 1


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("tiny", "no repository name"),
        ("a/b/c", "no repository name"),
        ("a/", "no repository name"),
        ("a b/c", "letters, digits"),
        ("a/é", "letters, digits"),
        ("-a/c", "begin or end"),
        ("a/c.", "begin or end"),
        ("a/b--c", "must not have --"),
        ("a/b..c", "must not have .."),
        ("a/b.git", "must not have .git"),
        ("a/" + "b" * 95, "has 97 characters"),
    ],
)
def test_names_that_no_hub_takes(release: Path, name: str, complaint: str) -> None:
    [problem] = name_problems(name)
    assert complaint in problem.message
    assert problem.hint
    assert release_problems(release, name) == [problem]


def test_names_that_hubs_take() -> None:
    validators = pytest.importorskip("huggingface_hub.utils")
    for name in ("a/b", "My-Org/Model_1.5-SPPO", "_a/b_", "a/" + "b" * 94):
        assert name_problems(name) == []
        validators.validate_repo_id(name)


def test_every_file_that_a_variant_carries_over_may_be_published(release: Path) -> None:
    for pattern in COMPANIONS:
        name = pattern.replace("*.model", "spiece.model").replace("*.", "qwen.").replace("*", "")
        file = release / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("{}")
    assert (release / "additional_chat_templates" / "qwen.jinja").is_file()
    assert problems(release) == []


def test_vocabularies_may_tell_where_others_trained_them(release: Path) -> None:
    """A sentencepiece file holds the path of its training text; ours it must not hold."""
    for name in ("spiece.model", "tokenizer.model.v3"):
        (release / name).write_bytes(b"\x0a\x20/mnt/texts/all.txt\x10")
    assert problems(release) == []
    (release / "spiece.model").write_bytes(b"\x0a\x20" + str(Path.cwd()).encode() + b"/all.txt")
    assert "path of this machine" in problems(release)[0]


def test_everything_is_named_at_once(release: Path) -> None:
    (release / "optimizer.pt").write_bytes(b"x")
    (release / "config.json").unlink()
    with pytest.raises(PublishError) as caught:
        plan_release(release, REPO, checkpoint="tiny")
    assert [p.where for p in caught.value.problems] == ["optimizer.pt", "config.json"]
