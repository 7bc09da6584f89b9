"""Fixtures that many tests share, and the promise that tests stay on this machine.

`shared`, `tiny_llama`, `pocket_base` and `golden` are for every test; markers whose
needs this machine lacks skip, and say what the test would have shown.
"""

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import checkpoints
import pytest
import runs
from hypothesis import settings

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
LOOPBACK = ("127.", "::1", "localhost")
SECRETS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "ANTHROPIC_API_KEY")
# A closed port, so that a child process that reaches out fails at once instead of succeeding.
CLOSED = ("127.0.0.1", 9)
NOWHERE = f"http://{CLOSED[0]}:{CLOSED[1]}"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")

_home = Path(tempfile.mkdtemp(prefix="evalkit-tests-"))
_connect, _connect_ex, _getaddrinfo = (
    socket.socket.connect,
    socket.socket.connect_ex,
    socket.getaddrinfo,
)


# No deadline: how long one example takes says more about the machine than about the code.
# The same examples every time: a failure that nobody can repeat helps nobody.
settings.register_profile("evalkit", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("evalkit")


# --- surroundings: set before any library reads them -----------------------------------------


def _set_environment() -> None:
    for name in (*SECRETS, "HF_ENDPOINT", "ALL_PROXY", "all_proxy"):
        os.environ.pop(name, None)
    os.environ.update(
        HF_HOME=str(_home / "huggingface"),
        HF_HUB_DISABLE_TELEMETRY="1",
        TOKENIZERS_PARALLELISM="false",
        MPLBACKEND="Agg",
        MPLCONFIGDIR=str(_home / "matplotlib"),
        NO_PROXY="127.0.0.1,localhost",
        no_proxy="127.0.0.1,localhost",
        **dict.fromkeys(PROXIES, NOWHERE),
    )
    # Tiny models gain nothing from a second thread, and lose much to it on a busy machine.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


_set_environment()


class NetworkUseError(RuntimeError):
    """A test without the `network` marker tried to leave this machine."""


def _refuse_remote_peer(address: Any) -> None:
    if tuple(address[:2]) == CLOSED:
        raise NetworkUseError("a test tried to leave this machine; mark it `network` if it must")
    _refuse_unless_local(address[0])


def _refuse_unless_local(host: Any) -> None:
    if isinstance(host, bytes):
        host = host.decode()
    if host and not host.startswith(LOOPBACK) and host not in ("0.0.0.0", socket.gethostname()):
        raise NetworkUseError(f"a test tried to reach {host}; mark it `network` if it must")


def _guarded_connect(self: socket.socket, address: Any) -> None:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        _refuse_remote_peer(address)
    return _connect(self, address)


def _guarded_connect_ex(self: socket.socket, address: Any) -> int:
    if self.family in (socket.AF_INET, socket.AF_INET6):
        _refuse_remote_peer(address)
    return _connect_ex(self, address)


def _guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
    _refuse_unless_local(host)
    return _getaddrinfo(host, *args, **kwargs)


def _guard(on: bool) -> None:
    socket.socket.connect = _guarded_connect if on else _connect  # type: ignore[method-assign]
    socket.socket.connect_ex = (  # type: ignore[method-assign]
        _guarded_connect_ex if on else _connect_ex
    )
    socket.getaddrinfo = _guarded_getaddrinfo if on else _getaddrinfo


def pytest_configure() -> None:
    """Guards from the start: session fixtures run before any function's."""
    _guard(True)


def pytest_unconfigure() -> None:
    """Removes the tests' own home."""
    _guard(False)
    shutil.rmtree(_home, ignore_errors=True)


@pytest.fixture(autouse=True)
def _network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lifts the guard for tests marked `network`."""
    if request.node.get_closest_marker("network") is None:
        yield
        return
    for name in PROXIES:
        monkeypatch.delenv(name)
    _guard(False)
    yield
    _guard(True)


@pytest.fixture
def unplugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without a network: every connection is refused, as by a proxy that is off."""
    import huggingface_hub

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    for name in PROXIES:
        monkeypatch.setenv(name, closed)
    huggingface_hub.close_session()  # a client keeps the proxies that it began with
    yield
    huggingface_hub.close_session()


# --- what this machine lacks ---------------------------------------------------------------


def _no_gpu() -> bool:
    if find_spec("torch") is None:
        return True
    import torch

    return not torch.cuda.is_available()


def _no_vllm() -> bool:
    return find_spec("vllm") is None and not (ROOT / ".venv-vllm/bin/python").exists()


def _no_browser() -> bool:
    own = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", "~/.cache/ms-playwright")).expanduser()
    return find_spec("playwright") is None or not (shutil.which("chromium") or own.is_dir())


LACKS: dict[str, tuple[Callable[[], bool], str]] = {
    "gpu": (_no_gpu, "no CUDA device"),
    "vllm": (_no_vllm, "no vLLM here or in .venv-vllm"),
    "ray": (lambda: find_spec("ray") is None, "Ray is not installed"),
    "browser": (_no_browser, "no playwright, or no Chromium"),
    "network": (lambda: "EVALKIT_TEST_NETWORK" not in os.environ, "EVALKIT_TEST_NETWORK not set"),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test whose marker asks for what is not here."""
    for marker, (lacks, reason) in LACKS.items():
        if item.get_closest_marker(marker) is not None and lacks():
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds to the reason of a skip what the test would have shown: its docstring or its name."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and not hasattr(report, "wasxfail"):
        path, line, reason = report.longrepr
        doc = (getattr(getattr(item, "function", None), "__doc__", None) or "").strip()
        would = doc.splitlines()[0] if doc else item.name.removeprefix("test_").replace("_", " ")
        report.longrepr = (path, line, f"{reason}; would have shown: {would}")
    return report


# --- data and checkpoints --------------------------------------------------------------------


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the checkout, or at EVALKIT_SHARED; absent, the test skips."""
    folder = Path(os.environ.get("EVALKIT_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip("no folder `shared` beside the checkout (or at EVALKIT_SHARED)")
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with a trained tokenizer: an ordinary checkpoint folder.

    Shared by the whole session: read it, and copy it before changing it.
    """
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tiny-llama")
    checkpoints.write_tiny_llama(folder)
    return folder


@pytest.fixture(scope="session")
def pocket_base() -> Path:
    """The pocket base, trained for fewer steps than the quickstart's; kept in .cache/pocket.

    Shared by the whole session and by later ones: read it, and copy it before changing it.
    """
    pytest.importorskip("transformers")
    return checkpoints.pocket_base(ROOT / ".cache" / "pocket")


@pytest.fixture(scope="session")
def micro_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the finished micro recipe in `run` and its Hub in `hub`: read it only."""
    folder = tmp_path_factory.mktemp("micro")
    runs.finish(runs.RECIPES / "micro.yaml", folder)
    return folder


# --- golden files ----------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --update-golden."""
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite tests/golden with what tests made"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)` compares text with tests/golden/<name>, or rewrites it when asked to."""
    update = request.config.getoption("--update-golden")

    def compare(name: str, text: str) -> None:
        file = GOLDEN / name
        if update:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8", newline="")
        assert file.is_file(), f"tests/golden/{name} is missing: pytest --update-golden writes it"
        expected = file.read_bytes().decode("utf-8")
        # Read beside each other as lines, for a diff that pytest shows line by line.
        assert text.splitlines() == expected.splitlines(), (
            f"tests/golden/{name} differs: if it should, pytest --update-golden"
        )
        assert text == expected

    return compare
