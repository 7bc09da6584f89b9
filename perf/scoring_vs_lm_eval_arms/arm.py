"""One arm on one task, alone in its process: `scoring_vs_lm_eval.py` starts it.

Prints one JSON line: the best time of some passes, peak memory above the loaded model in the first
of them, the answers, and how many tokens the requests and their prefix tree have.
"""

import argparse
import gc
import json
import logging
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from measuring.meter import Meter


def model_of(arguments: argparse.Namespace) -> Any:
    """The harness's `hf` model with a batch size, or ours."""
    if arguments.arm == "evalkit":
        from evalkit.benchmarks.lm_eval_tasks import ScoringLM

        return ScoringLM(
            arguments.model_folder,
            device=arguments.device,
            dtype=arguments.dtype,
            token_budget=arguments.token_budget,
        )
    from lm_eval.models.huggingface import HFLM

    softmax = "float32" if arguments.dtype != "float32" else None
    return HFLM(
        arguments.model_folder,
        device=arguments.device,
        dtype=arguments.dtype,
        softmax_dtype=softmax,
        batch_size=int(arguments.arm.removeprefix("hf_")),
    )


def tree_of(model: Any, asked: list[list[str]]) -> dict[str, int]:
    """Tokens of the requests: all, with single-token choices of a context merged, and as a tree."""
    from evalkit.scoring.layout import common_prefix_length

    pairs = [model._encode_pair(context, continuation) for _, context, continuation in asked]
    sequences = [tuple(context + continuation[:-1]) for context, continuation in pairs]
    merged = sorted(set(sequences))
    tree, latest = 0, merged[0][:0]
    for sequence in merged:
        tree += len(sequence) - common_prefix_length(latest, sequence)
        latest = sequence
    return {"all": sum(map(len, sequences)), "merged": sum(map(len, merged)), "tree": tree}


def main() -> None:
    """Runs one arm and prints what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("arm")
    parser.add_argument("model_folder")
    parser.add_argument("requests", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--token-budget", type=int)
    parser.add_argument("--passes", type=int, default=2)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    asked = json.loads(arguments.requests.read_text())
    instances = [
        Instance("loglikelihood", {}, (context, continuation), 0, (document, 0, 1))
        for document, context, continuation in asked
    ]
    model = model_of(arguments)
    model.loglikelihood(instances[:1], disable_tqdm=True)  # kernels are chosen, libraries loaded
    gc.collect()
    meter = Meter(arguments.device)
    answers: list[Any] = []
    seconds = []
    for _ in range(arguments.passes):
        answers.clear()
        seconds.append(meter.seconds(lambda: answers.extend(
            model.loglikelihood(instances, disable_tqdm=True))))  # fmt: skip
        if len(seconds) == 1:
            peak = meter.peak_bytes()
    found = {"seconds": min(seconds), "peak_bytes": peak, "answers": answers}
    if arguments.arm == "evalkit":
        found["tokens"] = tree_of(model, asked)
    print(json.dumps({"arm": arguments.arm, "threads": torch.get_num_threads(), **found}))


if __name__ == "__main__":
    main()
