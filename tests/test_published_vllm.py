"""Published variants that a real vLLM loads from the embedded Hub by their names alone.

vLLM computes on the compressed weights: its greedy tokens must be those of transformers, which
decompresses them, but where two tokens are about as likely as each other.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import hub_parts
import pytest
import vllm_parts

pytestmark = pytest.mark.vllm

VARIANTS = {
    "micro/Micro-SPPO-Iter2-W4A16": "iter2-w4a16_gptq",
    "micro/Micro-SPPO-Iter2-FP8-Dynamic": "iter2-fp8_dynamic",
}
PROMPTS = [list(request.prompt_token_ids) for request in vllm_parts.requests(6)]
TOKENS = 8
TIE_NATS = 0.1  # activations of FP8 are rounded, too
GENERATE = """
import json, sys
if __name__ == "__main__":
    from vllm import LLM, SamplingParams
    prompts, tokens = json.loads(sys.argv[2])
    model = LLM(sys.argv[1], enforce_eager=True, max_model_len=64, max_num_seqs=8)
    asked = [{"prompt_token_ids": ids} for ids in prompts]
    how = SamplingParams(temperature=0.0, max_tokens=tokens, min_tokens=tokens)
    answers = model.generate(asked, how, use_tqdm=False)
    print("ANSWERS", json.dumps([list(one.outputs[0].token_ids) for one in answers]))
"""


def generated(repo: str, endpoint: str, home: Path) -> list[list[int]]:
    """Greedy tokens of a model of the Hub, by vLLM in its own environment."""
    python = str(vllm_parts.PYTHON) if vllm_parts.how() else "python"
    places = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "VLLM_CPU_KVCACHE_SPACE": "1"}
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    script = home / "generate.py"
    script.write_text(GENERATE)
    words = [python, str(script), repo, json.dumps([PROMPTS, TOKENS])]
    done = subprocess.run(
        words, env={**kept, **places}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("ANSWERS "))
    answers: list[list[int]] = json.loads(line.removeprefix("ANSWERS "))
    return answers


def far_from(folder: Path, answers: list[list[int]]) -> list[int]:
    """Answers that transformers, with the same files, would nowhere near give."""
    import torch

    from evalkit.loading import load_model

    model, tokenizer = load_model(folder, device="cpu")
    found = []
    for number, (prompt, answer) in enumerate(zip(PROMPTS, answers, strict=True)):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + answer])).logits[0].float()
        logits[:, tokenizer.eos_token_id] = -torch.inf  # none before the last of `TOKENS`
        for place, token in enumerate(answer, start=len(prompt) - 1):
            if float(logits[place].max() - logits[place, token]) > TIE_NATS:
                found.append(number)
                break
    return found


@pytest.mark.parametrize("repo", sorted(VARIANTS))
def test_a_published_variant_is_generated_from(repo: str, micro_run: Path, tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    shutil.copytree(micro_run / "hub", hub)
    server, endpoint, _ = hub_parts.start_server(hub)
    try:
        answers = generated(repo, endpoint, tmp_path)
    finally:
        server.communicate()  # its input ends, and so does it
    folder = micro_run / "run" / "steps" / VARIANTS[repo] / "checkpoint"
    assert [len(answer) for answer in answers] == [TOKENS] * len(PROMPTS)
    assert far_from(folder, answers) == []
    others = [[token + 1 for token in answer] for answer in answers]
    assert far_from(folder, others) == list(range(len(PROMPTS)))
