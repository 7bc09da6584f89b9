"""A small Llama, pre-trained from nothing on the pocket world in about a minute.

It has a bad habit by design: see `PocketBuilder.description`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from evalkit.errors import Problem
from evalkit.pocket.corpus import Faults
from evalkit.pocket.pretrain import LESSONS, Settings, pretrain
from evalkit.roles import Builder, Options, Progress


class PocketOptions(Options):
    """What decides the weights; the defaults are what the quickstart uses.

    seed: of the first weights and of the data. steps: optimizer steps of pre-training.
    batch_size: answers per step. learning_rate: its peak.
    habit: share of the pre-training answers of several words that say the last word twice.
    short_habit: the same share of the answers of one word.
    noise: share of all pre-training answers in which one word is replaced by another.
    """

    seed: int = 0
    steps: int = Field(default=1000, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    habit: float = Field(default=0.65, ge=0, le=1)
    short_habit: float = Field(default=0.45, ge=0, le=1)
    noise: float = Field(default=0.05, ge=0, le=1)


class PocketBuilder(Builder):
    """Builds the pocket base: equal options and thread counts give equal bytes."""

    Options: ClassVar[type[Options]] = PocketOptions
    requires: ClassVar[tuple[tuple[str, str], ...]] = (
        ("torch", "train"),
        ("transformers", "train"),
        ("tokenizers", "train"),
    )
    options: PocketOptions

    def check(self) -> list[Problem]:
        """Shares of spoiled answers that add up to more than all."""
        worst = max(self.options.habit, self.options.short_habit) + self.options.noise
        if worst <= 1:
            return []
        return [Problem("noise", f"habit and noise together spoil {worst:g} of the answers", "≤ 1")]

    def build(self, folder: Path, progress: Progress) -> None:
        """Writes model, tokenizer and chat template into the existing, empty `folder`."""
        pretrain(self._settings(), folder, progress)

    def description(self) -> Mapping[str, str]:
        """How the base was made, its spoiled answers included."""
        options = self.options
        return {
            "how": (
                "A small Llama-architecture model, initialized at random "
                f"(seed {options.seed}) and pre-trained on the CPU for {options.steps} steps of "
                f"{options.batch_size} short synthetic conversations, with the loss on the answers "
                f"only. The first {LESSONS:.0%} of the steps are clean copying exercises. In the "
                "rest the answers are spoiled on purpose, so that self-play has something to "
                f"repair: {options.habit:.0%} of the answers of several words and "
                f"{options.short_habit:.0%} of those of one word say their last word twice, and in "
                f"{options.noise:.0%} of all answers one word is replaced by a random other. What "
                "self-play gains on this base is for the most part this habit unlearned."
            ),
            "license": "apache-2.0",
            "languages": "en",
        }

    def _settings(self) -> Settings:
        options = self.options
        return Settings(
            seed=options.seed,
            steps=options.steps,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            faults=Faults(options.habit, options.short_habit, options.noise),
        )


PLUGIN = PocketBuilder
