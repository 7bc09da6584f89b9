"""How the answers of alpaca_eval's annotators are read: its parsers by name, of our own making.

A parser gives for each example in an answer 1 (the first output is better), 2 (the second is),
0 (neither), or a number between 1 and 2. What it cannot read is missing, with a reason.

Source: tatsu-lab/alpaca_eval, completion_parsers.py (release 0.6.6), without importing it.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from evalkit.chat_client import ChatAnswer
from evalkit.errors import RecipeError, did_you_mean
from evalkit.roles import Verdict

# Beyond it a probability is 0 or 1 in double precision: what alpaca_eval gives where one of two
# tokens is not among the top ones, which it takes for a log-probability of minus infinity.
CERTAIN = 40.0
LOGPROB_PARSER = "logprob_parser"
FIRST, SECOND, DRAW = 1.0, 2.0, 0.0
_FENCED = re.compile(r"```json(.*?)```", re.DOTALL)
Text = Callable[[Any], list[Any]]


class UnreadableError(ValueError):
    """An answer that a parser finds no preference in; says why."""


def text_parser(name: str | None, arguments: Mapping[str, Any]) -> Callable[[str], float]:
    """The parser of a configuration that reads text: one preference, 1 to 2, or 0.

    Raises:
        RecipeError: there is no such parser here, or not with such arguments.
    """
    parsers = list(_parsers(name or "regex_parser", arguments))

    def parse(text: str) -> float:
        values: list[Any] = [text]
        for one in parsers:
            values = [found for value in values for found in one(value)]
        if len(values) != 1:
            raise UnreadableError(f"{len(values)} preferences, not one")
        return _preference(values[0])

    return parse


def text_verdict(answer: ChatAnswer, parse: Callable[[str], float]) -> Verdict:
    """The logit of a preference that stands in the answer's text."""
    if answer.text is None:
        return Verdict(None, answer.reason)
    try:
        preference = parse(answer.text)
    except (UnreadableError, ValueError, TypeError, KeyError, SyntaxError, RecursionError) as error:
        reason = f"no preference in {answer.text!r:.80}: {type(error).__name__} {error}"
        return Verdict(None, reason[:200])
    if preference == DRAW:
        return Verdict(0.0)
    return Verdict(logit(2 - preference))


def logprob_verdict(answer: ChatAnswer, arguments: Mapping[str, Any]) -> Verdict:
    """The logit that the first output is better, by the probabilities of two or more tokens.

    A token that is not among the top ones has probability 0, so another one is certain; where
    none is there the judgement is missing. `log_prob_index`: which token of the answer decides;
    by default its first (of alpaca_eval's configurations those have one token alone).
    """
    top = deciding(answer, arguments)
    if top is None:
        if answer.text is None:
            return Verdict(None, answer.reason)
        return Verdict(None, "the server gave no log-probabilities (see the option `logprobs`)")
    first = top.get(arguments["numerator_token"], -math.inf)
    others = [
        top.get(token, -math.inf)
        for token in arguments["denominator_tokens"]
        if token != arguments["numerator_token"]
    ]
    if first == -math.inf and all(other == -math.inf for other in others):
        words = " nor ".join(_tokens(arguments))
        tokens: Sequence[str] = sorted(top, key=lambda token: -top[token])
        return Verdict(None, f"neither {words} is among the top tokens {tokens!r:.80}")
    if arguments.get("is_binarize", True):
        return Verdict(CERTAIN if all(first > other for other in others) else -CERTAIN)
    return Verdict(max(-CERTAIN, min(CERTAIN, first - _log_sum(others))))


def deciding(answer: ChatAnswer, arguments: Mapping[str, Any]) -> Mapping[str, float] | None:
    """The log-probabilities at the token that decides; None where the answer has none."""
    place = arguments.get("log_prob_index", 0)
    place = 0 if place == "batch" else place
    count = len(answer.logprobs or ())
    return answer.logprobs[place] if answer.logprobs and -count <= place < count else None


def token_verdict(answer: ChatAnswer, arguments: Mapping[str, Any]) -> Verdict:
    """Where there are no log-probabilities: the token itself decides, for certain."""
    if answer.text is None:
        return Verdict(None, answer.reason)
    said, tokens = answer.text.strip(), _tokens(arguments)
    if said not in tokens:
        return Verdict(None, f"the answer is neither {' nor '.join(tokens)}: {said!r:.80}")
    return Verdict(CERTAIN if said == arguments["numerator_token"] else -CERTAIN)


def logit(probability: float) -> float:
    """Log-odds, kept within what a double can tell from certainty."""
    if probability <= 0 or probability >= 1:
        return CERTAIN if probability >= 1 else -CERTAIN
    return max(-CERTAIN, min(CERTAIN, math.log(probability) - math.log1p(-probability)))


def _tokens(arguments: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([arguments["numerator_token"], *arguments["denominator_tokens"]]))


def _log_sum(values: Sequence[float]) -> float:
    most = max(values, default=-math.inf)
    if most == -math.inf:
        return most
    return most + math.log(sum(math.exp(value - most) for value in values))


def _parsers(name: str, arguments: Mapping[str, Any]) -> Iterator[Text]:
    if name == "pipeline_meta_parser":
        for inner, inner_arguments in arguments["parsers_to_kwargs"].items():
            yield from _parsers(inner, inner_arguments or {})
        return
    if name not in PARSERS:
        raise RecipeError(f"there is no parser '{name}'", did_you_mean(name, PARSERS))
    try:
        yield PARSERS[name](**arguments)
    except (TypeError, re.error) as error:
        raise RecipeError(f"the parser {name} has other arguments: {error}") from error


def _preference(value: Any) -> float:
    if isinstance(value, int | float) and (value == DRAW or FIRST <= value <= SECOND):
        return float(value)
    raise UnreadableError(f"{value!r:.40} is no preference")


def _regex_parser(outputs_to_match: Mapping[Any, str]) -> Text:
    """The keys of the patterns, in the order in which these are found."""
    patterns = {key: re.compile(pattern) for key, pattern in outputs_to_match.items()}

    def parse(text: str) -> list[Any]:
        found: list[Any] = []
        start = 0
        while True:
            # Cut rather than searched from a place: `^` is to match where a text begins.
            rest = text[start:]
            matches = {key: match for key, one in patterns.items() if (match := one.search(rest))}
            if not matches:
                return found
            key = min(matches, key=lambda key: matches[key].start())
            if not matches[key].end():
                raise UnreadableError("a pattern matches nothing")
            found.append(key)
            start += matches[key].end()

    return parse


def _ranking_parser(model_1_name: str = "model_1") -> Text:
    """The rank of the first model in a list of {model, rank}."""

    def parse(value: Any) -> list[Any]:
        rows = ast.literal_eval(value) if isinstance(value, str) else value
        ranks = [row["rank"] for row in rows if row["model"] == model_1_name]
        if not ranks or ranks[0] not in (FIRST, SECOND):
            raise UnreadableError(f"{model_1_name} has neither rank 1 nor 2")
        return [ranks[0]]

    return parse


def _lmsys_parser() -> Text:
    """Two scores in the first line, the higher one wins."""

    def parse(text: str) -> list[Any]:
        words = text.split("\n")[0].replace(",", " ").split(" ")
        if len(words) != 2:
            raise UnreadableError("the first line is not two scores")
        first, second = map(float, words)
        return [FIRST if first > second else SECOND if first < second else DRAW]

    return parse


def _json_parser(annotation_key: str | None) -> Text:
    """The values under a key, of one JSON object or of each in a list."""

    def parse(text: str) -> list[Any]:
        fenced = _FENCED.search(text)
        value = json.loads(fenced[1] if fenced else text)
        rows = [value] if isinstance(value, Mapping) else value
        return [row if annotation_key is None else row[annotation_key] for row in rows]

    return parse


PARSERS: Mapping[str, Callable[..., Text]] = {
    "regex_parser": _regex_parser,
    "ranking_parser": _ranking_parser,
    "lmsys_parser": _lmsys_parser,
    "json_parser": _json_parser,
}
