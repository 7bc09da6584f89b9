"""Conversations of two turns, held with a model as MT-Bench has them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from evalkit.fingerprint import derive_seed
from evalkit.records import Message, Question, Response
from evalkit.rendering import prompt_token_ids
from evalkit.roles import BenchmarkContext, Engine, GenerationRequest, Sampling

# Source: lm-sys/FastChat, fastchat/llm_judge/common.py (release 0.2.36).
TEMPERATURES = {
    "writing": 0.7,
    "roleplay": 0.7,
    "extraction": 0.0,
    "math": 0.0,
    "coding": 0.0,
    "reasoning": 0.0,
    "stem": 0.1,
    "humanities": 0.1,
}


def temperature(category: str) -> float:
    """The published sampling temperature of a category; greedy for those MT-Bench does not have."""
    return TEMPERATURES.get(category, 0.0)


def converse(
    engine: Engine,
    questions: Sequence[Question],
    max_new_tokens: int,
    context: BenchmarkContext,
) -> list[list[Response]]:
    """The model's answers to every turn, all questions of one temperature at a time."""
    held: list[list[Response]] = [[] for _ in questions]
    groups: dict[float, list[int]] = defaultdict(list)
    for index, question in enumerate(questions):
        groups[temperature(question.category)].append(index)
    for turn in range(max(len(question.turns) for question in questions)):
        for degrees, members in groups.items():
            indices = [i for i in members if turn < len(questions[i].turns)]
            requests = [
                GenerationRequest(
                    prompt_token_ids(context.tokenizer, _messages(questions[i], held[i])),
                    seed=derive_seed(context.seed, "mt_bench", questions[i].id, turn),
                )
                for i in indices
            ]
            sampling = Sampling(degrees, 1.0, max_new_tokens)
            answers = engine.generate(requests, sampling, context.progress) if requests else []
            for i, answer in zip(indices, answers, strict=True):
                held[i].append(answer[0])
    return held


def _messages(question: Question, answers: Sequence[Response]) -> list[Message]:
    messages = []
    for turn, answer in zip(question.turns, answers, strict=False):
        messages += [Message("user", turn.content), Message("assistant", answer.text)]
    return [*messages, Message("user", question.turns[len(answers)].content)]
