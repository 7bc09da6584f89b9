"""The embedded Hub, driven over real HTTP by an unmodified huggingface_hub."""

import concurrent.futures
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")
pytest.importorskip("starlette")

import httpx
import hub_parts
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    ModelCard,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from evalkit.errors import PrerequisiteError
from evalkit.hub.client import open_api
from evalkit.hub.serve import Server, make_token, running

# huggingface_hub 1.33 uploads in a way that httpx calls old
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO = "evalkit/one"
WEIGHTS = hub_parts.safetensors_bytes(bytes(range(256)) * 40)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def api(server: Server) -> Iterator[HfApi]:
    with open_api(server.target()) as api:
        yield api


@pytest.fixture
def repo(api: HfApi) -> str:
    """A public repository with a card, weights and a nested file; its commit id."""
    api.create_repo(REPO, private=False)
    operations = [
        CommitOperationAdd("README.md", hub_parts.CARD.encode()),
        CommitOperationAdd("model.safetensors", WEIGHTS),
        CommitOperationAdd("eval/deep/results.json", b"{}"),
    ]
    return str(api.create_commit(REPO, operations, commit_message="first").oid)


def test_what_is_committed_comes_back(api: HfApi, repo: str, tmp_path: Path) -> None:
    folder = Path(snapshot_download(REPO, endpoint=api.endpoint, local_dir=tmp_path / "copy"))
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert ModelCard.load(folder / "README.md").data.license == "mit"
    info = api.model_info(REPO, files_metadata=True)
    assert (info.sha, info.private, info.library_name) == (repo, False, "transformers")
    assert info.siblings is not None
    weights = next(file for file in info.siblings if file.rfilename == "model.safetensors")
    assert weights.lfs is not None
    assert weights.lfs.size == len(WEIGHTS)
    assert not api.verify_repo_checksums(REPO, local_dir=folder, revision=repo).mismatches
    assert api.list_repo_commits(REPO)[0].title == "first"


def test_git_itself_agrees_with_the_ids(api: HfApi, repo: str, tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run([*git, "init", "-q"], check=True)
    content = b"{}"
    (tmp_path / "results.json").write_bytes(content)
    subprocess.run([*git, "add", "results.json"], check=True)
    oid = subprocess.run([*git, "write-tree"], check=True, capture_output=True, text=True).stdout
    rows = {entry.path: entry for entry in api.list_repo_tree(REPO, recursive=True)}
    assert rows["eval/deep"].tree_id == oid.strip()  # type: ignore[union-attr]


def test_unchanged_files_make_no_commit(api: HfApi, repo: str) -> None:
    same = [CommitOperationAdd("model.safetensors", WEIGHTS)]
    assert api.create_commit(REPO, same, commit_message="again").oid == repo


def test_a_stale_parent_is_refused(api: HfApi, repo: str) -> None:
    api.create_commit(REPO, [CommitOperationAdd("a.txt", b"a")], commit_message="second")
    with pytest.raises(HfHubHTTPError) as caught:
        api.create_commit(
            REPO, [CommitOperationAdd("b.txt", b"b")], commit_message="third", parent_commit=repo
        )
    assert caught.value.response.status_code == 412


def test_files_and_folders_can_be_deleted(api: HfApi, repo: str) -> None:
    gone = [CommitOperationDelete("README.md"), CommitOperationDelete("eval/")]
    api.create_commit(REPO, gone, commit_message="less")
    assert sorted(api.list_repo_files(REPO)) == [".gitattributes", "model.safetensors"]
    assert "README.md" in api.list_repo_files(REPO, revision=repo)


def test_concurrent_commits_lose_nothing(api: HfApi, repo: str) -> None:
    def commit(number: int) -> None:
        files = [CommitOperationAdd(f"{number}.safetensors", WEIGHTS + bytes([number]))]
        files.append(CommitOperationAdd(f"{number}.txt", bytes([number + 65])))
        api.create_commit(REPO, files, commit_message=f"number {number}")

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(commit, range(8)))
    files = set(api.list_repo_files(REPO))
    assert {f"{n}.{kind}" for n in range(8) for kind in ("txt", "safetensors")} <= files
    assert len(api.list_repo_commits(REPO)) == 10


def test_ranges_of_a_file(server: Server, repo: str) -> None:
    url = f"{server.endpoint}/{REPO}/resolve/main/model.safetensors"
    part = httpx.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, WEIGHTS[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(WEIGHTS)}"
    rest = httpx.get(url, headers={"Range": f"bytes={len(WEIGHTS) - 5}-"})
    assert rest.content == WEIGHTS[-5:]
    head = httpx.head(url)
    assert head.headers["content-length"] == head.headers["x-linked-size"] == str(len(WEIGHTS))
    assert head.headers["x-repo-commit"] == repo
    assert httpx.get(url, headers={"Range": "bytes=999999-"}).status_code == 416


def test_branches_and_tags(api: HfApi, repo: str) -> None:
    api.create_branch(REPO, branch="try/this")
    api.create_branch(REPO, branch="try/this", exist_ok=True)
    api.create_tag(REPO, tag="v1.0", revision=repo)
    api.create_tag(REPO, tag="v1.0", exist_ok=True)
    new = [CommitOperationAdd("only-there.txt", b"x")]
    api.create_commit(REPO, new, commit_message="on a branch", revision="try/this")
    assert api.file_exists(REPO, "only-there.txt", revision="try/this")
    assert not api.file_exists(REPO, "only-there.txt")
    refs = api.list_repo_refs(REPO)
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1.0": repo}
    assert {ref.name for ref in refs.branches} == {"main", "try/this"}
    assert api.model_info(REPO, revision="v1.0").sha == repo
    api.delete_branch(REPO, branch="try/this")
    api.delete_tag(REPO, tag="v1.0")
    assert not api.list_repo_refs(REPO).tags


def test_paths_and_folders(api: HfApi, repo: str) -> None:
    found = api.get_paths_info(REPO, ["eval", "model.safetensors", "nothing"])
    assert [entry.path for entry in found] == ["model.safetensors", "eval"]
    assert [entry.path for entry in api.list_repo_tree(REPO, "eval")] == ["eval/deep"]


def test_what_is_missing_has_its_own_error(api: HfApi, repo: str) -> None:
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("evalkit/other")
    with pytest.raises(RevisionNotFoundError):
        api.model_info(REPO, revision="nowhere")
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download(REPO, "nothing.json")


def test_private_repositories_are_hidden(api: HfApi, server: Server, tmp_path: Path) -> None:
    api.create_repo("evalkit/hidden", private=True)
    other = HfApi(server.endpoint, token=make_token(tmp_path / "hub", "mallory"))
    nobody = HfApi(server.endpoint, token=False)
    for stranger in (other, nobody):
        with pytest.raises(RepositoryNotFoundError):
            stranger.model_info("evalkit/hidden")
    assert "hidden" not in httpx.get(server.endpoint).text
    assert [info.id for info in api.list_models(author="evalkit")] == ["evalkit/hidden"]
    api.update_repo_settings("evalkit/hidden", private=False)
    assert nobody.model_info("evalkit/hidden").private is False


def test_rights_end_at_the_namespace(api: HfApi, repo: str, server: Server, tmp_path: Path) -> None:
    root = tmp_path / "hub"
    other = HfApi(server.endpoint, token=make_token(root, "mallory"))
    file = [CommitOperationAdd("x.txt", b"x")]
    for attempt in (
        lambda: other.create_repo("evalkit/new"),
        lambda: other.create_commit(REPO, file, commit_message="no"),
        lambda: other.delete_repo(REPO),
    ):
        with pytest.raises(HfHubHTTPError) as caught:
            attempt()
        assert caught.value.response.status_code == 403
    make_token(root, "mallory", ["evalkit"])  # a running server sees the change
    other.create_commit(REPO, file, commit_message="now a member")
    with pytest.raises(HfHubHTTPError):
        HfApi(server.endpoint, token="hf_wrong").whoami()


def test_a_repository_can_be_deleted_and_made_again(api: HfApi, repo: str) -> None:
    assert str(api.create_repo(REPO, exist_ok=True)).endswith(REPO)
    with pytest.raises(HfHubHTTPError):
        api.create_repo(REPO)
    api.delete_repo(REPO)
    assert not api.repo_exists(REPO)
    api.create_repo(REPO)
    assert api.list_repo_files(REPO) == [".gitattributes"]


def test_hostile_paths_are_refused(server: Server, repo: str) -> None:
    auth = {"Authorization": f"Bearer {server.token}"}
    for path in ("../x", "/x", "a//b", "a/../../x", ".git/config", "a\\b", "README.md/x"):
        lines = [
            {"key": "header", "value": {"summary": "s"}},
            {"key": "file", "value": {"path": path, "content": "eA=="}},
        ]
        body = "\n".join(map(json.dumps, lines))
        url = f"{server.endpoint}/api/models/{REPO}/commit/main"
        assert httpx.post(url, content=body, headers=auth).status_code == 400, path
    for url in (f"/{REPO}/resolve/main/..%2F..%2Frefs.json", f"/{REPO}/resolve/main/../repo.json"):
        assert httpx.get(server.endpoint + url).status_code == 404


def test_uploads_must_be_what_was_announced(server: Server, repo: str, tmp_path: Path) -> None:
    from evalkit.hub.tokens import Tokens

    oid = "0" * 64
    signed = Tokens(tmp_path / "hub").sign_upload(oid, 3)
    assert httpx.put(f"{server.endpoint}/lfs/{oid}?{signed}", content=b"abc").status_code == 400
    forged = signed.replace("size=3", "size=4")
    assert httpx.put(f"{server.endpoint}/lfs/{oid}?{forged}", content=b"abcd").status_code == 403
    assert not list((tmp_path / "hub" / "incoming").iterdir())


def test_contents_are_stored_once(api: HfApi, repo: str, tmp_path: Path) -> None:
    api.create_repo("evalkit/two")
    same = [CommitOperationAdd("model.safetensors", WEIGHTS), CommitOperationAdd("b.bin", WEIGHTS)]
    api.create_commit("evalkit/two", same, commit_message="same")
    blobs = [file for file in (tmp_path / "hub" / "blobs").glob("*/*")]
    assert sum(file.stat().st_size == len(WEIGHTS) for file in blobs) == 1


def test_a_bad_card_is_refused(api: HfApi, repo: str) -> None:
    for text in ("---\na: [\n---\n", "---\n- list\n---\n", "---\nlicense: 3\n---\n"):
        with pytest.raises(ValueError, match=r"Invalid metadata in README\.md"):
            api.create_commit(
                REPO, [CommitOperationAdd("README.md", text.encode())], commit_message="bad"
            )


def test_datasets_go_the_same_way(api: HfApi, server: Server) -> None:
    api.create_repo("evalkit/pairs", repo_type="dataset")
    files = [CommitOperationAdd("data/train.jsonl", b'{"a": 1}\n')]
    files.append(CommitOperationAdd("data/train.parquet", b"PAR1" * 10))
    done = api.create_commit("evalkit/pairs", files, commit_message="d", repo_type="dataset")
    file = api.hf_hub_download("evalkit/pairs", "data/train.parquet", repo_type="dataset")
    assert Path(file).read_bytes() == b"PAR1" * 10
    assert api.dataset_info("evalkit/pairs").sha == done.oid
    assert "pairs" in httpx.get(f"{server.endpoint}/datasets/evalkit/pairs").text


def test_collections(api: HfApi, repo: str, server: Server) -> None:
    made = api.create_collection("The family", description="all of it")
    api.add_collection_item(made.slug, REPO, "model", note="the first")
    api.add_collection_item(made.slug, REPO, "model", exists_ok=True)
    api.add_collection_item(made.slug, "evalkit/two", "model")
    again = api.create_collection("The family", exists_ok=True)
    assert again.slug == made.slug
    assert [(i.item_id, i.note) for i in again.items] == [
        (REPO, "the first"),
        ("evalkit/two", None),
    ]
    api.update_collection_item(
        made.slug, again.items[1].item_object_id, position=0, note="now first"
    )
    assert api.get_collection(made.slug).items[0].note == "now first"
    api.delete_collection_item(made.slug, again.items[0].item_object_id)
    assert api.update_collection_metadata(made.slug, title="Renamed").title == "Renamed"
    assert [c.slug for c in api.list_collections(owner="evalkit")] == [made.slug]
    assert "now first" in httpx.get(f"{server.endpoint}/collections/{made.slug}").text
    api.delete_collection(made.slug)
    with pytest.raises(HfHubHTTPError):
        api.get_collection(made.slug)


def test_pages_show_the_card_and_run_nothing(api: HfApi, repo: str, server: Server) -> None:
    card = "---\nlicense: mit\n---\n# Title\n\n|a|b|\n|-|-|\n|1|2|\n\n<script>alert(1)</script>\n"
    card += "\n[x](javascript:alert(1)) <img src=x onerror=alert(1)>\n"
    api.create_commit(REPO, [CommitOperationAdd("README.md", card.encode())], commit_message="card")
    page = httpx.get(f"{server.endpoint}/{REPO}")
    assert "<h1>Title</h1>" in page.text
    assert "<td>1</td>" in page.text
    assert "<script" not in page.text
    assert "onerror" not in page.text
    assert 'href="javascript' not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert REPO in httpx.get(server.endpoint).text


def test_pictures_beside_a_card_are_found_from_its_page(
    api: HfApi, repo: str, server: Server
) -> None:
    card = "---\nlicense: mit\n---\n# Title\n\n[![curves](figures/a.png)](figures/a.svg)\n"
    png = b"\x89PNG\r\n\x1a\n"
    operations = [CommitOperationAdd("README.md", card.encode())]
    operations += [CommitOperationAdd(f"figures/a.{end}", png) for end in ("png", "svg")]
    api.create_commit(REPO, operations, commit_message="pictures")
    page = httpx.get(f"{server.endpoint}/{REPO}")
    source = re.search(r'<img src="([^"]+/figures/a.png)" alt="curves"', page.text)
    assert source is not None
    picture = httpx.get(f"{server.endpoint}{source[1]}")
    assert picture.content == png
    assert picture.headers["content-type"] == "image/png"
    linked = re.search(r'<a href="([^"]+/figures/a.svg)"', page.text)
    assert linked is not None
    assert httpx.get(f"{server.endpoint}{linked[1]}").status_code == 200


def test_other_host_names_are_turned_away(server: Server) -> None:
    answer = httpx.get(server.endpoint, headers={"Host": "attacker.example"})
    assert answer.status_code == 400


def test_tokens_are_readable_by_their_owner_only(server: Server, tmp_path: Path) -> None:
    assert (tmp_path / "hub" / "tokens.json").stat().st_mode & 0o777 == 0o600
    assert server.token not in repr(server)


def test_the_same_folder_is_served_once(server: Server, tmp_path: Path) -> None:
    with running(tmp_path / "hub") as second:
        assert second.endpoint == server.endpoint
    assert httpx.get(server.endpoint).status_code == 200


def test_a_foreign_folder_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with (
        pytest.raises(PrerequisiteError, match="neither empty nor a Hub folder"),
        running(tmp_path),
    ):
        pass


SERVE = """
import sys
from pathlib import Path
from evalkit.hub.serve import serve
serve(Path(sys.argv[1]), ready=lambda server: print(server.endpoint, server.token, flush=True))
print("ended", flush=True)
"""


def test_the_blocking_server_ends_when_interrupted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVE, str(tmp_path / "hub")]
    paths = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=paths) as process:
        assert process.stdout
        endpoint, token = process.stdout.readline().split()
        assert HfApi(endpoint, token=token).whoami()["name"] == "evalkit"
        with running(tmp_path / "hub", user="someone") as joined:
            assert joined.endpoint == endpoint
            assert HfApi(endpoint, token=joined.token).whoami()["name"] == "someone"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read().strip() == "ended"
    assert not (tmp_path / "hub" / "server.json").exists()


def test_everything_survives_a_restart(tmp_path: Path) -> None:
    with running(tmp_path) as server, open_api(server.target()) as api:
        api.create_repo(REPO)
        done = api.create_commit(
            REPO, [CommitOperationAdd("model.safetensors", WEIGHTS)], commit_message="m"
        )
    with running(tmp_path) as server, open_api(server.target()) as api:
        assert api.model_info(REPO).sha == done.oid
