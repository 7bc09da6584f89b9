"""What decides how a training step optimises: the `training:` block of a recipe.

No torch here: the recipe is read by commands that must answer at once.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Optimizer = Literal["adamw_torch", "rmsprop", "sgd", "adafactor"]
Schedule = Literal["linear", "cosine", "constant"]
Precision = Literal["float32", "bfloat16"]
BasePrecision = Literal["float32", "bfloat16", "nf4"]
Layout = Literal["auto", "tree", "cache", "packed", "padded"]
Attention = Literal["auto", "eager", "sdpa", "flash_attention_2", "flex_attention"]
PositiveInt = Annotated[int, Field(ge=1)]
SAVE_STEPS = 50  # where a recipe says nothing, which leaves its fingerprints alone


class Adapter(BaseModel):
    """A low-rank adapter (LoRA), trained while the model's own weights stay as they are.

    Source: Hu et al. 2021 (arXiv:2106.09685); Dettmers et al. 2023 (QLoRA, arXiv:2305.14314).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: PositiveInt = Field(16, description="rank of each update")
    alpha: Annotated[float, Field(gt=0)] = Field(
        32.0, description="updates are scaled by alpha / rank"
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="of the adapter's input; 0 keeps log-ratios free of noise"
    )
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] | Literal["all-linear"] = Field(
        "all-linear",
        description="names of the layers that get an update, as the last part of their whole names;"
        " all-linear is every linear layer but the head",
    )
    base_precision: BasePrecision | None = Field(
        None,
        description="of the frozen weights while training, nf4 being QLoRA's 4-bit; default that"
        " of the forward pass",
    )
    previous: Literal["merged", "frozen"] = Field(
        "merged",
        description="the adapter of the iteration before: merged into the weights, or kept frozen"
        " as the reference while a copy of it goes on training",
    )


class TrainingSettings(BaseModel):
    """Optimisation of one training step; the same words for every method."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: Annotated[float, Field(gt=0, lt=1)] = Field(
        5e-7, description="peak learning rate"
    )
    optimizer: Optimizer = Field("rmsprop", description="as named by transformers")
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="as torch has it: decoupled in adamw_torch and adafactor, added to the gradient"
        " in rmsprop and sgd",
    )
    max_grad_norm: Annotated[float, Field(ge=0)] = Field(
        1.0, description="gradients are clipped to this norm; 0 never clips"
    )
    batch_size: PositiveInt = Field(64, description="prompts per optimizer step")
    micro_batch_size: PositiveInt | None = Field(
        None, description="prompts per forward and backward pass; default all of batch_size"
    )
    schedule_epochs: Annotated[float, Field(gt=0)] = Field(
        1.0, description="passes over the data that the learning-rate schedule is laid out for"
    )
    stop_after_epochs: Annotated[float, Field(gt=0)] | None = Field(
        None, description="passes after which training stops; default `schedule_epochs`"
    )
    schedule: Schedule = Field("linear", description="decay of the learning rate after warm-up")
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.1, description="part of the schedule spent warming up from 0"
    )
    max_length: PositiveInt = Field(
        1024, description="prompt and response tokens; longer responses are cut, never the prompt"
    )
    precision: Precision = Field(
        "float32", description="of the forward pass; master weights are always float32"
    )
    token_budget: PositiveInt | None = Field(
        None, description="padded tokens per forward pass; default chosen from the device"
    )
    layout: Layout = Field(
        "auto",
        description="how continuations of a prompt share a forward pass: tree (one row, the prompt"
        " once), cache (the prompt once, its keys and values reused; not with"
        " gradient_checkpointing), packed (rows end to end),"
        " padded (a row each); auto takes the quickest that is exact for the model",
    )
    attention: Attention = Field("auto", description="attention kernel, as named by transformers")
    adapter: Adapter | None = Field(
        None, description="train a low-rank adapter instead of all weights; default all weights"
    )
    optimizer_state: Literal["fresh", "kept"] = Field(
        "fresh",
        description="kept: an iteration goes on with the optimizer's moments of the one before, and"
        " leaves its own beside its checkpoint (for adamw_torch 8 bytes a trained"
        " parameter); sgd has none",
    )
    gradient_checkpointing: Literal["auto"] | bool = Field(
        "auto",
        description="recompute activations in the backward pass, which saves memory and takes about"
        " a third longer; auto: in passes over token_budget, which hold one long example each",
    )
    save_steps: PositiveInt | Literal["never"] | None = Field(
        None,
        description=f"optimizer steps between resumable checkpoints; default {SAVE_STEPS}, or the"
        " next multiple of log_steps. One takes float32 weights and optimizer on disk",
    )
    log_steps: PositiveInt = Field(1, description="optimizer steps between lines of metrics")

    @property
    def base_precision(self) -> BasePrecision:
        """Of the weights that an adapter leaves as they are."""
        own = self.adapter.base_precision if self.adapter else None
        return own or self.precision

    @property
    def epochs(self) -> float:
        """Passes over the data that are trained."""
        return self.schedule_epochs if self.stop_after_epochs is None else self.stop_after_epochs

    @property
    def checkpoint_steps(self) -> int | None:
        """Optimizer steps between resumable checkpoints; None where there are none."""
        if self.save_steps == "never":
            return None
        return self.save_steps or -(-SAVE_STEPS // self.log_steps) * self.log_steps

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of"
                f" micro_batch_size {self.micro_batch_size}: choose one that divides it"
            )
        if self.epochs > self.schedule_epochs:
            raise ValueError(
                f"stop_after_epochs {self.stop_after_epochs} is beyond schedule_epochs"
                f" {self.schedule_epochs}: make the schedule as long, or longer"
            )
        if isinstance(self.save_steps, int) and self.save_steps % self.log_steps:
            # A checkpoint between two lines of metrics would lose half a line on resume.
            raise ValueError(
                f"save_steps {self.save_steps} is not a multiple of log_steps {self.log_steps}:"
                " change one of them"
            )
        return self

    @model_validator(mode="after")
    def _memory_that_can_be(self) -> Self:
        if self.layout == "cache" and self.gradient_checkpointing is True:
            raise ValueError(
                "layout cache reuses keys and values that gradient_checkpointing drops:"
                " use layout auto, or gradient_checkpointing auto"
            )
        if self.layout == "tree" and self.attention == "flash_attention_2":
            raise ValueError(
                "layout tree needs a tree-shaped mask, which attention flash_attention_2 does not"
                " take: use layout auto, or attention flex_attention"
            )
        return self

    @model_validator(mode="after")
    def _state_that_can_be_kept(self) -> Self:
        if self.optimizer_state == "kept" and self.optimizer == "sgd":
            raise ValueError(
                "optimizer_state kept would change nothing: sgd, without momentum, has no state:"
                " make it fresh, or take another optimizer"
            )
        return self

    @model_validator(mode="after")
    def _adapter_that_can_be(self) -> Self:
        if self.adapter is None:
            return self
        if self.base_precision == "bfloat16" and self.precision == "float32":
            raise ValueError(
                "adapter.base_precision bfloat16 cannot give a forward pass in float32:"
                " make 'precision' bfloat16, or adapter.base_precision float32"
            )
        if self.adapter.previous == "frozen" and self.adapter.dropout:
            # What it drops would be missing from the policy only: log-ratios would start off 0.
            raise ValueError(
                "adapter.dropout keeps the policy from starting at its reference where an adapter"
                " goes on training (previous frozen): make it 0, or adapter.previous merged"
            )
        if self.adapter.previous == "merged" and self.optimizer_state == "kept":
            raise ValueError(
                "optimizer_state kept has no use where each iteration trains a new adapter"
                " (previous merged): make it fresh, or adapter.previous frozen"
            )
        return self
