"""The roles that plug-ins play, each an abstract class; `registry.py` finds them by name.

A plug-in is one file in its role's room with a line `PLUGIN = TheClass`; the
file name is the name used in a recipe. `pipeline` makes the objects and hands
them to each other: plug-ins of different rooms never import each other.

| role      | room                | a recipe names it under        |
|-----------|---------------------|--------------------------------|
| Method    | evalkit.trainers    | stages[].method                |
| Engine    | evalkit.engines     | engine                         |
| Judge     | evalkit.judges      | judge                          |
| Benchmark | evalkit.benchmarks  | evaluation.benchmarks[]         |
| Scheme    | evalkit.quantize    | variants[]                      |
| Source    | evalkit.sources     | stages[].prompts, benchmark data |
| Builder   | evalkit.builders    | base.builder                   |
| Importer  | evalkit.importers   | (`evalkit card build --from`)  |
"""

from evalkit.roles.data import Builder, Imported, Importer, Source
from evalkit.roles.evaluation import Benchmark, BenchmarkContext, EvaluationItem
from evalkit.roles.generation import ChatPlace, Engine, GenerationRequest, LoadedModel, Sampling
from evalkit.roles.judging import (
    Averaged,
    Cost,
    GameRequest,
    Judge,
    PairRequest,
    RatingRequest,
    Verdict,
)
from evalkit.roles.plugin import Options, Plugin, PluginRef, Prefetched, Progress
from evalkit.roles.quantization import Scheme
from evalkit.roles.scoring import ContinuationScore, Scorer, ScoringRequest
from evalkit.roles.training import DataNeeds, Examples, LogpBatch, Method, MethodLoss, Statistic

__all__ = [
    "Averaged",
    "Benchmark",
    "BenchmarkContext",
    "Builder",
    "ChatPlace",
    "ContinuationScore",
    "Cost",
    "DataNeeds",
    "Engine",
    "EvaluationItem",
    "Examples",
    "GameRequest",
    "GenerationRequest",
    "Imported",
    "Importer",
    "Judge",
    "LoadedModel",
    "LogpBatch",
    "Method",
    "MethodLoss",
    "Options",
    "PairRequest",
    "Plugin",
    "PluginRef",
    "Prefetched",
    "Progress",
    "RatingRequest",
    "Sampling",
    "Scheme",
    "Scorer",
    "ScoringRequest",
    "Source",
    "Statistic",
    "Verdict",
]
