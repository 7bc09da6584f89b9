"""vLLM inside this process, where it can be imported: `LLM.generate` with token ids."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evalkit.engines.vllm_client import Call, Sampled


class InProcess:
    """One `vllm.LLM`, made when it is first asked.

    arguments: of `vllm.LLM`, beside the model. environment: variables that vLLM reads.
    """

    def __init__(self, arguments: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._arguments, self._environment = dict(arguments), dict(environment)
        self._llm: Any = None
        self._weights = ""
        self._asleep = False

    def complete(
        self, calls: Sequence[Call], weights: str, concurrency: int
    ) -> Iterator[tuple[int, list[Sampled]]]:
        """The continuations of each call by the checkpoint folder `weights`, with its index."""
        for start in range(0, len(calls), concurrency):
            batch = calls[start : start + concurrency]
            yield from enumerate(self._generated(batch, weights), start=start)

    def _generated(self, calls: Sequence[Call], weights: str) -> list[list[Sampled]]:
        os.environ.update(self._environment)
        from vllm import SamplingParams, TokensPrompt

        outputs = self._opened(weights).generate(
            [TokensPrompt(prompt_token_ids=list(call.prompt_token_ids)) for call in calls],
            [SamplingParams(**call.sampling) for call in calls],
            use_tqdm=False,
        )
        return [
            [Sampled(tuple(one.token_ids), str(one.finish_reason)) for one in output.outputs]
            for output in outputs
        ]

    def rest(self) -> None:
        """Gives the GPU's memory back, the weights kept in main memory if it can be."""
        if self._llm is not None and not self._asleep:
            if self._arguments.get("enable_sleep_mode"):
                self._llm.sleep(level=1)
                self._asleep = True
            else:
                self.stop()

    def stop(self) -> None:
        """Drops the model."""
        self._llm, self._asleep = None, False
        gc.collect()

    def _opened(self, weights: str) -> Any:
        from vllm import LLM

        if self._llm is not None and self._weights != weights:
            self.stop()
        if self._llm is not None and self._asleep:
            self._llm.wake_up()
            self._asleep = False
        if self._llm is None:
            self._llm, self._weights = LLM(model=weights, **self._arguments), weights
        return self._llm
