"""The chat client against a real server: nothing lost, nothing paid twice, no storm, clear ends."""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import judge_server
import pytest
from judge_server import FAULTS, KEY, MODEL, JudgeServer, served

from evalkit.chat_client import (
    ChatAnswer,
    ChatClient,
    ChatRequest,
    ChatServer,
    Usage,
    listed_models,
)
from evalkit.chat_client.pacing import Pacing
from evalkit.errors import JudgeError, PrerequisiteError
from evalkit.records import Message

BODY = {"max_tokens": 1, "temperature": 1.0, "logprobs": True, "top_logprobs": 5}


def requests(count: int, wants_logprobs: bool = False) -> list[ChatRequest]:
    return [
        ChatRequest((Message("user", f"question {i}"),), BODY, wants_logprobs) for i in range(count)
    ]


def to(server: JudgeServer, **options: Any) -> ChatServer:
    return ChatServer(server.url, **{"model": MODEL, "backoff_s": 0.02, **options})


def ask(server: ChatServer, asked: Sequence[ChatRequest]) -> list[ChatAnswer]:
    answers = dict(ChatClient(server).answers(asked))
    return [answers[index] for index in range(len(asked))]


def fail(
    server: ChatServer, asked: Sequence[ChatRequest]
) -> tuple[PrerequisiteError | JudgeError, list[int]]:
    """The error that ends the work, and the requests answered before it."""
    got = []
    try:
        for index, _ in ChatClient(server).answers(asked):
            got.append(index)
    except (PrerequisiteError, JudgeError) as error:
        return error, got
    pytest.fail("there was no error")


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


class TestAnswers:
    def test_text_and_logprobs_come_back_for_every_request(self) -> None:
        with served() as server:
            answers = ask(to(server), requests(20))
        for number, answer in enumerate(answers):
            first, second = judge_server.logprobs_of(f"question {number}")
            assert answer.text == ("m" if first > second else "M")
            assert answer.logprobs == ({"m": first, "M": second, "The": -9.5},)

    def test_the_request_is_the_protocol_s(self) -> None:
        messages = (Message("system", "Judge."), Message("user", "Which?"))
        with served() as server:
            ask(to(server), [ChatRequest(messages, BODY)])
            (body,) = server.bodies
        turns = [{"role": "system", "content": "Judge."}, {"role": "user", "content": "Which?"}]
        assert body == {"model": MODEL, "messages": turns, **BODY}

    def test_no_request_is_no_connection(self) -> None:
        assert ask(ChatServer("http://127.0.0.1:9/v1", MODEL), []) == []

    def test_requests_run_at_once_but_no_more_than_allowed(self) -> None:
        with served(delay_s=0.05) as server:
            ask(to(server, concurrency=4), requests(24))
            assert 2 <= server.most_at_once <= 4


class TestPassingTrouble:
    @pytest.mark.parametrize("fault", FAULTS)
    def test_it_is_waited_out_and_nothing_is_paid_twice(self, fault: str) -> None:
        """Answers equal an undisturbed run's; each request got exactly one of them."""
        with served() as server:
            expected = ask(to(server), requests(12))
        with served(faults=[None, fault, fault, None, fault]) as server:
            patient = to(server, concurrency=3, timeout_s=0.4 if fault == "slow" else 10.0)
            assert ask(patient, requests(12, wants_logprobs=True)) == expected
            assert set(server.answered.values()) == {1}
            assert len(server.answered) == 12
            assert len(server.bodies) == 15

    def test_retry_after_is_kept_to_by_all(self) -> None:
        with served(faults=["429"]) as server:
            ask(to(server, concurrency=1), requests(3))
            first, *later = server.times
        assert min(later) - first >= 0.3

    @pytest.mark.parametrize("bad", [0, 3, 6])
    def test_a_request_that_always_fails_is_missing_and_the_others_are_not(self, bad: int) -> None:
        def script(body: dict[str, Any]) -> dict[str, Any]:
            if body["messages"][-1]["content"] == f"question {bad}":
                raise ConnectionError  # the server's thread dies with the connection
            return judge_server.script(body)

        with served(script=script) as server:
            answers = ask(to(server, attempts=3, concurrency=1), requests(8))
        assert [answer.text is None for answer in answers] == [i == bad for i in range(8)]
        assert answers[bad].reason.startswith("given up after 3 attempts: the connection was cut")


class TestEnds:
    def test_unreachable(self) -> None:
        with served() as server:
            gone = to(server, attempts=3)
        error, got = fail(gone, requests(30))
        assert f"the model server at {gone.url} cannot be reached" in str(error)
        assert got == []

    def test_a_server_that_goes_away_keeps_what_it_answered(self) -> None:
        """No storm either: after the first burst a few single attempts, then the error."""
        with served(faults=[None] * 10, always=503) as server:
            error, got = fail(to(server, concurrency=4, attempts=3, backoff_s=0.005), requests(40))
            assert len(got) == len(server.answered) == 10
            assert len(server.bodies) < 10 + 30  # of 30 that are left, 3 times each
        assert "failed 9 times in a row: HTTP 503" in str(error)

    @pytest.mark.parametrize("answered", [0, 6])
    def test_the_last_requests_are_not_missing_when_the_server_fails(self, answered: int) -> None:
        """Too few for failures in a row; they are asked again another day, so none is given."""
        with served(faults=[None] * answered, always=503) as server:
            failing = to(server, concurrency=2, attempts=3, backoff_s=0.005)
            error, got = fail(failing, requests(answered + 2))
        assert isinstance(error, PrerequisiteError)
        assert len(got) == len(server.answered) == answered
        assert "gave no answer to the last 2 requests: given up after 3 attempts" in str(error)
        assert "HTTP 503: scripted 503" in str(error)
        assert "run the same command again when it works" in error.hint
        assert "`timeout_s`" in error.hint

    @pytest.mark.parametrize(
        ("key", "expected"),
        [
            (None, "wants a key, and there is none in OPENAI_API_KEY (HTTP 401: You need"),
            ("sk-wrong", "does not accept the key in OPENAI_API_KEY (HTTP 401: Incorrect"),
        ],
    )
    def test_unauthorised(
        self, key: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if key:
            monkeypatch.setenv("OPENAI_API_KEY", key)
        with served(key=KEY) as server:
            error, _ = fail(to(server), requests(30))
            assert len(server.bodies) < 30
            assert expected in str(error)
            assert "sk-wrong" not in str(error)
            with pytest.raises(PrerequisiteError, match="OPENAI_API_KEY"):
                listed_models(to(server))

    def test_an_unknown_model_is_answered_with_those_listed(self) -> None:
        with served(models=["scripted-judge", "other"]) as server:
            error, _ = fail(to(server, model="scripted-juge"), requests(2))
        assert "has no model 'scripted-juge'" in str(error)
        assert error.hint.startswith("did you mean 'scripted-judge'?")
        assert "other" in error.hint

    def test_a_wrong_path_is_told_from_an_unknown_model(self) -> None:
        with served() as server:
            astray = ChatServer(server.url.removesuffix("/v1"), MODEL, backoff_s=0.02)
            error, _ = fail(astray, requests(1))
        assert "there are no chat completions at" in str(error)
        assert "up to and with /v1" in error.hint

    @pytest.mark.parametrize("concurrency", [1, 4])
    def test_refusing_the_first_requests_ends_it(self, concurrency: int) -> None:
        """None of them is missing: a mended server is asked for all."""
        with served(always=400) as server:
            error, got = fail(to(server, concurrency=concurrency), requests(50))
            assert 5 <= len(server.bodies) < 5 + 5 * concurrency
        assert got == []
        assert isinstance(error, JudgeError)
        assert "refused the first 5 requests: HTTP 400: scripted 400" in str(error)

    @pytest.mark.parametrize("bad", [0, 1, 9])
    def test_a_refused_request_among_others_is_missing(self, bad: int) -> None:
        with served(faults=[None] * bad + [400]) as server:
            answers = ask(to(server, concurrency=1), requests(10))
        assert [answer.text is None for answer in answers] == [i == bad for i in range(10)]
        assert answers[bad].reason == "the server refused the request: HTTP 400: scripted 400"

    def test_a_few_refused_requests_that_alone_are_left_are_missing(self) -> None:
        """Of a long run resumed, say: prompts longer than the model takes."""
        with served(always=400) as server:
            assert [answer.text for answer in ask(to(server), requests(2))] == [None, None]

    @pytest.mark.parametrize(
        ("fault", "words"),
        [
            ("quota", "has no credit left"),
            ("tomorrow", "is over its rate limit (HTTP 429: daily limit) and asks to wait 86400 s"),
            ("down until tomorrow", "fails (HTTP 503: maintenance) and asks to wait 86400 s"),
        ],
    )
    def test_what_no_waiting_mends_ends_it_at_once(self, fault: str, words: str) -> None:
        with served(always=fault) as server:
            error, _ = fail(to(server, concurrency=1), requests(10))
            assert len(server.bodies) == 1
        assert words in str(error)

    def test_a_rate_limit_without_end(self) -> None:
        with served(always="429 at once") as server:
            error, _ = fail(to(server, attempts=4), requests(20))
            assert len(server.bodies) < 20 + 8  # of 20, 4 times each
        assert "over its rate limit (HTTP 429: rate limit)" in str(error)

    def test_leaving_early_stops_the_rest(self) -> None:
        """Ctrl-C, or an error of the caller: no further request is sent."""
        with served(delay_s=0.02) as server:
            answers = ChatClient(to(server, concurrency=2)).answers(requests(200))
            next(answers)
            answers.close()  # type: ignore[attr-defined]
            time.sleep(0.2)
            assert len(server.bodies) < 100


class TestAnswersWithoutValue:
    @pytest.mark.parametrize(
        ("made", "reason"),
        [
            (judge_server.choice(None, refusal="I cannot."), "the model refused: I cannot."),
            ({**judge_server.choice(""), "finish_reason": "content_filter"}, "content filter"),
            (judge_server.choice(None), "the answer has no text"),
            (judge_server.choice(""), "the answer has no text"),
        ],
    )
    def test_they_carry_a_reason_and_are_not_asked_again(self, made: Any, reason: str) -> None:
        with served(script=lambda body: made) as server:
            (answer,) = ask(to(server), requests(1))
            assert len(server.bodies) == 1
        assert answer.text is None
        assert reason in answer.reason

    @pytest.mark.parametrize(
        "logprobs", [None, {}, {"content": []}, {"content": [{"token": "m"}]}, {"content": None}]
    )
    def test_missing_logprobs_are_none(self, logprobs: Any) -> None:
        made = {**judge_server.choice("m"), "logprobs": logprobs}
        with served(script=lambda body: made) as server:
            (answer,) = ask(to(server), requests(1))
            counted = Usage(*list(judge_server.usage_of(server.bodies[0]).values())[:2])
        assert answer == ChatAnswer("m", None, model=MODEL, usage=counted)


class TestKey:
    def test_it_is_sent_from_the_named_variable_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-other")
        monkeypatch.setenv("JUDGE_KEY", f"{KEY}\n")
        with served(key=KEY) as server:
            ask(to(server, key_env="JUDGE_KEY"), requests(2))
            assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}

    def test_none_is_sent_where_none_is_set(self) -> None:
        with served() as server:
            ask(to(server), requests(1))
            assert "Authorization" not in server.headers[0]

    def test_it_is_neither_logged_nor_quoted(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-se cret")
        caplog.set_level(logging.DEBUG)
        error, _ = fail(ChatServer("http://127.0.0.1:9/v1", MODEL), requests(1))
        assert "OPENAI_API_KEY holds no API key" in str(error)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        with served(key=KEY) as server:
            error, _ = fail(to(server), requests(1))
        assert "sk-se" not in f"{error} {error.hint} {caplog.text}"


class TestServer:
    @pytest.mark.parametrize(
        ("endpoint", "host"),
        [
            ("https://api.openai.com/v1", "api.openai.com"),
            ("https://user:word@models.example:8443/v1/", "models.example"),
            ("http://localhost:8000/v1", "local"),
            ("http://127.0.0.1:8000/v1", "local"),
        ],
    )
    def test_the_host_is_all_that_is_told(self, endpoint: str, host: str) -> None:
        assert ChatServer(endpoint, MODEL).host == host

    def test_a_server_that_lists_no_models_lists_none(self) -> None:
        with served(models=None) as server:
            assert listed_models(to(server)) == []


def test_waits_double_and_start_again_after_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pacing, waits = Pacing(1.0), []
    for _ in range(7):
        pacing.failed()
        waits.append(pacing._resume_at - now[0])
        now[0] = pacing._resume_at
    for wait, longest in zip(waits, [1, 2, 4, 8, 16, 30, 30], strict=True):
        assert longest / 2 <= wait <= longest
    pacing.succeeded()
    assert pacing.failed() == 1


def test_after_a_failure_one_at_a_time_is_tried() -> None:
    pacing, lock = Pacing(0.0), threading.Lock()
    at_once = most = 0

    def send() -> None:
        nonlocal at_once, most
        with pacing.turn():
            with lock:
                at_once += 1
                most = max(most, at_once)
            time.sleep(0.02)
            with lock:
                at_once -= 1

    def most_at_once() -> int:
        nonlocal most
        most = 0
        threads = [threading.Thread(target=send) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return most

    pacing.failed()
    assert most_at_once() == 1
    pacing.succeeded()
    assert most_at_once() > 1
