"""What decides how a training step optimises: the `training:` block of a recipe.

No torch here: the recipe is read by commands that must answer at once.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Optimizer = Literal["adamw_torch", "rmsprop", "sgd", "adafactor"]
Schedule = Literal["linear", "cosine", "constant"]
Precision = Literal["float32", "bfloat16"]
PositiveInt = Annotated[int, Field(ge=1)]


class TrainingSettings(BaseModel):
    """Optimisation of one training step; the same words for every method."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: Annotated[float, Field(gt=0, lt=1)] = Field(
        5e-7, description="peak learning rate"
    )
    optimizer: Optimizer = Field("rmsprop", description="as named by transformers")
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="decoupled decay")
    max_grad_norm: Annotated[float, Field(ge=0)] = Field(
        1.0, description="gradients are clipped to this norm; 0 never clips"
    )
    batch_size: PositiveInt = Field(64, description="prompts per optimizer step")
    micro_batch_size: PositiveInt | None = Field(
        None, description="prompts per forward and backward pass; default all of batch_size"
    )
    epochs: Annotated[float, Field(gt=0)] = Field(
        1.0, description="passes over the data after which training stops"
    )
    schedule_epochs: Annotated[float, Field(gt=0)] | None = Field(
        None, description="epochs the learning-rate schedule is laid out for; default `epochs`"
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
    gradient_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass to save memory"
    )
    save_steps: PositiveInt | None = Field(
        None, description="optimizer steps between resumable checkpoints; default none"
    )
    log_steps: PositiveInt = Field(1, description="optimizer steps between lines of metrics")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of"
                f" micro_batch_size {self.micro_batch_size}: choose one that divides it"
            )
        if self.schedule_epochs is not None and self.schedule_epochs < self.epochs:
            raise ValueError(
                f"schedule_epochs {self.schedule_epochs} is shorter than epochs {self.epochs}:"
                " make it as long, or longer"
            )
        if self.save_steps is not None and self.save_steps % self.log_steps:
            # A checkpoint between two lines of metrics would lose half a line on resume.
            raise ValueError(
                f"save_steps {self.save_steps} is not a multiple of log_steps {self.log_steps}:"
                " change one of them"
            )
        return self
