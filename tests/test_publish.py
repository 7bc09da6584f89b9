"""Publishing: plan, push, read back, resume; against an embedded Hub over real HTTP."""

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub")
pytest.importorskip("starlette")

import hub_parts
from huggingface_hub import CommitOperationAdd, HfApi

from evalkit.errors import PublishError
from evalkit.hub.client import HubTarget, open_api, prepare_environment
from evalkit.hub.plan import plan_release
from evalkit.hub.publish import Options, check_rights, publish
from evalkit.hub.receipts import Receipts
from evalkit.hub.serve import Server, make_token, running
from evalkit.hub.store import holds
from evalkit.loading import file_digest
from evalkit.records import dumps

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO = "evalkit/tiny"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def api(server: Server) -> Iterator[HfApi]:
    with open_api(server.target()) as api:
        yield api


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return hub_parts.write_release(tmp_path / "release")


def heads(api: HfApi, repo_id: str = REPO) -> int:
    """How many commits the repository has, the automatic first one included."""
    return len(api.list_repo_commits(repo_id))


def test_a_family_is_published_once(api: HfApi, server: Server, tmp_path: Path) -> None:
    plans = [
        hub_parts.plan_of(
            hub_parts.write_release(tmp_path / name, name.encode()),
            f"evalkit/{name}",
            f"the {name}",
        )
        for name in ("base", "iter1")
    ]
    options = Options(collection="Tiny family")
    target, receipts = server.target(), tmp_path / "receipts"
    first = publish(plans, target, receipts=receipts, options=options)
    assert [heads(api, plan.repo_id) for plan in plans] == [2, 2]
    assert publish(plans, target, receipts=receipts, options=options) == first
    shutil.rmtree(receipts)  # even a lost journal sends nothing twice
    assert publish(plans, target, receipts=receipts, options=options) == first
    assert [heads(api, plan.repo_id) for plan in plans] == [2, 2]
    collection = next(iter(api.list_collections(owner="evalkit")))
    items = [(item.item_id, item.note) for item in api.get_collection(collection.slug).items]
    assert items == [("evalkit/base", "the base"), ("evalkit/iter1", "the iter1")]
    assert not api.model_info("evalkit/base").private
    assert not api.get_collection(collection.slug).private


def test_a_family_without_repositories_is_published_at_once(tmp_path: Path) -> None:
    nowhere = HubTarget("http://127.0.0.1:9", "hf_x")  # is not even asked
    for options in (Options(), Options(collection="Empty")):
        assert publish([], nowhere, receipts=tmp_path / "r", options=options) == []


def test_a_receipt_of_another_version_is_as_good_as_none(
    api: HfApi, server: Server, release: Path, tmp_path: Path
) -> None:
    plans, receipts = [hub_parts.plan_of(release)], tmp_path / "r"
    first = publish(plans, server.target(), receipts=receipts)
    file = receipts / "evalkit--tiny.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "unheard_of": 1}))
    assert publish(plans, server.target(), receipts=receipts) == first
    assert heads(api) == 2


def test_a_folder_holds_a_release_until_its_repository_changes(
    api: HfApi, server: Server, release: Path, tmp_path: Path
) -> None:
    root = tmp_path / "hub"
    [record] = publish([hub_parts.plan_of(release)], server.target(), receipts=tmp_path / "r")
    assert holds(root, record)
    assert not holds(root, dataclasses.replace(record, repo_id="evalkit/other"))
    assert not holds(root, dataclasses.replace(record, commit=""))
    edit = [CommitOperationAdd("NOTICE", b"more")]
    newer = api.create_commit(REPO, edit, commit_message="more").oid
    assert not holds(root, record)
    assert holds(root, dataclasses.replace(record, commit=newer))
    api.delete_repo(REPO)
    assert not holds(root, dataclasses.replace(record, commit=newer))
    assert not holds(tmp_path / "none", record)
    assert not (tmp_path / "none").exists()


def test_asking_a_folder_loads_nothing_heavy() -> None:
    code = (
        "import sys, evalkit.hub.store\n"
        "heavy = {'huggingface_hub', 'starlette', 'uvicorn', 'torch', 'transformers'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_records_do_not_know_the_run(release: Path, tmp_path: Path) -> None:
    lines = []
    for name in ("first", "second"):
        with running(tmp_path / name) as server:
            [record] = publish(
                [hub_parts.plan_of(release)],
                server.target(),
                receipts=tmp_path / f"{name}-receipts",
            )
        lines.append(dumps(dataclasses.replace(record, commit="")))
        assert str(tmp_path) not in lines[-1]
    assert lines[0] == lines[1]
    assert json.loads(lines[0])["endpoint"] == "local"


def test_private_stays_private(api: HfApi, server: Server, release: Path, tmp_path: Path) -> None:
    plans = [hub_parts.plan_of(release)]
    options = Options(collection="Hidden")
    publish(plans, server.target(private=True), receipts=tmp_path / "r", options=options)
    assert api.model_info(REPO).private
    assert next(iter(api.list_collections())).private
    publish(plans, server.target(), receipts=tmp_path / "r", options=options)
    assert not api.model_info(REPO).private
    with pytest.raises(PublishError, match="it is public"):
        publish(plans, server.target(private=True), receipts=tmp_path / "r")


def test_a_changed_release_is_one_more_commit_without_leftovers(
    api: HfApi, server: Server, release: Path, tmp_path: Path
) -> None:
    publish([hub_parts.plan_of(release)], server.target(), receipts=tmp_path / "r")
    (release / "model.safetensors").rename(release / "model-00001-of-00001.safetensors")
    (release / "README.md").write_text(hub_parts.CARD + "More.\n")
    publish([hub_parts.plan_of(release)], server.target(), receipts=tmp_path / "r")
    files = api.list_repo_files(REPO)
    assert "model-00001-of-00001.safetensors" in files
    assert "model.safetensors" not in files
    assert heads(api) == 3


def test_what_others_made_is_left_alone(
    api: HfApi, server: Server, release: Path, tmp_path: Path
) -> None:
    api.create_repo(REPO)
    theirs = [CommitOperationAdd("mine.txt", b"not yours")]
    api.create_commit(REPO, theirs, commit_message="by hand")
    plans = [hub_parts.plan_of(release)]
    with pytest.raises(PublishError, match="not made by evalkit") as caught:
        publish(plans, server.target(), receipts=tmp_path / "r")
    assert "--replace" in caught.value.hint
    assert heads(api) == 2
    publish(plans, server.target(), receipts=tmp_path / "r", options=Options(replace=True))
    assert "mine.txt" not in api.list_repo_files(REPO)


def test_an_edit_on_the_hub_is_not_overwritten(
    api: HfApi, server: Server, release: Path, tmp_path: Path
) -> None:
    publish([hub_parts.plan_of(release)], server.target(), receipts=tmp_path / "r")
    edit = [CommitOperationAdd("README.md", b"---\nlicense: mit\n---\nbetter words")]
    api.create_commit(REPO, edit, commit_message="typo")
    with pytest.raises(PublishError, match="not made by evalkit"):
        publish([hub_parts.plan_of(release)], server.target(), receipts=tmp_path / "r")


def test_rights_are_checked_before_anything_is_sent(
    api: HfApi, server: Server, release: Path, tmp_path: Path
) -> None:
    plans = [hub_parts.plan_of(release), hub_parts.plan_of(release, "meta/tiny")]
    with pytest.raises(PublishError, match="may not write under meta"):
        publish(plans, server.target(), receipts=tmp_path / "r")
    assert not list(api.list_models())
    with pytest.raises(PublishError, match="who the token belongs to"):
        publish(plans, HubTarget(server.endpoint, "hf_wrong"), receipts=tmp_path / "r")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closed = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(PublishError, match="cannot reach"):
        publish(plans, HubTarget(closed, "hf_x"), receipts=tmp_path / "r")


def test_rights_can_be_checked_before_there_is_anything_to_publish(
    api: HfApi, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_rights(server.target(), ["evalkit/one", "evalkit/two"])
    check_rights(server.target(), [])
    for names, complaint in (
        (["evalkit/one", "meta/one"], "may not write under meta"),
        (["evalkit/one", "evalkit/one"], "same repository name"),
        (["evalkit/" + "x" * 100], "108 characters"),
    ):
        with pytest.raises(PublishError, match=complaint):
            check_rights(server.target(), names)
    with pytest.raises(PublishError, match="who the token belongs to"):
        check_rights(HubTarget(server.endpoint, "hf_wrong"), ["evalkit/one"])
    assert not list(api.list_models())
    mine = api.whoami()  # as the public Hub answers for a token that was made for reading
    mine["auth"]["accessToken"]["role"] = "read"
    monkeypatch.setattr(HfApi, "whoami", lambda self: mine)
    with pytest.raises(PublishError, match="may only read"):
        check_rights(server.target(), ["evalkit/one"])


def test_a_lost_answer_is_not_sent_twice(release: Path, tmp_path: Path) -> None:
    faults = hub_parts.Faults(lambda line: "/commit/" in line and not faults.lost)
    with running(tmp_path / "hub", wrap=faults) as server, open_api(server.target()) as api:
        [record] = publish([hub_parts.plan_of(release)], server.target(), receipts=tmp_path / "r")
        assert len(faults.lost) == 1
        assert heads(api) == 2
        assert api.model_info(REPO).sha == record.commit


def test_a_commit_that_never_arrived_is_sent_again(release: Path, tmp_path: Path) -> None:
    failed: list[str] = []

    def wrap(app: Any) -> Any:
        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            if "/commit/" in scope["path"] and not failed:
                failed.append(scope["path"])
                await send({"type": "http.response.start", "status": 503, "headers": []})
                await send({"type": "http.response.body", "body": b""})
            else:
                await app(scope, receive, send)

        return wrapped

    with running(tmp_path / "hub", wrap=wrap) as server, open_api(server.target()) as api:
        publish([hub_parts.plan_of(release)], server.target(), receipts=tmp_path / "r")
        assert failed
        assert heads(api) == 2


def test_someone_else_in_between_is_noticed(release: Path, tmp_path: Path) -> None:
    """Another commit lands after the look and before ours: refused, and theirs stays."""
    done: list[str] = []

    def wrap(app: Any) -> Any:
        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            if "/preupload/" in scope["path"] and not done:
                done.append("")
                repository = app.state.hub.store.repository("model", REPO)
                entry = app.state.hub.store.put_regular(b"theirs")
                from evalkit.hub.repository import Change

                repository.commit(
                    "main", Change({"theirs.txt": entry}), title="t", message="", author="x"
                )
            await app(scope, receive, send)

        return wrapped

    with running(tmp_path / "hub", wrap=wrap) as server, open_api(server.target()) as api:
        with pytest.raises(PublishError, match="412") as caught:
            publish([hub_parts.plan_of(release)], server.target(), receipts=tmp_path / "r")
        assert "someone else" in caught.value.hint
        assert "theirs.txt" in api.list_repo_files(REPO)
        assert heads(api) == 2


KILL_AFTER_FIRST_PUT = """
import os, signal
done = []
def wrap(app):
    async def wrapped(scope, receive, send):
        put = scope.get("method") == "PUT"
        if put and done:
            await receive()
            os.kill(os.getpid(), signal.SIGKILL)
        await app(scope, receive, send)
        if put:
            done.append(scope["path"])
    return wrapped
"""


def test_a_server_killed_during_an_upload_shows_nothing_and_the_next_run_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = hub_parts.write_release(tmp_path / "release")
    (release / "model.safetensors").unlink()
    for number in (1, 2, 3):
        name = f"model-0000{number}-of-00003.safetensors"
        content = hub_parts.safetensors_bytes(bytes([number]) * 300_000)
        (release / name).write_bytes(content)
    plans, receipts, root = [hub_parts.plan_of(release)], tmp_path / "r", tmp_path / "hub"
    real_sleep = time.sleep
    monkeypatch.setattr(
        "huggingface_hub.utils._http.time.sleep", lambda seconds: real_sleep(min(seconds, 0.01))
    )
    process, endpoint, token = hub_parts.start_server(root, KILL_AFTER_FIRST_PUT)
    target = HubTarget(endpoint, token, recorded_as="local")
    with process, pytest.raises(PublishError, match=f"publishing {REPO}|what became of {REPO}"):
        publish(plans, target, receipts=receipts)
    assert process.wait(10) == -signal.SIGKILL
    receipt = Receipts(receipts).get(REPO, "local")
    assert receipt is not None
    assert (receipt.stage, receipt.made_here) == ("created", True)
    faults = hub_parts.Faults(lambda line: False)
    with running(root, wrap=faults) as server, open_api(server.target()) as api:
        assert api.list_repo_files(REPO) == [".gitattributes"]
        assert api.model_info(REPO).private
        assert not list((root / "incoming").iterdir())
        publish(plans, server.target(), receipts=receipts)
        sent_again = [line for line in faults.seen if line.startswith("PUT /lfs/")]
        assert 1 <= len(sent_again) < 3  # what had arrived whole is not sent again
        assert heads(api) == 2
        assert not api.model_info(REPO).private
        receipt = Receipts(receipts).get(REPO, "local")
        assert receipt is not None
        assert (receipt.stage, receipt.made_here) == ("public", True)


def test_a_file_that_changes_under_way_is_noticed(
    server: Server, api: HfApi, release: Path, tmp_path: Path
) -> None:
    plan = hub_parts.plan_of(release)
    content = hub_parts.safetensors_bytes(b"\1\2\3\5")  # one bit flipped since planning
    (release / "model.safetensors").write_bytes(content)
    with pytest.raises(PublishError, match=r"model\.safetensors is another"):
        publish([plan], server.target(), receipts=tmp_path / "r")
    assert api.model_info(REPO).private


@pytest.mark.slow
def test_a_published_checkpoint_loads_with_only_the_endpoint_set(
    server: Server, tiny_llama: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "llama"
    shutil.copytree(tiny_llama, folder)
    (folder / "README.md").write_text(hub_parts.CARD)
    publish([hub_parts.plan_of(folder)], server.target(), receipts=tmp_path / "r")
    code = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f"model = AutoModelForCausalLM.from_pretrained({REPO!r})\n"
        f"tokenizer = AutoTokenizer.from_pretrained({REPO!r})\n"
        "print(model(**tokenizer('sort the words', return_tensors='pt')).logits.shape[-1])"
    )
    said = with_only_the_endpoint_set(code, server, tmp_path)
    assert int(said) == json.loads((folder / "config.json").read_text())["vocab_size"]


@pytest.mark.slow
def test_a_published_dataset_loads_with_only_the_endpoint_set(
    server: Server, tmp_path: Path
) -> None:
    pytest.importorskip("datasets")
    folder = tmp_path / "pairs"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text("---\ntags: [preference]\n---\n# Pairs\n")
    rows = [{"chosen": [{"role": "assistant", "content": str(n)}]} for n in range(3)]
    (folder / "data" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = hub_parts.plan_of(folder, "evalkit/pairs", kind="dataset")
    publish([plan], server.target(), receipts=tmp_path / "r")
    code = (
        "from datasets import load_dataset\n"
        "rows = load_dataset('evalkit/pairs', split='train')\n"
        "print(len(rows), rows[2]['chosen'][0]['content'])"
    )
    assert with_only_the_endpoint_set(code, server, tmp_path).split() == ["3", "2"]


def with_only_the_endpoint_set(code: str, server: Server, folder: Path) -> str:
    """What a fresh Python prints that knows of the Hub by its address alone."""
    keep = ("PATH", "HOME", "LANG", "OMP_NUM_THREADS", "NO_PROXY", "no_proxy")
    environment = {name: os.environ[name] for name in keep if name in os.environ}
    environment |= {"HF_ENDPOINT": server.endpoint, "HF_HOME": str(folder / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_environment_is_prepared_before_and_after_import() -> None:
    """A child starts fresh: Xet is off whether huggingface_hub came first or last."""
    for first, second in (("prepare", "load"), ("load", "prepare")):
        code = (
            "import sys\n"
            "from evalkit.hub.client import prepare_environment\n"
            "def prepare(): prepare_environment('http://127.0.0.1:9')\n"
            "def load(): import huggingface_hub\n"
            f"{first}(); {second}()\n"
            "from huggingface_hub.utils._runtime import is_xet_available\n"
            "import os\n"
            "print(is_xet_available(), os.environ['HF_HUB_DISABLE_XET'])"
        )
        environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_DISABLE_XET"}
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        assert done.stdout.split() == ["False", "1"]


def test_offline_mode_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PublishError, match="offline mode"):
        prepare_environment("http://127.0.0.1:9")


def test_tokens_are_never_shown(server: Server, tmp_path: Path) -> None:
    assert server.token == make_token(tmp_path / "hub")
    assert server.token not in f"{server!r} {server.target()!r}"


def test_plans_list_every_file(release: Path) -> None:
    plan = plan_release(release, REPO, checkpoint="tiny")
    paths = [file.path for file in plan.files]
    assert paths == ["README.md", "config.json", "eval/results.json", "model.safetensors"]
    assert plan.digests() == {path: file_digest(release / path) for path in paths}
