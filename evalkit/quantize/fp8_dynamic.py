"""8-bit floating point weights and activations (W8A8 FP8), the latter scaled at run time.

Weights are e4m3 with one scale per output channel, activations are scaled per
token while the model runs: no calibration. Saved as `float-quantized`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from evalkit import roles
from evalkit.errors import Problem
from evalkit.loading import config_of
from evalkit.quantize.architecture import fp8_problems
from evalkit.quantize.compress import IGNORED, REQUIRES, compress, parent_folder, refuse
from evalkit.records import Checkpoint


class Fp8Options(roles.Options):
    """untested_architecture: try a model type on which no test has run."""

    untested_architecture: bool = False


class Fp8Dynamic(roles.Scheme):
    """FP8 e4m3; computed in FP8 from compute capability 8.9 on, weight-only below."""

    Options = Fp8Options
    options: Fp8Options
    label: ClassVar[str] = "FP8 (W8A8, dynamic)"
    bits: ClassVar[int] = 8
    suffix: ClassVar[str] = "FP8-Dynamic"
    tags: ClassVar[tuple[str, ...]] = ("compressed-tensors", "vllm", "fp8", "8-bit")
    requires: ClassVar[tuple[tuple[str, str], ...]] = REQUIRES

    def check_model(self, config: Mapping[str, Any]) -> list[Problem]:
        """Widths that FP8 kernels refuse, and architectures not tested."""
        return fp8_problems(config, untested=self.options.untested_architecture)

    def quantize(
        self, checkpoint: Checkpoint, calibration: Sequence[Sequence[int]], folder: Path
    ) -> Mapping[str, Any]:
        """Writes the FP8 variant; `calibration` is not looked at."""
        parent = parent_folder(checkpoint)
        refuse(self.check_model(config_of(parent)), checkpoint)
        return compress(parent, folder, self._modifier, {"scheme": "fp8_dynamic"})

    def _modifier(self) -> Any:
        from llmcompressor.modifiers.quantization import QuantizationModifier

        return QuantizationModifier(targets=["Linear"], scheme="FP8_DYNAMIC", ignore=list(IGNORED))


PLUGIN = Fp8Dynamic
