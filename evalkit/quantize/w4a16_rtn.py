"""4-bit weights by rounding to nearest: needs no data, loses a little more than GPTQ.

Symmetric int4 in groups along the input features, packed by compressed-tensors
(`pack-quantized`); activations stay bfloat16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from evalkit import roles
from evalkit.errors import Problem
from evalkit.loading import config_of
from evalkit.quantize.architecture import group_problems
from evalkit.quantize.compress import REQUIRES, compress, parent_folder, refuse
from evalkit.quantize.int4 import int4_groups
from evalkit.records import Checkpoint


class RtnOptions(roles.Options):
    """group_size: input features that share a scale; must divide every linear layer's input.

    untested_architecture: try a model type on which no test has run.
    """

    group_size: Literal[32, 64, 128] = 128
    untested_architecture: bool = False


class RoundToNearest(roles.Scheme):
    """Each weight becomes the nearest of 16 levels of its group."""

    Options = RtnOptions
    options: RtnOptions
    label: ClassVar[str] = "4-bit (W4A16, round to nearest)"
    bits: ClassVar[int] = 4
    suffix: ClassVar[str] = "W4A16-RTN"
    tags: ClassVar[tuple[str, ...]] = ("compressed-tensors", "vllm", "int4", "4-bit")
    requires: ClassVar[tuple[tuple[str, str], ...]] = REQUIRES

    def check_model(self, config: Mapping[str, Any]) -> list[Problem]:
        """Widths that the group does not divide, and architectures not tested."""
        return group_problems(
            config, self.options.group_size, untested=self.options.untested_architecture
        )

    def quantize(
        self, checkpoint: Checkpoint, calibration: Sequence[Sequence[int]], folder: Path
    ) -> Mapping[str, Any]:
        """Writes the 4-bit variant; `calibration` is not looked at."""
        parent = parent_folder(checkpoint)
        refuse(self.check_model(config_of(parent)), checkpoint)
        facts = {"scheme": "w4a16_rtn", "group_size": self.options.group_size}
        return compress(parent, folder, self._modifier, facts)

    def _modifier(self) -> Any:
        from llmcompressor.modifiers.quantization import QuantizationModifier

        return QuantizationModifier(**int4_groups(self.options.group_size))


PLUGIN = RoundToNearest
