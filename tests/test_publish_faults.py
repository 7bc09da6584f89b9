"""Publishing a small family while something goes wrong, at every request in turn.

One server and one process serve all runs, each in a namespace of its own, with checkpoints of
some hundred bytes. After each fault one more `publish` must end in the right state, with no commit
twice, or refuse and say why; and nothing public may ever be incomplete.
"""

import errno
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub")
pytest.importorskip("starlette")

import hub_parts
from huggingface_hub import HfApi

from evalkit.errors import EvalkitError
from evalkit.hub import receipts
from evalkit.hub.blobs import Upload
from evalkit.hub.client import HubTarget, open_api
from evalkit.hub.plan import ReleasePlan
from evalkit.hub.publish import Options, publish
from evalkit.hub.remote import differences, look
from evalkit.hub.repository import Change, Repository
from evalkit.hub.serve import Server, make_token, running

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
OPTIONS = Options(collection="The family", tag="v1.0")
MOST_REQUESTS = 200  # of one publication: far more than there are


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client waits for seconds before it tries again; here it does not."""
    wait = time.sleep
    monkeypatch.setattr(
        "huggingface_hub.utils._http.time.sleep", lambda seconds: wait(min(seconds, 0.001))
    )


class Faulty:
    """An ASGI wrapper that counts requests, and does something else with some of them."""

    def __init__(self) -> None:
        self.fault: Callable[[int, str], Any] = lambda number, line: None
        self.seen: list[str] = []
        self.store: Any = None

    def begin(self, fault: Callable[[int, str], Any] = lambda number, line: None) -> None:
        """Counts from nothing; `fault` gives what happens to the request of that number."""
        self.fault, self.seen = fault, []

    def __call__(self, app: Any) -> Any:
        self.store = app.state.hub.store

        async def wrapped(scope: Any, receive: Any, send: Any) -> None:
            line = f"{scope.get('method')} {scope['path']}"
            number = len(self.seen)
            self.seen.append(line)
            handler = self.fault(number, line) or pass_on
            await handler(app, scope, receive, send)

        return wrapped


async def pass_on(app: Any, scope: Any, receive: Any, send: Any) -> None:
    await app(scope, receive, send)


async def cut(app: Any, scope: Any, receive: Any, send: Any) -> None:
    """The connection is gone before the request is read."""
    send.__self__.transport.abort()


async def lose(app: Any, scope: Any, receive: Any, send: Any) -> None:
    """The request is done, and its answer never arrives."""

    async def swallow(message: Any) -> None:
        """Nobody hears it."""

    await app(scope, receive, swallow)
    send.__self__.transport.abort()


def answering(status: int) -> Any:
    async def answer(app: Any, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"retry-after", b"0")] if status == 429 else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return answer


async def corrupt(app: Any, scope: Any, receive: Any, send: Any) -> None:
    """One byte of what is sent arrives as another: of a file's content, where there is one."""

    async def flipped() -> Any:
        message = await receive()
        body = bytearray(message.get("body", b""))
        at = body.find(b'"content"')
        at = at + len(b'"content": "') + 9 if at >= 0 else len(body) // 2
        if len(body) > at:
            body[at] = ord("B") if body[at] != ord("B") else ord("C")
        return {**message, "body": bytes(body)}

    await app(scope, flipped, send)


class Bench:
    """Where the runs take place: one server, one family of files, many namespaces."""

    def __init__(self, server: Server, faulty: Faulty, folder: Path) -> None:
        self.server, self.faulty, self.folder = server, faulty, folder
        self.root = folder / "hub"
        self._numbers = itertools.count()

    def fresh(self) -> "Case":
        """A run of its own: another user, other weights, another namespace, an empty journal."""
        user = f"user{next(self._numbers)}"
        target = HubTarget(self.server.endpoint, make_token(self.root, user), private=False)
        folders = self._write(self.folder / "files" / user, user)
        plans = [
            hub_parts.plan_of(folder, f"{user}/{name}", f"the {name}", kind=kind_of(name))
            for name, folder in folders.items()
        ]
        return Case(self, user, target, plans, self.folder / "receipts" / user)

    def _write(self, folder: Path, user: str) -> dict[str, Path]:
        models = {
            name: hub_parts.write_release(folder / name, f"{user} {name}".encode())
            for name in ("base", "iter1")
        }
        data = folder / "pairs"
        (data / "data").mkdir(parents=True)
        (data / "README.md").write_text("---\ntags: [preference]\n---\n# Pairs\n")
        (data / "data" / "train.jsonl").write_text('{"a": 1}\n')
        return {**models, "pairs": data}


class Case:
    """One family on its way to the Hub."""

    def __init__(
        self, bench: Bench, user: str, target: HubTarget, plans: Sequence[ReleasePlan], at: Path
    ) -> None:
        self.bench, self.user, self.target, self.plans, self.receipts = (
            bench, user, target, list(plans), at,
        )  # fmt: skip
        self.before: list[ReleasePlan] = []

    def change(self) -> None:
        """A new release of all: what was published is the one before."""
        self.before, self.plans = self.plans, []
        for old in self.before:
            card = old.folder / "README.md"
            card.write_text(card.read_text() + "A better release.\n")
            self.plans.append(hub_parts.plan_of(old.folder, old.repo_id, old.note, kind=old.kind))

    def publish(self) -> None:
        publish(self.plans, self.target, receipts=self.receipts, options=OPTIONS)

    def repository(self, plan: ReleasePlan) -> Repository:
        repository: Repository = self.bench.faulty.store.repository(plan.kind, plan.repo_id)
        return repository

    def check_nothing_public_is_incomplete(self) -> None:
        """Looks into the server's own folder, whatever its answers are."""
        for plan in self.plans:
            repository = self.repository(plan)
            if repository.exists and not repository.settings()["private"]:
                tree = repository.commit_at("main").tree
                there = {path: entry.sha256 for path, entry in tree.items()}
                there.pop(".gitattributes")
                whole = [plan.digests(), *(one.digests() for one in self.before)]
                assert there in whole, f"{plan.repo_id} is public, and incomplete"

    def check_finished(self, most_commits: int = 2) -> None:
        """Everything is there, public, tagged, collected, and no state was committed twice."""
        self.bench.faulty.begin()
        api = HfApi(self.target.endpoint, token=self.target.token)
        for plan in self.plans:
            remote = look(api, plan.repo_id, plan.kind)
            assert remote is not None
            assert not remote.private
            assert not differences(plan, remote.files)
            history = self.repository(plan).history("main")
            assert len(history) <= most_commits, [commit.title for commit in history]
            states = [sorted(commit.tree.items()) for commit in history]
            assert not [state for state in states if states.count(state) > 1]
            assert list(self.repository(plan).refs()["tags"].values())[-1:] == [remote.head]
        (collection,) = api.list_collections(owner=self.user)
        items = api.get_collection(collection.slug).items
        assert [item.item_id for item in items] == [plan.repo_id for plan in self.plans]
        assert not collection.private


def kind_of(name: str) -> Any:
    return "dataset" if name == "pairs" else "model"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder, faulty = tmp_path_factory.mktemp("faults"), Faulty()
    with running(folder / "hub", wrap=faulty) as server, open_api(server.target()):
        yield Bench(server, faulty, folder)


def requests_of_a_run(bench: Bench) -> int:
    """How many requests an undisturbed publication makes."""
    bench.faulty.begin()
    case = bench.fresh()
    case.publish()
    count = len(bench.faulty.seen)
    print(f"a publication makes {count} requests")
    case.check_finished()
    assert count < MOST_REQUESTS
    return count


def disturbed(
    bench: Bench,
    fault: Callable[[int, str], Any],
    first_may_pass: bool = True,
    fault_corrupts: bool = False,
) -> Case:
    """A run with a fault, and one more without: the state after each is checked."""
    case = bench.fresh()
    bench.faulty.begin(fault)
    failure = attempt(case)
    bench.faulty.begin()
    case.check_nothing_public_is_incomplete()
    assert first_may_pass or failure is not None
    if failure is not None:
        assert failure.message
        assert failure.hint, failure.message
    case.publish()
    # What arrived as something else is a commit, too, which nobody else has seen.
    case.check_finished(most_commits=3 if fault_corrupts else 2)
    return case


def attempt(case: Case) -> EvalkitError | None:
    """Publishes; the error it ends with, if it does. Any other exception is a bug."""
    try:
        case.publish()
    except EvalkitError as error:
        return error
    return None


def at(position: int, handler: Any, lasting: bool = False) -> Callable[[int, str], Any]:
    """A fault at one request, or from it on."""
    return lambda number, line: (
        handler if number == position or (lasting and number > position) else None
    )


HANDLERS = {
    "cut": cut, "lost answer": lose, "500": answering(500), "503": answering(503),
    "429": answering(429), "corrupt": corrupt,
}  # fmt: skip


@pytest.mark.parametrize("position", [0, 9, 17])
@pytest.mark.parametrize("name", ["cut", "lost answer"])
def test_some_faults(bench: Bench, name: str, position: int) -> None:
    disturbed(bench, at(position, HANDLERS[name]))


# Every so many requests, where what follows is much the same as with a cut or a lost answer;
# the soak test leaves none out.
STRIDES = {"cut": 1, "lost answer": 1, "500": 4, "503": 6, "429": 6, "corrupt": 3}


def faults_in_turn(bench: Bench, name: str, stride: int) -> None:
    for position in range(0, requests_of_a_run(bench), stride):
        disturbed(bench, at(position, HANDLERS[name]), fault_corrupts=name == "corrupt")


@pytest.mark.slow
@pytest.mark.parametrize("name", HANDLERS)
def test_faults_at_requests_in_turn(bench: Bench, name: str) -> None:
    faults_in_turn(bench, name, STRIDES[name])


@pytest.mark.soak
@pytest.mark.parametrize("name", HANDLERS)
def test_a_fault_at_every_request_in_turn(bench: Bench, name: str) -> None:
    faults_in_turn(bench, name, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cut", "500"])
def test_the_server_is_gone_from_a_request_on(bench: Bench, name: str) -> None:
    for position in range(0, requests_of_a_run(bench), 3):
        disturbed(bench, at(position, HANDLERS[name], lasting=True), first_may_pass=False)


def revoked_from(bench: Bench, position: int) -> None:
    """The token stops being one at a request; the next run has it again."""
    file = bench.root / "tokens.json"
    case = bench.fresh()
    whole = file.read_text()
    value = json.loads(whole)
    del value["tokens"][case.target.token]

    def fault(number: int, line: str) -> Any:
        if number == position:
            shutil.copy(file, bench.folder / "kept.json")
            file.with_suffix(".new").write_text(json.dumps(value))
            file.with_suffix(".new").replace(file)

    bench.faulty.begin(fault)
    failure = attempt(case)
    bench.faulty.begin()
    (bench.folder / "kept.json").replace(file)
    case.check_nothing_public_is_incomplete()
    assert failure is not None
    assert "token" in failure.message + failure.hint, failure.message
    case.publish()
    case.check_finished()


def test_a_token_that_is_revoked_midway(bench: Bench) -> None:
    revoked_from(bench, 7)


@pytest.mark.slow
def test_a_token_that_is_revoked_at_every_request_in_turn(bench: Bench) -> None:
    for position in range(0, requests_of_a_run(bench), 3):
        revoked_from(bench, position)


def full_disk_from(bench: Bench, position: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a request on, the server's disk takes nothing more; later it does."""
    full: list[bool] = []
    write = Upload.write

    def refusing(self: Upload, piece: bytes) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, piece)

    with monkeypatch.context() as patch:
        patch.setattr(Upload, "write", refusing)
        case = bench.fresh()
        bench.faulty.begin(lambda number, line: full.append(True) if number == position else None)
        failure = attempt(case)
        full.clear()
    bench.faulty.begin()
    case.check_nothing_public_is_incomplete()
    if failure is not None:
        assert "full" in failure.message, failure.message
    case.publish()
    case.check_finished()


def test_a_full_disk(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    full_disk_from(bench, 5, monkeypatch)


@pytest.mark.slow
def test_a_full_disk_from_every_request_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for position in range(0, requests_of_a_run(bench), 3):
        full_disk_from(bench, position, monkeypatch)


def somebody_commits_before(bench: Bench, position: int) -> None:
    """Somebody else commits to the second repository: theirs stays, and it is said."""
    case = bench.fresh()
    theirs = case.repository(case.plans[1])

    def fault(number: int, line: str) -> None:
        if number == position and theirs.exists:
            entry = bench.faulty.store.put_regular(b"theirs")
            change = Change({"theirs.txt": entry})
            theirs.commit("main", change, title="theirs", message="", author="x")

    bench.faulty.begin(fault)
    failure = attempt(case)
    bench.faulty.begin()
    committed = theirs.exists and "theirs.txt" in theirs.commit_at("main").tree
    if failure is None and not committed:
        case.check_finished()
        return
    again = attempt(case)
    assert again is not None
    assert case.plans[1].repo_id in again.message
    assert "not made by evalkit" in again.message
    assert "--replace" in again.hint
    assert "theirs.txt" in theirs.commit_at("main").tree


def test_somebody_else_commits_midway(bench: Bench) -> None:
    somebody_commits_before(bench, 25)


@pytest.mark.slow
def test_somebody_else_commits_before_every_request_in_turn(bench: Bench) -> None:
    for position in range(0, requests_of_a_run(bench), 3):
        somebody_commits_before(bench, position)


class KilledError(BaseException):
    """As if the publishing process were killed: nothing of it runs on."""


def killed_at_a_note(bench: Bench, position: int, written: bool) -> bool:
    """Killed around one of the journal's writes; whether there was one to be killed at."""
    notes = itertools.count()
    put = receipts.write_json

    def until_killed(*given: Any) -> None:
        number = next(notes)
        if number < position or written:
            put(*given)
        if number == position:
            raise KilledError

    case = bench.fresh()
    bench.faulty.begin()
    killed = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(receipts, "write_json", until_killed)
        try:
            case.publish()
        except KilledError:
            killed = True
    case.check_nothing_public_is_incomplete()
    case.publish()
    case.check_finished()
    return killed


@pytest.mark.parametrize("written", [True, False])
def test_a_publication_that_is_killed_goes_on(bench: Bench, written: bool) -> None:
    assert killed_at_a_note(bench, 2, written)


@pytest.mark.slow
@pytest.mark.parametrize("written", [True, False])
def test_a_publication_that_is_killed_at_every_note_in_turn(bench: Bench, written: bool) -> None:
    count = 0
    while killed_at_a_note(bench, count, written):
        count += 1
    assert count > 12


def update_disturbed(bench: Bench, name: str, position: int) -> None:
    """A family that is public already gets a new release, with a fault at one request."""
    case = bench.fresh()
    bench.faulty.begin()
    case.publish()
    case.change()
    bench.faulty.begin(at(position, HANDLERS[name]))
    failure = attempt(case)
    bench.faulty.begin()
    case.check_nothing_public_is_incomplete()
    assert failure is None or failure.hint
    case.publish()
    case.check_finished(most_commits=3)


@pytest.mark.parametrize("name", ["lost answer", "corrupt"])
def test_an_update_with_a_fault(bench: Bench, name: str) -> None:
    update_disturbed(bench, name, 30)


def updates_in_turn(bench: Bench, name: str, stride: int) -> None:
    case = bench.fresh()
    bench.faulty.begin()
    case.publish()
    case.change()
    bench.faulty.begin()
    case.publish()
    for position in range(0, len(bench.faulty.seen), stride):
        update_disturbed(bench, name, position)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cut", "lost answer", "corrupt"])
def test_an_update_with_faults_in_turn(bench: Bench, name: str) -> None:
    updates_in_turn(bench, name, 3)


@pytest.mark.soak
@pytest.mark.parametrize("name", ["cut", "lost answer", "500", "corrupt"])
def test_an_update_with_a_fault_at_every_request_in_turn(bench: Bench, name: str) -> None:
    updates_in_turn(bench, name, 1)
