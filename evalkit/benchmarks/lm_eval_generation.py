"""How lm-evaluation-harness asks for text, in the words of an Engine.

Imported lazily: it needs lm_eval.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs

from evalkit.errors import ScoreError
from evalkit.roles import Sampling

DEFAULT_MAX_GEN_TOKS = 256  # the harness's own
# Generation arguments that are answered here, those that matter only when sampling, and the
# values of others that change nothing.
_KNOWN = frozenset({"until", "do_sample", "temperature", "top_p", "max_gen_toks"})
_SAMPLING_ONLY = frozenset({"top_k", "min_p", "typical_p"})
_NEUTRAL = {"num_beams": 1, "repetition_penalty": 1.0, "top_k": 0, "min_p": 0.0, "typical_p": 1.0}


class Wish(NamedTuple):
    """How a response is drawn, and before which strings it is cut."""

    sampling: Sampling
    until: list[str]


def wish_of(arguments: Mapping[str, Any], end: str) -> Wish:
    """What a task's generation arguments ask for; `end` is the end-of-text token as text.

    Raises:
        ScoreError: an argument that would change the result and that engines do not have.
    """
    normal = normalize_gen_kwargs(dict(arguments), DEFAULT_MAX_GEN_TOKS)
    return Wish(_sampling(normal), handle_stop_sequences(normal["until"], eos=end))


def _sampling(arguments: Mapping[str, Any]) -> Sampling:
    sampled = bool(arguments.get("do_sample"))
    temperature = float(arguments.get("temperature", 0.0)) if sampled else 0.0
    if sampled and temperature == 0.0:
        raise ScoreError(
            "a task asks to sample at temperature 0",
            "set temperature, or do_sample: false, in its generation_kwargs",
        )
    for key, value in arguments.items():
        ignored = key in _KNOWN or (key in _SAMPLING_ONLY and not sampled)
        if not ignored and _NEUTRAL.get(key, object()) != value:
            raise ScoreError(
                f"a task asks for the generation argument {key}={value}, which engines do not have",
                "remove it from the task's generation_kwargs",
            )
    top_p = float(arguments.get("top_p", 1.0)) if sampled else 1.0
    return Sampling(temperature, top_p, int(arguments["max_gen_toks"]))
