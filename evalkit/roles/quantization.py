"""The role that makes a smaller variant of a checkpoint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from evalkit.errors import Problem
from evalkit.records import Checkpoint
from evalkit.roles.plugin import Plugin


class Scheme(Plugin, ABC):
    """A way to make a smaller variant of a checkpoint."""

    label: ClassVar[str]  # for people: "4-bit (W4A16, GPTQ)"
    bits: ClassVar[int]
    suffix: ClassVar[str]  # of the repository name: "W4A16"
    tags: ClassVar[tuple[str, ...]]
    calibrated: ClassVar[bool] = False

    @abstractmethod
    def check_model(self, config: Mapping[str, Any]) -> list[Problem]:
        """What in a model's config.json stands in the way; `where` stays empty."""

    @abstractmethod
    def quantize(
        self, checkpoint: Checkpoint, calibration: Sequence[Sequence[int]], folder: Path
    ) -> Mapping[str, Any]:
        """Writes the variant, complete with tokenizer, into the existing, empty `folder`.

        calibration: token ids of prompt and response rendered with the chat
            template; empty unless `calibrated`.

        Returns facts about what was done, JSON values; `calibration_samples`, how many of those
        sequences were used (0 when uncalibrated), is among them.
        """
