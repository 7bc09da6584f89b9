"""What the Hub is asked of a model before any work, over real HTTP and from the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub")
pytest.importorskip("starlette")

from evalkit import registry
from evalkit.errors import PrerequisiteError, RecipeError
from evalkit.fetching import (
    HubFile,
    cached_file,
    check_dataset,
    check_model,
    fetch_config,
    fetch_file,
    fetch_model,
)
from evalkit.hub.client import open_api
from evalkit.hub.serve import Server, running

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # the client's
NAME = "evalkit/model"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A Hub with one public model, which this process takes for the only one."""
    with running(tmp_path / "hub") as server:
        constants = "huggingface_hub.constants."
        template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants + "ENDPOINT", server.endpoint)
        monkeypatch.setattr(constants + "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants + "HF_HUB_CACHE", str(tmp_path / "cache"))
        with open_api(server.target()) as api:
            api.create_repo(NAME, private=False)
            api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id=NAME)
        yield server


def _told(model: str, revision: str | None = None) -> tuple[str, str]:
    with pytest.raises(PrerequisiteError) as caught:
        check_model(model, revision)
    return caught.value.message, caught.value.hint


def test_what_is_there_is_no_problem(hub: Server) -> None:
    check_model(NAME, None)
    check_model(NAME, "main")


def test_what_is_not_there(hub: Server) -> None:
    assert _told("evalkit/modle")[0] == "the Hub has no model evalkit/modle"
    assert _told(NAME, "v2") == (
        f"{NAME} has no revision v2",
        "give a branch, a tag or a commit of it",
    )


def test_a_gated_model(hub: Server) -> None:
    with open_api(hub.target()) as api:
        api.update_repo_settings(NAME, gated="manual", private=False)
    message, hint = _told(NAME)
    assert message == f"{NAME} is gated, and closed to this machine"
    assert "hf auth login" in hint


def test_without_a_hub_the_cache_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Server
) -> None:
    fetch_model(NAME, None, "base.model", "org/name")
    monkeypatch.setattr("huggingface_hub.hf_api.HfApi.model_info", _refused)
    check_model(NAME, None)
    message, hint = _told("org/other")
    assert message == (
        "the model org/other is not in this machine's cache, and the Hub cannot be reached"
    )
    assert hint == ("connect, or bring it along: evalkit prefetch RECIPE, or hf download org/other")


def test_a_single_file_is_fetched_once_and_its_contents_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Server
) -> None:
    file = HubFile(NAME, "config.json", kind="model")
    assert cached_file(file) is None
    found = fetch_file(file)
    assert found.path.read_text() == "{}"
    assert len(found.revision) == 40
    right, wrong = (file._replace(sha256=hashlib.sha256(text).hexdigest()) for text in (b"{}", b""))
    nowhere = "http://127.0.0.1:1/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", nowhere)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    assert fetch_file(right) == cached_file(file) == found
    with pytest.raises(RecipeError, match="is not the published one"):
        cached_file(wrong)
    with pytest.raises(PrerequisiteError, match="not in this machine's cache") as caught:
        fetch_file(file._replace(name="other.json"))
    assert "evalkit prefetch" in caught.value.hint


def test_a_file_or_repository_that_is_not_there(hub: Server) -> None:
    with pytest.raises(RecipeError, match=r"holds no file other\.json"):
        fetch_file(HubFile(NAME, "other.json", kind="model"))
    with pytest.raises(RecipeError, match="the Hub has no dataset evalkit/none"):
        fetch_file(HubFile("evalkit/none", "a.csv"))


def test_a_dataset_is_asked_for_without_being_fetched(
    monkeypatch: pytest.MonkeyPatch, hub: Server
) -> None:
    with open_api(hub.target()) as api:
        api.create_repo("evalkit/rows", repo_type="dataset", private=False)
    check_dataset("evalkit/rows")
    with pytest.raises(PrerequisiteError, match="the Hub has no dataset evalkit/rosw"):
        check_dataset("evalkit/rosw")
    monkeypatch.setattr("huggingface_hub.hf_api.HfApi.dataset_info", _refused)
    with pytest.raises(PrerequisiteError, match="and the Hub cannot be reached") as caught:
        check_dataset("evalkit/rows")
    assert "evalkit prefetch" in caught.value.hint


def test_a_config_is_fetched_alone(hub: Server) -> None:
    assert fetch_config(NAME, None).read_text() == "{}"
    with open_api(hub.target()) as api:
        api.create_repo("evalkit/empty", private=False)
    with pytest.raises(RecipeError, match="evalkit/empty holds no config"):
        fetch_config("evalkit/empty", None)
    (problem,) = registry.load("judges", "reward_model")(_reward_options(NAME)).check()
    assert problem.where == "model"
    assert problem.message.startswith(f"{NAME} is no reward model")


def _reward_options(model: str) -> Any:
    return registry.load("judges", "reward_model").Options(model=model)


def _refused(*args: Any, **kwargs: Any) -> None:
    raise ConnectionRefusedError(111, "Connection refused")


def test_what_can_be_no_id(hub: Server) -> None:
    with pytest.raises(RecipeError, match="neither a folder nor a Hub id"):
        check_model("a b/c", None)
