"""What requests have cost, written down as they are sent, and a budget that is not exceeded.

Every attempt is entered before it is sent, with the most that it can cost, and closed with what
the server counted. One that no count came back for, or that a kill cut off, keeps its bound.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.chat_client.prices import Price
from evalkit.chat_client.usage import Usage
from evalkit.durable import write_text
from evalkit.errors import PrerequisiteError

WAIT_S = 0.05  # between two looks whether all was stopped
NOTHING = Usage(0, 0)


class Budget(NamedTuple):
    """The most that may be spent on one model in one run; None is no limit."""

    usd: float | None = None
    tokens: int | None = None


class Spent(NamedTuple):
    """What was charged, by the server's own count, and what may have been.

    attempts: that the server counted the tokens of. uncounted: attempts that reached it and came
        back without a count (a timeout, a cut connection, a kill); `at_most` bounds their tokens.
    """

    attempts: int = 0
    usage: Usage = NOTHING
    uncounted: int = 0
    at_most: Usage = NOTHING

    def counted(self, usage: Usage) -> Spent:
        """With one more attempt that was counted."""
        return self._replace(attempts=self.attempts + 1, usage=_sum(self.usage, usage))

    def bounded(self, bound: Usage | None) -> Spent:
        """With one more attempt that was not."""
        return self._replace(
            uncounted=self.uncounted + 1, at_most=_sum(self.at_most, bound or NOTHING)
        )


class Ledger:
    """The account of one model, for any number of threads of one process.

    payee: the model and its host; of a file with several, only its own lines are read.
    file: where it is kept, across restarts; None keeps it in memory. Lines are handed to the
        operating system one by one: a kill loses none, a power cut may.
    """

    def __init__(
        self,
        payee: str,
        price: Price | None = None,
        budget: Budget = Budget(),  # noqa: B008 - it is immutable
        file: Path | None = None,
    ) -> None:
        self.payee, self.price, self.budget = payee, price, budget
        self._changed = threading.Condition()
        self._open: dict[str, Usage | None] = {}
        self._file = file
        self._spent = Spent()
        if file is not None:
            accounts = read_accounts(file)
            self._spent = accounts.get(payee, Spent())
            _write_accounts(file, accounts)

    @property
    def spent(self) -> Spent:
        """What was spent so far, attempts under way left out."""
        return self._spent

    def open(self, bound: Usage | None, is_stopped: Callable[[], bool]) -> str | None:
        """Enters an attempt that is about to be sent; None if all is stopped meanwhile.

        While others under way might turn out cheaper than their bound, it waits for them.

        Raises:
            PrerequisiteError: it might exceed the budget.
        """
        with self._changed:
            while not is_stopped():
                exceeded = self._exceeded(bound)
                if not exceeded:
                    entry = secrets.token_hex(8)
                    self._open[entry] = bound
                    self._note({"open": entry, "payee": self.payee, "at_most": bound})
                    return entry
                if not self._open:
                    raise self._stop(exceeded)
                self._changed.wait(WAIT_S)
        return None

    def close(self, entry: str, usage: Usage | None) -> None:
        """Closes an attempt with the server's count, None where it gave none."""
        with self._changed:
            bound = self._open.pop(entry)
            self._spent = (
                self._spent.bounded(bound) if usage is None else self._spent.counted(usage)
            )
            self._note({"close": entry, "usage": usage})
            self._changed.notify_all()

    def cancel(self, entry: str) -> None:
        """Closes an attempt that was not charged: the server did not get it, or turned it down."""
        with self._changed:
            del self._open[entry]
            self._note({"cancel": entry})
            self._changed.notify_all()

    def _exceeded(self, bound: Usage | None) -> str:
        """Which limit the attempt might exceed, as the option is called; empty where none."""
        if self.budget == Budget():
            return ""
        usage = _sum(self._spent.usage, self._spent.at_most)
        for one in (*self._open.values(), bound):
            usage = _sum(usage, one or NOTHING)
        if self.budget.tokens is not None and sum(usage) > self.budget.tokens:
            return "budget_tokens"
        if self.budget.usd is not None and self.price and self.price.usd(usage) > self.budget.usd:
            return "budget_usd"
        return ""

    def _stop(self, option: str) -> PrerequisiteError:
        limit = {
            "budget_tokens": f"{self.budget.tokens} tokens",
            "budget_usd": f"${self.budget.usd:g}" if self.budget.usd is not None else "",
        }[option]
        return PrerequisiteError(
            f"the next request to {self.payee} might exceed the budget of {limit}: "
            f"{describe(self._spent, self.price)}",
            f"what was answered is kept: raise `{option}` and run the same command again",
        )

    def _note(self, line: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, (json.dumps(line) + "\n").encode())
        finally:
            os.close(descriptor)


def describe(spent: Spent, price: Price | None) -> str:
    """`805 requests, 774,303 tokens in, 805 out, $7.77`, and what is not known."""
    words = [
        f"{spent.attempts:,} request{'' if spent.attempts == 1 else 's'}",
        f"{spent.usage.tokens_in:,} tokens in",
        f"{spent.usage.tokens_out:,} out",
        "price not known" if price is None else f"${price.usd(spent.usage):,.4f}",
    ]
    text = ", ".join(words)
    if spent.uncounted:
        most = "" if price is None else f", ${price.usd(spent.at_most):,.4f},"
        text += (
            f"; {spent.uncounted} more came back without a count:"
            f" at most {sum(spent.at_most):,} tokens{most} on top"
        )
    return text


def read_accounts(file: Path) -> dict[str, Spent]:
    """What was spent on each payee, by a file that a ledger keeps; attempts cut off keep bounds."""
    accounts: dict[str, Spent] = {}
    under_way: dict[str, tuple[str, Usage | None]] = {}
    for line in _lines(file):
        if "open" in line:
            bound = line.get("at_most")
            under_way[line["open"]] = (line["payee"], Usage(*bound) if bound else None)
        elif "carried" in line:
            attempts, usage, uncounted, most = line["carried"]
            accounts[line["payee"]] = Spent(attempts, Usage(*usage), uncounted, Usage(*most))
        elif "close" in line and line["close"] in under_way:
            payee, bound_of = under_way.pop(line["close"])
            spent, usage = accounts.get(payee, Spent()), line["usage"]
            accounts[payee] = spent.counted(Usage(*usage)) if usage else spent.bounded(bound_of)
        elif "cancel" in line:
            under_way.pop(line["cancel"], None)
    for payee, bound_of in under_way.values():
        accounts[payee] = accounts.get(payee, Spent()).bounded(bound_of)
    return accounts


def _write_accounts(file: Path, accounts: Mapping[str, Spent]) -> None:
    """A line per payee: the file stays short however often a run goes on."""
    if accounts:
        lines = [{"payee": payee, "carried": spent} for payee, spent in sorted(accounts.items())]
        write_text(file, "".join(json.dumps(line) + "\n" for line in lines))


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    content = file.read_bytes() if file.exists() else b""
    for line in content.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue  # a kill's last line
        if isinstance(value, dict):
            yield value


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(one.tokens_in + other.tokens_in, one.tokens_out + other.tokens_out)
