"""The words of the harness's documents, for finding them in training texts.

Imported lazily: it needs lm_eval.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from lm_eval.evaluator_utils import get_sample_size
from lm_eval.utils import apply_template

from evalkit.roles import EvaluationItem


def items_of(tasks: Mapping[str, Any], limit: float | None) -> Iterator[EvaluationItem]:
    """Every document that the tasks ask, under the id that its sample has.

    tasks: loaded, by name. limit: as `simple_evaluate` takes it.
    """
    for name, task in tasks.items():
        taken = get_sample_size(task, limit)
        for number, doc in task.doc_iterator(rank=0, limit=taken, world_size=1):
            yield EvaluationItem(str(number), name, tuple(_forms(task, doc)))


def _forms(task: Any, doc: Any) -> Iterator[str]:
    """The question with each of its choices, else with its answer; examples are not among it."""
    target = task.doc_to_target(doc)
    if task.OUTPUT_TYPE == "multiple_choice":
        choices = task.doc_to_choice(doc)
        if getattr(task, "multiple_input", 0):  # the choices stand before what is scored
            yield from (f"{choice} {target}" for choice in choices)
        else:
            question = _question(task, doc)
            yield from (f"{question} {choice}" for choice in choices)
        return
    question = "" if task.OUTPUT_TYPE == "loglikelihood_rolling" else _question(task, doc)
    answers = target if isinstance(target, list) else [target]
    yield from (f"{question} {answer}".strip() for answer in answers or [""])


def _question(task: Any, doc: Any) -> str:
    """What the task itself says to look for, as its prompt may hold more (TruthfulQA's examples).

    The harness's own `doc_to_decontamination_query` fails on templates (release 0.4.13), which ARC
    has.
    """
    query = getattr(task.config, "doc_to_decontamination_query", None)
    if not getattr(task.config, "should_decontaminate", False) or query is None:
        return str(task.doc_to_text(doc))
    if callable(query):
        return str(query(doc))
    return str(doc[query] if query in task.features else apply_template(query, doc))
