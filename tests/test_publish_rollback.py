"""Publishing again, taking back, and looking: against an embedded Hub over real HTTP."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")
pytest.importorskip("starlette")

import hub_parts
from huggingface_hub import CommitOperationAdd, HfApi

from evalkit.errors import PublishError
from evalkit.hub.client import open_api
from evalkit.hub.discussions import Discussions
from evalkit.hub.plan import ReleasePlan
from evalkit.hub.publish import Options, preview, publish
from evalkit.hub.receipts import Receipt, Receipts
from evalkit.hub.rollback import rollback
from evalkit.hub.serve import Server, running
from evalkit.hub.standing import standings
from evalkit.hub.store import Store
from evalkit.hub.tagging import tag_for

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO = "evalkit/tiny"
OPTIONS = Options(collection="Tiny family", tag="v1.0")


@pytest.fixture
def faults() -> hub_parts.Faults:
    """Loses nothing until a test sets `lose`."""
    return hub_parts.Faults(lambda line: False)


@pytest.fixture
def server(tmp_path: Path, faults: hub_parts.Faults) -> Iterator[Server]:
    with running(tmp_path / "hub", wrap=faults) as server:
        yield server


@pytest.fixture
def api(server: Server) -> Iterator[HfApi]:
    with open_api(server.target()) as api:
        yield api


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return hub_parts.write_release(tmp_path / "release")


@pytest.fixture
def receipts(tmp_path: Path) -> Path:
    return tmp_path / "receipts"


def made_by_hand(api: HfApi) -> dict[str, str]:
    """A repository of somebody's own with small and large files: path -> id of each."""
    api.create_repo(REPO)
    theirs = [
        CommitOperationAdd("mine.txt", b"not yours"),
        CommitOperationAdd("config.json", b'{"mine": true}'),
        CommitOperationAdd("mine.safetensors", hub_parts.safetensors_bytes(b"\7" * 9)),
    ]
    api.create_commit(REPO, theirs, commit_message="by hand")
    return files(api)


def files(api: HfApi, repo_id: str = REPO) -> dict[str, str]:
    entries = api.list_repo_tree(repo_id, recursive=True)
    return {entry.path: entry.blob_id for entry in entries if hasattr(entry, "blob_id")}


def changed(release: Path, text: str = "More.\n") -> ReleasePlan:
    (release / "README.md").write_text(hub_parts.CARD + text)
    return hub_parts.plan_of(release)


def test_what_this_publication_made_is_deleted(
    api: HfApi, server: Server, release: Path, receipts: Path
) -> None:
    plan = hub_parts.plan_of(release)
    publish([plan], server.target(), receipts=receipts, options=OPTIONS)
    publish([changed(release)], server.target(), receipts=receipts, options=OPTIONS)
    assert [one.action for one in rollback(server.target(), receipts=receipts, dry_run=True)] == [
        "delete"
    ]
    assert api.repo_exists(REPO)
    assert [one.repo_id for one in rollback(server.target(), receipts=receipts)] == [REPO]
    assert not api.repo_exists(REPO)
    assert not list(api.list_collections(owner="evalkit"))
    assert rollback(server.target(), receipts=receipts) == []
    again = hub_parts.plan_of(release)  # and all begins anew
    publish([again], server.target(), receipts=receipts, options=OPTIONS)
    receipt = Receipts(receipts).get(REPO, "local")
    assert receipt is not None
    assert (receipt.made_here, receipt.tag, receipt.stage) == (True, "v1.0", "public")


def test_what_was_there_before_gets_one_revert_commit(
    api: HfApi, server: Server, release: Path, receipts: Path
) -> None:
    before = made_by_hand(api)
    replace = Options(replace=True)
    publish([hub_parts.plan_of(release)], server.target(), receipts=receipts, options=replace)
    assert "mine.txt" not in files(api)
    [undone] = rollback(server.target(), receipts=receipts)
    assert undone.action == "revert"
    assert files(api) == before
    titles = [commit.title for commit in api.list_repo_commits(REPO)]
    assert titles[0].startswith("Revert to")
    assert len(titles) == 4
    assert rollback(server.target(), receipts=receipts) == []
    with pytest.raises(PublishError, match="not made by evalkit"):
        publish([hub_parts.plan_of(release)], server.target(), receipts=receipts)


def test_what_somebody_committed_since_is_left(
    api: HfApi, server: Server, release: Path, receipts: Path
) -> None:
    publish([hub_parts.plan_of(release)], server.target(), receipts=receipts)
    edit = [CommitOperationAdd("NOTICE", b"mine")]
    api.create_commit(REPO, edit, commit_message="theirs")
    [undone] = rollback(server.target(), receipts=receipts)
    assert (undone.action, "somebody else" in undone.reason) == ("leave", True)
    assert "NOTICE" in files(api)


def test_what_another_publication_committed_since_is_left(
    server: Server, release: Path, receipts: Path, tmp_path: Path
) -> None:
    """It tells in its commits that evalkit made them, as this one does."""
    publish([hub_parts.plan_of(release)], server.target(), receipts=receipts)
    publish([changed(release)], server.target(), receipts=tmp_path / "theirs")
    [undone] = rollback(server.target(), receipts=receipts)
    assert (undone.action, "somebody else" in undone.reason) == ("leave", True)


def test_a_repository_that_another_made_first_is_left(
    server: Server, release: Path, receipts: Path, tmp_path: Path
) -> None:
    """Killed before it made the repository, of which it had noted that it would."""
    Receipts(receipts).put(Receipt(REPO, "local", True, "", "planned"))
    publish([hub_parts.plan_of(release)], server.target(), receipts=tmp_path / "theirs")
    [undone] = rollback(server.target(), receipts=receipts)
    assert undone.action == "leave"


def test_a_collection_that_was_there_stays(
    api: HfApi, server: Server, release: Path, receipts: Path
) -> None:
    slug = api.create_collection("Tiny family").slug
    publish([hub_parts.plan_of(release)], server.target(), receipts=receipts, options=OPTIONS)
    rollback(server.target(), receipts=receipts)
    assert api.get_collection(slug).title == "Tiny family"


def test_an_unfinished_publication_is_taken_back_too(
    api: HfApi, server: Server, release: Path, receipts: Path, faults: hub_parts.Faults
) -> None:
    """Cut off behind the commit, whose answer and all that follows are lost."""
    faults.lose = lambda line: "/commit/" in line or ("/commits/" in line and bool(faults.lost))
    with pytest.raises(PublishError):
        publish([hub_parts.plan_of(release)], server.target(), receipts=receipts)
    faults.lose = lambda line: False
    assert "README.md" in files(api)
    [undone] = rollback(server.target(), receipts=receipts)
    assert undone.action == "delete"
    assert not api.repo_exists(REPO)


def test_each_release_has_its_tag(
    api: HfApi, server: Server, release: Path, receipts: Path
) -> None:
    heads = []
    for text in ("one", "one", "two", "three"):
        [record] = publish(
            [changed(release, text)], server.target(), receipts=receipts, options=OPTIONS
        )
        heads.append(record.commit)
    tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(REPO).tags}
    assert tags == {"v1.0": heads[0], "v1.1": heads[2], "v1.2": heads[3]}


@pytest.mark.parametrize(
    ("there", "name"),
    [
        ({}, "v1.0"),
        ({"v1.0": "here"}, "v1.0"),
        ({"v1.0": "other"}, "v1.1"),
        ({"v1.0": "other", "v1.1": "here"}, "v1.1"),
        ({"v1.0": "a", "v1.1": "b", "v1.3": "c"}, "v1.2"),
    ],
)
def test_which_tag_a_commit_gets(there: dict[str, str], name: str) -> None:
    assert tag_for(there, "here", "v1.0") == name
    without_number = {tag.replace("v1.0", "first"): commit for tag, commit in there.items()}
    assert tag_for(without_number, "here", "first").startswith("first")


def test_a_public_repository_changes_only_once_all_was_read_back(
    api: HfApi, server: Server, release: Path, receipts: Path, faults: hub_parts.Faults
) -> None:
    publish([hub_parts.plan_of(release)], server.target(), receipts=receipts)
    before = files(api)
    plan = changed(release)
    (release / "README.md").write_text(hub_parts.CARD + "Changed under way.\n")
    with pytest.raises(PublishError, match=r"README\.md is another"):
        publish([plan], server.target(), receipts=receipts)
    assert files(api) == before
    faults.seen.clear()
    publish([hub_parts.plan_of(release)], server.target(), receipts=receipts)
    assert files(api)["README.md"] != before["README.md"]
    assert [line for line in faults.seen if line.endswith("/merge")]
    assert len(api.list_repo_commits(REPO)) == 3  # the first, the release, the merged one


@pytest.mark.parametrize("lost", ["/commit/", "/merge"])
def test_a_lost_answer_makes_no_second_pull_request(
    lost: str, api: HfApi, server: Server, release: Path, receipts: Path, faults: hub_parts.Faults
) -> None:
    publish([hub_parts.plan_of(release)], server.target(), receipts=receipts)
    faults.lose = lambda line: lost in line and not faults.lost
    [record] = publish([changed(release)], server.target(), receipts=receipts)
    assert faults.lost
    assert api.model_info(REPO).sha == record.commit
    assert [one.status for one in api.get_repo_discussions(REPO)] == ["merged"]
    assert len(api.list_repo_commits(REPO)) == 3


def test_a_pull_request_of_a_cut_off_run_is_gone_on_with(
    api: HfApi,
    server: Server,
    release: Path,
    receipts: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class CutOffError(BaseException):
        """As if the process were killed."""

    def cut_off(*_: object, **__: object) -> None:
        raise CutOffError

    publish([hub_parts.plan_of(release)], server.target(), receipts=receipts)
    before, plan = files(api), changed(release)
    with monkeypatch.context() as patch:
        patch.setattr(HfApi, "merge_pull_request", cut_off)
        with pytest.raises(CutOffError):
            publish([plan], server.target(), receipts=receipts)
    assert files(api) == before
    publish([plan], server.target(), receipts=receipts)
    assert files(api) != before
    assert [one.status for one in api.get_repo_discussions(REPO)] == ["merged"]


def test_a_pull_request_that_begins_as_a_draft_is_merged(
    api: HfApi,
    server: Server,
    release: Path,
    receipts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish([hub_parts.plan_of(release)], server.target(), receipts=receipts)
    commit = HfApi.create_commit

    def draft(self: HfApi, *given: object, **more: object) -> object:
        made = commit(self, *given, **more)  # type: ignore[arg-type]
        repository = Store(tmp_path / "hub").repository("model", REPO)
        Discussions(repository).set_status(1, "evalkit", "draft")
        return made

    monkeypatch.setattr(HfApi, "create_commit", draft)
    [record] = publish([changed(release)], server.target(), receipts=receipts)
    assert api.model_info(REPO).sha == record.commit
    assert [one.status for one in api.get_repo_discussions(REPO)] == ["merged"]


def test_a_preview_changes_nothing(
    api: HfApi, server: Server, release: Path, receipts: Path, faults: hub_parts.Faults
) -> None:
    plan = hub_parts.plan_of(release)
    assert [seen.action for seen in preview([plan], None, receipts=receipts)] == ["create"]
    assert [seen.action for seen in preview([plan], server.target(), receipts=receipts)] == [
        "create"
    ]
    publish([plan], server.target(), receipts=receipts)
    faults.seen.clear()
    [seen] = preview([changed(release)], server.target(), receipts=receipts)
    assert seen.action == "update"
    assert seen.remote is not None
    assert seen.remote.head == api.model_info(REPO).sha
    assert not [line for line in faults.seen if not line.startswith(("GET", "HEAD"))]
    size = (release / "model.safetensors").stat().st_size
    assert {file.path: file.size_bytes for file in seen.plan.files}["model.safetensors"] == size


def test_where_repositories_stand(
    api: HfApi, server: Server, release: Path, receipts: Path
) -> None:
    plan, target = hub_parts.plan_of(release), server.target()
    assert [one.state for one in standings([plan], None, receipts=receipts)] == ["absent"]
    assert [one.state for one in standings([plan], target, receipts=receipts)] == ["absent"]
    publish([plan], target, receipts=receipts, options=OPTIONS)
    [one] = standings([plan], target, receipts=receipts)
    assert (one.state, one.commit, one.tags) == ("equal", api.model_info(REPO).sha, ("v1.0",))
    assert (one.private, one.changed_since, one.differences) == (False, False, ())
    api.create_commit(REPO, [CommitOperationAdd("NOTICE", b"x")], commit_message="theirs")
    [one] = standings([changed(release)], target, receipts=receipts)
    assert one.state == "different"
    assert one.differences == ("README.md is another", "NOTICE is there too")
    assert one.changed_since
    shutil.rmtree(receipts)
    assert standings([plan], target, receipts=receipts)[0].changed_since is None
