"""Tokens per second of the vllm engine against vLLM itself, and against the transformers engine.

The same prompts (lengths of UltraFeedback), K responses each, in one run, taking turns. vLLM
itself is `LLM.generate` in a process of vLLM's own environment, without evalkit.

    python perf/generation.py                          # a random 20 M-parameter Llama on a CPU
    python perf/generation.py --model ../Mistral-7B --prompts 512 --max-new-tokens 512
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from measuring import record

ROOT = Path(__file__).parent.parent
CLAIMED = 0.9  # of vLLM's own throughput
RAW, VLLM, PLAIN = "LLM.generate", "evalkit vllm", "evalkit transformers"


class Work(NamedTuple):
    """What every arm generates, and with which arguments of vLLM."""

    model: str
    prompts: list[list[int]]
    samples: int
    max_new_tokens: int
    llm_arguments: dict[str, Any]


Arm = Callable[[], int]  # generates everything; returns the number of tokens


def main() -> None:
    """Measures, prints the table, and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a checkpoint folder; default a random Llama")
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--max-new-tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=ROOT / "perf/results/generation.json")
    parser.add_argument("--raw", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.raw is not None:
        serve_raw(Work(**json.loads(arguments.raw.read_text())))
        return
    with tempfile.TemporaryDirectory() as folder:
        lines = measured(arguments, Path(folder))
    print(table(lines))
    report = {
        "work": {
            "model": str(arguments.model or "random Llama, 20 M parameters, fp32"),
            "prompts": arguments.prompts,
            "samples": arguments.samples,
            "max_new_tokens": arguments.max_new_tokens,
        },
        "tokens_per_second": lines,
        "ratios": ratios(lines),
    }
    record.keep(arguments.json, report)


def measured(arguments: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Tokens per second of each arm in each round."""
    from evalkit.engines.vllm import VllmEngine
    from evalkit.engines.vllm_environment import find_installed
    from evalkit.loading import config_of, stored_dtype

    model = arguments.model or random_model(folder / "model")
    engine = VllmEngine(VllmEngine.Options(mode="server"))
    installed = find_installed(None)
    own = engine.options.llm_arguments(stored_dtype(config_of(model)), installed.on_cpu)
    work = Work(
        str(model), prompts(model, arguments.prompts), arguments.samples,
        arguments.max_new_tokens, own,
    )  # fmt: skip
    raw = raw_process(installed.python, work, folder)
    arms = {RAW: raw_arm(raw), VLLM: engine_arm(engine, work), PLAIN: plain_arm(work)}
    lines: dict[str, list[float]] = {name: [] for name in arms}
    try:
        for arm in arms.values():
            arm()  # starts, compiles and warms up
        for _ in range(arguments.rounds):
            for name, arm in arms.items():
                start = time.perf_counter()
                lines[name].append(round(arm() / (time.perf_counter() - start), 1))
                print(f"{name}: {lines[name][-1]}", file=sys.stderr)
    finally:
        raw.communicate()  # the end of its input is its end
        engine.close()
    return lines


def random_model(folder: Path) -> Path:
    """The random Llama that training is measured on too."""
    from training_vs_trl_arms.world import write_model

    write_model(folder, "20m", "float32")
    return folder


def prompts(model: Path, count: int) -> list[list[int]]:
    """Random token ids with the lengths of UltraFeedback's prompts."""
    from training_vs_trl_arms.world import groups

    from evalkit.loading import config_of

    return [group.prompt for group in groups(count, 1, config_of(model)["vocab_size"])]


# --- the arms --------------------------------------------------------------------------------


def engine_arm(engine: Any, work: Work) -> Arm:
    """An engine of evalkit."""
    from evalkit.loading import load_model
    from evalkit.records import Checkpoint
    from evalkit.roles import GenerationRequest, Sampling

    checkpoint = Checkpoint("measured", work.model, "", "")
    engine.serve(checkpoint, lambda: load_model(work.model))
    requests = [
        GenerationRequest(tuple(ids), work.samples, number)
        for number, ids in enumerate(work.prompts)
    ]

    def generate() -> int:
        sampling = Sampling(1.0, 1.0, work.max_new_tokens)
        answers = engine.generate(requests, sampling, lambda done, total, note="": None)
        return sum(len(answer.token_ids) for group in answers for answer in group)

    return generate


def plain_arm(work: Work) -> Arm:
    """The transformers engine."""
    from evalkit.engines.transformers import TransformersEngine

    return engine_arm(TransformersEngine(TransformersEngine.Options()), work)


def raw_process(python: Path, work: Work, folder: Path) -> "subprocess.Popen[str]":
    """A process of vLLM's environment that generates once for every line it reads."""
    file = folder / "work.json"
    file.write_text(json.dumps(work._asdict()))
    environment = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1", **os.environ}
    return subprocess.Popen(
        [python, __file__, "--raw", file],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def raw_arm(process: "subprocess.Popen[str]") -> Arm:
    """vLLM itself, in that process."""

    def generate() -> int:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        for line in process.stdout:  # vLLM prints there too
            if line.startswith("generated "):
                return int(line.split()[1])
            sys.stderr.write(line)
        raise SystemExit("vLLM itself ended: see above")

    return generate


def serve_raw(work: Work) -> None:
    """What that process does; nothing of evalkit is imported."""
    from vllm import LLM, SamplingParams, TokensPrompt

    llm = LLM(model=work.model, **work.llm_arguments)
    given = [TokensPrompt(prompt_token_ids=ids) for ids in work.prompts]
    sampling = [
        SamplingParams(n=work.samples, seed=number, max_tokens=work.max_new_tokens)
        for number in range(len(given))
    ]
    for _ in sys.stdin:
        made = llm.generate(given, sampling, use_tqdm=False)
        count = sum(len(one.token_ids) for output in made for one in output.outputs)
        print(f"generated {count}", flush=True)


# --- what is shown ---------------------------------------------------------------------------


def ratios(lines: dict[str, list[float]]) -> dict[str, float]:
    """Medians over the rounds, each against another arm of the same round."""

    def ratio(one: str, other: str) -> float:
        pairs = zip(lines[one], lines[other], strict=True)
        return round(median(a / b for a, b in pairs), 3)

    return {
        f"{VLLM} / {RAW}": ratio(VLLM, RAW),
        f"{VLLM} / {PLAIN}": ratio(VLLM, PLAIN),
    }


def table(lines: dict[str, list[float]]) -> str:
    """Markdown: tokens per second by arm and round, and the ratios."""
    rows = [f"| {name} | {median(values):.0f} | {values} |" for name, values in lines.items()]
    found = [f"{name}: {value:.2f}" for name, value in ratios(lines).items()]
    return "\n".join(
        [
            "| generated tokens per second | median | rounds |", "|---|---|---|", *rows, "",
            *found, f"(claimed: {VLLM} / {RAW} at least {CLAIMED})",
        ]
    )  # fmt: skip


if __name__ == "__main__":
    main()
