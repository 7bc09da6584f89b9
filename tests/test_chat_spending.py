"""What requests cost, against a scripted server that counts what it charges; and budgets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import judge_server
import pytest
from judge_server import CHARGED, FAULTS, MODEL, JudgeServer, served

from evalkit.chat_client import (
    Budget,
    ChatClient,
    ChatRequest,
    ChatServer,
    Ledger,
    Price,
    Spent,
    Usage,
    about,
    at_most,
    client,
    describe,
    known_price,
    read_accounts,
)
from evalkit.chat_client.pacing import Pacing
from evalkit.errors import PrerequisiteError
from evalkit.records import Message

BODY = {"max_tokens": 1, "temperature": 1.0, "logprobs": True, "top_logprobs": 5}
PRICE = Price(2.0, 8.0, "a test")
EACH = Usage(7 + len("question 00") // 5, 1)  # what the server counts for one of the requests


def requests(count: int) -> list[ChatRequest]:
    return [ChatRequest((Message("user", f"question {i:02}"),), BODY, True) for i in range(count)]


def to(server: JudgeServer, **options: Any) -> ChatServer:
    return ChatServer(server.url, **{"model": MODEL, "backoff_s": 0.01, **options})


def bound(request: ChatRequest) -> Usage:
    found = at_most(request.messages, request.body)
    assert found is not None
    return found


class TestCounting:
    @pytest.mark.parametrize("fault", [None, *FAULTS])
    def test_all_that_is_charged_is_accounted_for(self, fault: str | None, tmp_path: Path) -> None:
        """Exactly, where the answer could be read; at its bound where the count was lost."""
        file = tmp_path / "spending.jsonl"
        with served(faults=[None, fault, None, fault]) as server:
            place = to(server, timeout_s=0.4 if fault == "slow" else 10.0, concurrency=2)
            ledger = Ledger(place.payee, PRICE, file=file)
            assert len(dict(ChatClient(place, ledger).answers(requests(10)))) == 10
            charged = Usage(*server.charged_tokens)
        spent = ledger.spent
        counted = {"no choices", "wrong model", "no logprobs"}
        extra = 2 if fault in CHARGED else 0
        assert spent.attempts == 10 + (extra if fault in counted else 0)
        # A page that is no answer was sent by something before the model: who knows.
        assert spent.uncounted == (2 if fault in CHARGED - counted | {"no json"} else 0)
        assert spent.usage == Usage(*(spent.attempts * one for one in EACH))
        assert charged == Usage(*((10 + extra) * one for one in EACH))
        assert spent.usage.tokens_in + spent.at_most.tokens_in >= charged.tokens_in
        assert spent.usage.tokens_out + spent.at_most.tokens_out >= charged.tokens_out
        assert read_accounts(file) == {place.payee: spent}

    def test_what_goes_wrong_here_may_have_been_charged_there(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(content: bytes) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(client, "parse", broken)
        with served() as server:
            place = to(server, concurrency=1)
            ledger = Ledger(place.payee, PRICE)
            with pytest.raises(ZeroDivisionError):
                dict(ChatClient(place, ledger).answers(requests(1)))
        assert (ledger.spent.attempts, ledger.spent.uncounted) == (0, 1)
        assert ledger.spent.at_most == bound(requests(1)[0])

    def test_accounts_go_on_where_they_were(self, tmp_path: Path) -> None:
        """And stay short: what was is one line."""
        file = tmp_path / "spending.jsonl"
        with served() as server:
            for count in (1, 2, 3):
                ledger = Ledger(to(server).payee, PRICE, file=file)
                dict(ChatClient(to(server), ledger).answers(requests(5)))
                assert ledger.spent.attempts == 5 * count
        assert len(file.read_text().splitlines()) == 1 + 2 * 5

    def test_models_do_not_mix(self, tmp_path: Path) -> None:
        file = tmp_path / "spending.jsonl"
        for payee, usage in (("a at x", Usage(5, 1)), ("b at x", Usage(7, 2)), ("a at x", EACH)):
            ledger = Ledger(payee, None, file=file)
            entry = ledger.open(usage, lambda: False)
            assert entry is not None
            ledger.close(entry, usage)
        accounts = read_accounts(file)
        assert accounts["a at x"].usage == Usage(5 + EACH.tokens_in, 2)
        assert accounts["b at x"].usage == Usage(7, 2)

    def test_what_a_kill_cut_off_keeps_its_bound(self, tmp_path: Path) -> None:
        """SIGKILL with requests under way: they may have been charged for."""
        file = tmp_path / "spending.jsonl"
        code = (
            "import sys; sys.path.insert(0, sys.argv[3]); from test_chat_spending import *\n"
            "place = ChatServer(sys.argv[1], MODEL, concurrency=3)\n"
            "ledger = Ledger(place.payee, file=Path(sys.argv[2]))\n"
            "for one in ChatClient(place, ledger).answers(requests(50)): print(one[0], flush=True)"
        )
        with served(faults=[None] * 6, always="hang") as server:
            words = [sys.executable, "-c", code, server.url, str(file), str(Path(__file__).parent)]
            with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                for _ in range(6):
                    process.stdout.readline()
                while len(server.bodies) < 9:
                    time.sleep(0.01)
                os.kill(process.pid, signal.SIGKILL)
        (spent,) = read_accounts(file).values()
        assert (spent.attempts, spent.uncounted) == (6, 3)
        assert spent.at_most == Usage(*(3 * one for one in bound(requests(1)[0])))

    def test_a_line_cut_short_is_passed_over(self, tmp_path: Path) -> None:
        file = tmp_path / "spending.jsonl"
        file.write_text(json.dumps({"payee": "p", "carried": [1, [2, 3], 0, [0, 0]]}) + '\n{"open')
        assert read_accounts(file) == {"p": Spent(1, Usage(2, 3))}


class TestBudget:
    def spend(self, server: JudgeServer, file: Path, budget: Budget, got: dict[int, Any]) -> None:
        """Asks for what is not in `got` yet."""
        left = [index for index in range(20) if index not in got]
        ledger = Ledger(to(server).payee, PRICE, budget, file)
        asked = [requests(20)[index] for index in left]
        for place, answer in ChatClient(to(server, concurrency=4), ledger).answers(asked):
            got[left[place]] = answer

    @pytest.mark.parametrize("kind", ["tokens", "usd"])
    def test_it_is_not_exceeded_and_going_on_charges_nothing_twice(
        self, kind: str, tmp_path: Path
    ) -> None:
        file, got, most = tmp_path / "spending.jsonl", {}, bound(requests(1)[0])
        tokens = 9 * sum(EACH) + sum(most)  # nine, and room for the bound of one more
        usd = PRICE.usd(Usage(*(9 * one for one in EACH))) + PRICE.usd(most)
        budget = Budget(tokens=tokens) if kind == "tokens" else Budget(usd=usd)
        with served() as server:
            with pytest.raises(PrerequisiteError, match="might exceed the budget") as error:
                self.spend(server, file, budget, got)
            assert f"raise `budget_{kind}` and run the same command again" in error.value.hint
            spent = Usage(*server.charged_tokens)
            assert sum(spent) <= tokens
            assert len(got) == sum(server.answered.values()) == 10
            self.spend(server, file, Budget(tokens=10**6), got)
            assert len(got) == 20
            assert set(server.charged.values()) == {1}
            assert read_accounts(file)[to(server).payee].usage == Usage(*server.charged_tokens)

    def test_attempts_without_a_count_use_it_up_at_their_bound(self, tmp_path: Path) -> None:
        most = sum(bound(requests(1)[0]))
        with served(always="cut midway") as server:
            with pytest.raises(PrerequisiteError, match="might exceed the budget of"):
                self.spend(server, tmp_path / "s", Budget(tokens=3 * most + 5), {})
            assert len(server.bodies) == 3

    def test_errors_use_up_nothing(self, tmp_path: Path) -> None:
        got: dict[int, Any] = {}
        tokens = 20 * sum(EACH) + sum(bound(requests(1)[0]))
        with served(faults=["429 at once", "500", "503"] * 3) as server:
            self.spend(server, tmp_path / "s", Budget(tokens=tokens), got)
        assert len(got) == 20

    def test_the_cheaper_of_two_limits_holds(self) -> None:
        ledger = Ledger("p", PRICE, Budget(usd=1.0, tokens=10))
        with pytest.raises(PrerequisiteError, match="the budget of 10 tokens"):
            ledger.open(Usage(11, 0), lambda: False)
        ledger = Ledger("p", PRICE, Budget(usd=1e-5, tokens=10))
        with pytest.raises(PrerequisiteError, match=r"the budget of \$1e-05"):
            ledger.open(Usage(10, 0), lambda: False)


class TestTokens:
    def test_a_bound_holds_for_byte_level_tokens(self, tiny_llama: Path) -> None:
        """Every byte a token, and the template's marks: still within."""
        from evalkit.loading import load_tokenizer

        tokenizer = load_tokenizer(tiny_llama)
        text = "Grüße! 你好 \U0001f600 " * 20
        ids = tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=True)
        ids = ids["input_ids"] if hasattr(ids, "keys") else ids
        assert len(ids) <= bound(ChatRequest((Message("user", text),), BODY)).tokens_in

    @pytest.mark.parametrize(
        ("body", "tokens_out"),
        [
            ({"max_tokens": 5}, 5),
            ({"max_completion_tokens": 7}, 7),
            ({"max_tokens": 5, "n": 3}, 15),
        ],
    )
    def test_the_answer_is_bounded_by_what_is_asked(self, body: Any, tokens_out: int) -> None:
        found = at_most((), body)
        assert found is not None
        assert found.tokens_out == tokens_out

    def test_nothing_bounds_an_answer_without_a_limit(self) -> None:
        assert at_most((Message("user", "x"),), {"temperature": 1}) is None
        assert about((Message("user", "x" * 48),), {}) == Usage(10, 0)

    @pytest.mark.parametrize("model", ["phi-2", "gemma-2b-it"])
    def test_the_estimate_against_what_was_charged_for_published_judgments(
        self, shared: Path, model: str
    ) -> None:
        """Real totals of GPT-4-turbo over 805 instructions: within 3 %."""
        from evalkit.judges.annotator import read_annotator
        from evalkit.records import Prompt
        from evalkit.roles import PairRequest

        pytest.importorskip("alpaca_eval")
        file = f"golden/alpaca_raw/{model}/weighted_alpaca_eval_gpt4_turbo/annotations.json"
        rows = [row for row in json.loads((shared / file).read_text()) if row["raw_completion"]]
        annotator = read_annotator("weighted_alpaca_eval_gpt4_turbo")
        estimated = charged = 0
        for row in rows:
            prompt = Prompt("", (Message("user", row["instruction"]),))
            messages = annotator.filled(PairRequest(prompt, row["output_1"], row["output_2"]))
            estimated += sum(about(messages, annotator.body))
            total = int(row["raw_completion"]["total_tokens"])
            assert total <= sum(bound(ChatRequest(messages, annotator.body)))
            charged += total
        assert abs(estimated / charged - 1) < 0.03


class TestPrices:
    def test_the_table_is_of_one_host(self) -> None:
        price = known_price("gpt-4.1-2025-04-14", "api.openai.com")
        assert price is not None
        assert price.usd(Usage(1_000_000, 1_000_000)) == 10.0
        assert "table of 2026" in price.source
        assert known_price("gpt-4.1-2025-04-14", "local") is None
        assert known_price("nobody's", "api.openai.com") is None

    def test_what_is_not_known_is_said(self) -> None:
        spent = Spent(2, Usage(1500, 2), 1, Usage(300, 1))
        assert describe(spent, None) == (
            "2 requests, 1,500 tokens in, 2 out, price not known; "
            "1 more came back without a count: at most 301 tokens on top"
        )
        assert "$0.0030; 1 more" in describe(spent, PRICE)
        assert "at most 301 tokens, $0.0006, on top" in describe(spent, PRICE)


def test_a_rate_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each request waits until its turn has come; waiting is all that moves the clock here."""
    now, sent = [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    pacing = Pacing(1.0, per_minute=120)

    def wait(seconds: float | None = None) -> bool:
        assert seconds is not None
        now[0] += seconds
        return False

    monkeypatch.setattr(pacing._changed, "wait", wait)
    for _ in range(4):
        with pacing.turn() as may_send:
            assert may_send
            sent.append(now[0])
    assert sent == [100.0, 100.5, 101.0, 101.5]


def test_usage_in_other_shapes_is_none() -> None:
    from evalkit.chat_client.answer import parse

    made = {"choices": [judge_server.choice("m")]}
    for usage in (None, {}, 3, {"prompt_tokens": "7"}, {"prompt_tokens": -1}):
        assert parse(json.dumps({**made, "usage": usage}).encode()).usage is None
    found = parse(json.dumps({**made, "usage": {"prompt_tokens": 7}}).encode())
    assert found.usage == Usage(7, 0)
