"""4-bit weights by GPTQ: rounding errors are made up for on calibration data. The published 4-bit.

Same file layout as `w4a16_rtn`. Columns are rounded one after another, and what
each loses is spread over those not yet rounded, weighted by the inverse Hessian
of the layer's calibration inputs.
Source: Frantar et al., GPTQ, arXiv 2210.17323, algorithm 1; run by llmcompressor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from evalkit import roles
from evalkit.errors import Problem, RecipeError
from evalkit.loading import config_of
from evalkit.quantize.architecture import group_problems
from evalkit.quantize.calibration import Calibration, choose
from evalkit.quantize.compress import REQUIRES, compress, parent_folder, refuse
from evalkit.quantize.int4 import int4_groups
from evalkit.records import Checkpoint

# Layers of one shape in a decoder block are solved together (q with o, k with v,
# gate with up): the same bytes as one by one, in half the time on a CPU.
_SOLVED_TOGETHER = 8


class GptqOptions(roles.Options):
    """group_size: input features that share a scale; must divide every linear layer's input.

    calibration_samples, max_sequence_length: how many sequences are used, and
        to how many tokens each is cut. 128 short ones suit a small model; take
        512 of 2,048 tokens for billions of parameters.
    seed: which of the sequences are used, when there are more.
    dampening: added to the Hessian's diagonal, as a fraction of its mean.
    activation_order: `static` rounds the columns with the largest activations
        first; the file's layout does not change.
    untested_architecture: try a model type on which no test has run.
    """

    group_size: Literal[32, 64, 128] = 128
    calibration_samples: Annotated[int, Field(ge=1)] = 128
    max_sequence_length: Annotated[int, Field(ge=1)] = 2048
    seed: int = 0
    dampening: Annotated[float, Field(gt=0, lt=1)] = 0.01
    activation_order: Literal["static", "none"] = "static"
    untested_architecture: bool = False


class Gptq(roles.Scheme):
    """GPTQ on the model's own training prompts."""

    Options = GptqOptions
    options: GptqOptions
    label: ClassVar[str] = "4-bit (W4A16, GPTQ)"
    bits: ClassVar[int] = 4
    suffix: ClassVar[str] = "W4A16"
    tags: ClassVar[tuple[str, ...]] = ("compressed-tensors", "vllm", "int4", "4-bit", "gptq")
    requires: ClassVar[tuple[tuple[str, str], ...]] = REQUIRES
    calibrated: ClassVar[bool] = True

    def check_model(self, config: Mapping[str, Any]) -> list[Problem]:
        """Widths that the group does not divide, and architectures not tested."""
        return group_problems(
            config, self.options.group_size, untested=self.options.untested_architecture
        )

    def quantize(
        self, checkpoint: Checkpoint, calibration: Sequence[Sequence[int]], folder: Path
    ) -> Mapping[str, Any]:
        """Writes the 4-bit variant.

        Raises:
            RecipeError: no calibration, a model that does not fit, or a layer whose
                Hessian could not be inverted (llmcompressor would round it to nearest).
        """
        parent = parent_folder(checkpoint)
        config = config_of(parent)
        refuse(self.check_model(config), checkpoint)
        chosen = self._choose(calibration, config)
        fallen_back: list[str] = []
        facts = compress(parent, folder, lambda: self._modifier(fallen_back), self._facts(), chosen)
        if fallen_back:
            raise RecipeError(
                f"GPTQ failed on {len(fallen_back)} layers ({fallen_back[0]}, ...): their"
                " Hessians are singular",
                "give more calibration sequences, or raise 'dampening'",
            )
        return facts

    def _choose(self, offered: Sequence[Sequence[int]], config: Mapping[str, Any]) -> Calibration:
        limit = config.get("max_position_embeddings") or self.options.max_sequence_length
        return choose(
            offered,
            samples=self.options.calibration_samples,
            max_length=min(limit, self.options.max_sequence_length),
            vocabulary=int(config["vocab_size"]),
            seed=self.options.seed,
        )

    def _facts(self) -> dict[str, Any]:
        names = ("group_size", "dampening", "activation_order")
        chosen = {name: getattr(self.options, name) for name in names}
        return {"scheme": "w4a16_gptq", **chosen}

    def _modifier(self, fallen_back: list[str]) -> Any:
        from llmcompressor.modifiers.gptq import GPTQModifier

        class Watched(GPTQModifier):
            def on_finalize(self, state: Any, **kwargs: Any) -> bool:
                # Otherwise only a log line tells, and the list is emptied here.
                fallen_back.extend(self._rtn_fallback_module_names)
                return bool(super().on_finalize(state, **kwargs))

        Watched.__name__ = GPTQModifier.__name__  # what recipe.yaml names, and can be run again
        order = None if self.options.activation_order == "none" else self.options.activation_order
        return Watched(
            **int4_groups(self.options.group_size),
            dampening_frac=self.options.dampening,
            actorder=order,
            batched_quantization=_SOLVED_TOGETHER,
        )


PLUGIN = Gptq
