"""The options of the vllm engine, and what they come to as arguments of vLLM itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from evalkit.roles import Options

CPU_KV_CACHE_GB = "2"


class VllmOptions(Options):
    """What vLLM computes with; and how it is run, which changes no more than rounding.

    dtype: of the computation; `auto` is the checkpoint's own.
    max_model_len: tokens of prompt and response together; default what the model was made for.
    enforce_eager: without compiling the model first; default only on a CPU.
    attention_backend: by vLLM's name, e.g. FLASH_ATTN; default its own choice.
    arguments: further arguments of `vllm serve` by name, e.g. {kv_cache_dtype: fp8}.
    mode: `server`, `in_process`, or `auto`: in this process where vLLM can be imported here.
    url: a server that already runs and serves the very checkpoint, without `/v1`; it is never
        stopped.
    api_key_env: the environment variable with the key of that server.
    python: the Python of vLLM's environment; default this one, `.venv-vllm`, or that on the path.
    gpu_memory_utilization: part of the GPU's memory that vLLM may take; default its own.
    tensor_parallel_size: GPUs that share the model.
    max_num_seqs: responses computed at a time; default vLLM's.
    concurrency: responses asked for at a time; enough that vLLM never waits.
    reload_weights: load the next checkpoint into the running server instead of starting another.
    start_timeout_s: seconds that a server may take to start. timeout_s: that one request may take.
    """

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    max_model_len: int | None = Field(default=None, ge=2)
    enforce_eager: bool | None = None
    attention_backend: str | None = None
    arguments: dict[str, str | int | float | bool] = Field(default_factory=dict)
    # Left out of the dump, from which fingerprints are taken: they may change under way.
    mode: Literal["auto", "server", "in_process"] = Field(default="auto", exclude=True)
    url: str | None = Field(default=None, exclude=True)
    api_key_env: str = Field(default="VLLM_API_KEY", min_length=1, exclude=True)
    python: Path | None = Field(default=None, exclude=True)
    gpu_memory_utilization: float | None = Field(default=None, gt=0, le=1, exclude=True)
    tensor_parallel_size: int = Field(default=1, ge=1, exclude=True)
    max_num_seqs: int | None = Field(default=None, ge=1, exclude=True)
    concurrency: int = Field(default=1024, ge=1, exclude=True)
    reload_weights: bool = Field(default=False, exclude=True)
    start_timeout_s: float = Field(default=1800.0, gt=0, exclude=True)
    timeout_s: float = Field(default=3600.0, gt=0, exclude=True)

    @field_validator("url")
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "http://none")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("not an address: give one such as http://localhost:8000")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("only host and path: a key belongs in the variable of `api_key_env`")
        return value and value.rstrip("/").removesuffix("/v1")

    def is_eager(self, on_cpu: bool) -> bool:
        """Whether the model is run without compiling it first."""
        return on_cpu if self.enforce_eager is None else self.enforce_eager

    def llm_arguments(self, dtype: str, on_cpu: bool) -> dict[str, Any]:
        """Of `vllm.LLM`, beside the model; `vllm serve` takes the same ones as words."""
        given = {
            "dtype": dtype,
            "max_model_len": self.max_model_len,
            "enforce_eager": self.is_eager(on_cpu),
            "attention_backend": self.attention_backend,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "tensor_parallel_size": self.tensor_parallel_size,
            "max_num_seqs": self.max_num_seqs,
            "enable_sleep_mode": not on_cpu,
            # On a CPU vLLM 0.32 dies of a seeded request whose prompt is computed in parts.
            "enable_chunked_prefill": False if on_cpu else None,
            "generation_config": "vllm",  # no sampling settings out of the checkpoint's files
            **self.arguments,
        }
        return {name: value for name, value in given.items() if value is not None}


def as_words(arguments: Mapping[str, Any]) -> list[str]:
    """Arguments of `vllm.LLM` as `vllm serve` takes them."""
    words = []
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", str(value)]
    return words


def environment(on_cpu: bool) -> dict[str, str]:
    """Variables that vLLM reads; what the user has set stays."""
    wanted = {
        "VLLM_SERVER_DEV_MODE": "1",  # has /sleep and /collective_rpc
        "VLLM_NO_USAGE_STATS": "1",
        **({"VLLM_CPU_KVCACHE_SPACE": CPU_KV_CACHE_GB} if on_cpu else {}),
    }
    return {name: value for name, value in wanted.items() if name not in os.environ}
