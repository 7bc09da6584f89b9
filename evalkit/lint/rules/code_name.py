"""Python code that uses a name which it never imports."""

from __future__ import annotations

import ast
import builtins
import re
import textwrap
from collections.abc import Iterator

from evalkit.card_reading.code import CodeBlock
from evalkit.lint.context import Context
from evalkit.lint.finding import Finding
from evalkit.lint.rule import Rule

_LANGUAGES = frozenset({"python", "python3", "py", "pycon"})
_BEGINS_LIKE_PYTHON = re.compile(r"^(?:from [\w.]+ )?import \w", re.MULTILINE)
_PROMPT = re.compile(r"^\s*(?:>>>|\.\.\.)(?: |$)")
_SHELL = re.compile(r"^\s*[!%]")
# Only names that are certain to come from a package are told: anything else may be the reader's.
_PACKAGES = {
    "transformers": "AutoTokenizer AutoModelForCausalLM AutoModel AutoConfig AutoProcessor"
    " AutoModelForSequenceClassification BitsAndBytesConfig TextStreamer TextIteratorStreamer"
    " GenerationConfig TrainingArguments pipeline",
    "datasets": "load_dataset load_from_disk concatenate_datasets",
    "peft": "PeftModel PeftConfig LoraConfig AutoPeftModelForCausalLM get_peft_model",
    "vllm": "LLM SamplingParams",
    "trl": "SFTTrainer DPOTrainer SFTConfig DPOConfig",
    "huggingface_hub": "snapshot_download hf_hub_download InferenceClient",
    "sentence_transformers": "SentenceTransformer CrossEncoder",
    "llama_cpp": "Llama",
    "openai": "OpenAI AsyncOpenAI",
    "unsloth": "FastLanguageModel",
}
_IMPORTS = {
    **{name: f"from {package} import {name}" for package, names in _PACKAGES.items()
       for name in names.split()},
    **{name: f"import {name}" for name in "torch transformers datasets os json re random math sys"
       " time requests tqdm".split()},
    "np": "import numpy as np",
    "pd": "import pandas as pd",
    "F": "import torch.nn.functional as F",
}  # fmt: skip


def check(context: Context) -> Iterator[Finding]:
    """Each such name once a block; what earlier blocks have defined counts as defined."""
    defined = set(dir(builtins))
    for block in context.card.code_blocks:
        tree = _parsed(block)
        if tree is None:
            continue
        bound = _bound(tree)
        if "*" in bound:
            return  # whatever follows may come from there
        defined |= bound
        if not any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(tree)):
            continue  # a part of something longer
        for name, line in _used(tree).items():
            if name not in defined and name in _IMPORTS:
                defined.add(name)
                yield Finding(
                    block.numbers[line - 1],
                    f"the code uses {name}, which it never imports",
                    evidence=block.text.split("\n")[line - 1].strip()[:80],
                    fix=f"add: {_IMPORTS[name]}",
                )


def _parsed(block: CodeBlock) -> ast.Module | None:
    """A block's Python, its lines where they were; None where it is none, or only a part."""
    if block.language not in _LANGUAGES and (
        block.language or not _BEGINS_LIKE_PYTHON.search(block.text)
    ):
        return None
    lines = block.text.split("\n")
    if any(line.lstrip().startswith(">>>") for line in lines):
        lines = [_PROMPT.sub("", line) if _PROMPT.match(line) else "" for line in lines]
    lines = ["" if _SHELL.match(line) else line for line in lines]
    try:
        return ast.parse(textwrap.dedent("\n".join(lines)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _bound(tree: ast.AST) -> set[str]:
    """Every name that is given a value anywhere in the code, in whatever scope."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            found |= set(node.names)
    return found


def _used(tree: ast.AST) -> dict[str, int]:
    """Names that are read, each with the first line where it is."""
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            found[node.id] = min(node.lineno, found.get(node.id, node.lineno))
    return found


RULE = Rule(
    code="EK507",
    name="code-name",
    summary="A Python block uses a name of a package that it does not import.",
    why="Whoever copies the block gets a NameError.",
    check=check,
)
