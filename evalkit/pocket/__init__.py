"""The pocket world: everything a machine without GPU, network or API key needs for a real run.

A tiny language with tasks that a rule can check (`vocabulary`, `kinds`, `items`, `choices`,
`conversations`), the text a base model is pre-trained on (`corpus`), its tokenizer and the
pre-training itself (`tokenizer`, `pretrain`), and ordinary lm-eval tasks (`tasks/`). Nothing
is pre-computed.
"""

from pathlib import Path


def tasks_folder() -> Path:
    """The folder of the pocket lm-eval task YAMLs, for `TaskManager(include_path=...)`."""
    return Path(__file__).parent / "tasks"
