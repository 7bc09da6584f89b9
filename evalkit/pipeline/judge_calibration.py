"""`evalkit judge calibrate`: the published outputs of anchor models, judged again by another judge.

Published judge models are retired one after the other. Where a new one puts known models says
what its figures mean; they never stand in one column with official ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from evalkit.benchmarks.alpaca_eval_files import Judged, Side, write_files
from evalkit.benchmarks.alpaca_eval_judging import Preference, judged, shows_model_first
from evalkit.benchmarks.alpaca_eval_official import annotator_label
from evalkit.benchmarks.provenance import signature
from evalkit.console import no_progress, progress_line
from evalkit.durable import write_text
from evalkit.errors import PrerequisiteError, RecipeError
from evalkit.fingerprint import fingerprint
from evalkit.journal import Journal
from evalkit.metrics import alpaca_eval_data
from evalkit.metrics.alpaca_eval_data import Auxiliary
from evalkit.pipeline import checkpoints, judge_serving, plugins
from evalkit.pipeline.anchors import Anchor, Official, read_anchors, read_official
from evalkit.pipeline.calibration_figures import figures_of
from evalkit.pipeline.judge_around import JudgeAround
from evalkit.pipeline.judge_audit import WitnessedJudge
from evalkit.pipeline.judge_record import write_judge
from evalkit.recipe_file import problems_error
from evalkit.records import Message, Prompt
from evalkit.roles import Judge, PairRequest, PluginRef, Progress, Verdict
from evalkit.rundir import SPENDING

FIGURES = "calibration.json"
JOURNAL = "journal.jsonl"


class CalibrationOptions(NamedTuple):
    """What is judged again, by whom, and against what.

    anchors: result folders. baseline: the model_outputs.json of the other side, or its folder.
    official: files and folders of the official judge; none takes what lies below the anchors.
    auxiliary: a folder with the data of the length control; None takes the Hub's file where it is
        prefetched. limit: only so many instructions, drawn from the seed; None takes all.
    order_seed: draws which output is shown first; 0 draws as alpaca_eval does.
    """

    anchors: Sequence[Path]
    baseline: Path
    judge: PluginRef
    official: Sequence[Path] = ()
    auxiliary: Path | None = None
    limit: int | None = None
    seed: int = 0
    order_seed: int = 0


@dataclass(frozen=True)
class Ready:
    """Everything read and checked; nothing was asked yet.

    texts: the instructions that are asked, in the baseline's order.
    auxiliary: of the length control, None where this machine has none.
    """

    options: CalibrationOptions
    anchors: list[Anchor]
    baseline: Anchor
    official: Official
    texts: list[str]
    auxiliary: Auxiliary | None


def prepare(options: CalibrationOptions) -> Ready:
    """Reads anchors, baseline and the official side, and checks the judge.

    Raises:
        RecipeError: something does not fit; PrerequisiteError: something is not there.
    """
    anchors = read_anchors(options.anchors)
    (baseline,) = _one_baseline(options.baseline)
    anchors = [anchor for anchor in anchors if anchor.name != baseline.name]
    if not anchors:
        raise RecipeError("the baseline alone is no anchor", "name other models' result folders")
    instructions = list(baseline.outputs)
    official = read_official(anchors, options.official, instructions)
    texts = _chosen(instructions, options.limit, options.seed)
    for anchor in anchors:
        if not any(text in anchor.outputs for text in texts):
            raise RecipeError(
                f"anchor {anchor.name} answers none of the baseline's instructions",
                "baseline and anchors must be of one instruction set",
            )
    _check_judge(options.judge, [_prompt(text) for text in texts])
    return Ready(options, anchors, baseline, official, texts, _auxiliary(options.auxiliary))


def estimate(ready: Ready, folder: Path) -> dict[str, Any]:
    """How many judgements are due, how many are kept from before, and what the rest may cost."""
    judge: Judge = plugins.make("judges", ready.options.judge)
    counting = _Counting(judge)
    for anchor in ready.anchors:
        _judge_anchor(ready, anchor, counting)
    journaled = checkpoints.open_judge(judge, Journal(folder / JOURNAL), folder / SPENDING)
    due = journaled.due(counting.requests)
    cost = judge.estimate(due)
    return {
        "anchors": len(ready.anchors),
        "instructions": len(ready.texts),
        "judgements": len(counting.requests),
        "kept": len(counting.requests) - len(due),
        "cost_of_the_rest": None if cost is None else cost._asdict(),
    }


def calibrate(ready: Ready, folder: Path) -> dict[str, Any]:
    """Judges what is not judged yet, and writes figures and annotations into `folder`.

    Every verdict is kept as it comes: cut off, the same command goes on.

    Raises:
        PrerequisiteError: the judge cannot be asked.
        ScoreError: it decided nothing on some anchor.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        plugin = plugins.make("judges", ready.options.judge)
        opened = checkpoints.open_judge(plugin, Journal(folder / JOURNAL), folder / SPENDING)
        with closing(opened):
            witness = WitnessedJudge(opened)
            preferences: dict[str, dict[str, Preference]] = {}
            for anchor in ready.anchors:
                with progress_line(anchor.name) as progress:
                    preferences[anchor.name] = _judge_anchor(ready, anchor, witness, progress)
            identity = dict(witness.identity())
            cost = opened.cost_of([one.verdict for one in witness.judgements])
    finally:
        judge_serving.close_servers()
    found = figures_of(ready, preferences, identity, witness.judgements)
    if cost is not None:
        found["cost"] = cost._asdict()
    for anchor in ready.anchors:
        given = list(preferences[anchor.name].values())
        _write_files(ready, anchor, given, identity, folder)
    text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(folder / FIGURES, text + "\n")
    return found


class _Counting(JudgeAround):
    """Judges nothing, and remembers what it was asked."""

    def __init__(self, judge: Judge) -> None:
        super().__init__(judge)
        self.requests: list[PairRequest] = []

    def compare(self, requests: Sequence[PairRequest], progress: Progress) -> list[Verdict]:
        self.requests += requests
        return [Verdict(None, "not asked")] * len(requests)


def _one_baseline(path: Path) -> list[Anchor]:
    found = read_anchors([path])
    if len(found) != 1:
        raise RecipeError(f"{path} holds {len(found)} models", "name the baseline's own folder")
    return found


def _auxiliary(folder: Path | None) -> Auxiliary | None:
    try:
        return alpaca_eval_data.read(folder)
    except PrerequisiteError:
        return None


def _chosen(instructions: list[str], limit: int | None, seed: int) -> list[str]:
    if limit is None or limit >= len(instructions):
        return instructions
    order = sorted(instructions, key=lambda text: fingerprint([seed, "calibrate", text]))
    drawn = set(order[:limit])
    return [text for text in instructions if text in drawn]


def _check_judge(ref: PluginRef, prompts: Sequence[Prompt]) -> None:
    judge: Judge = plugins.make("judges", ref)
    problems = plugins.missing_packages(judge) or judge.check()
    engine = judge.engine()
    if not problems and engine is not None:
        serving = plugins.make("engines", engine)
        problems = plugins.missing_packages(serving) or serving.check()
    problems = problems or judge.check_prompts(prompts)
    if problems:
        raise problems_error([p._replace(where=f"judge {ref.name}: {p.where}") for p in problems])


def _judge_anchor(
    ready: Ready, anchor: Anchor, judge: Judge, progress: Progress = no_progress
) -> dict[str, Preference]:
    """What the judge prefers, by instruction: the baseline's output, or the anchor's."""
    texts = _answered(ready, anchor)
    pairs = [(_prompt(text), anchor.outputs[text], ready.baseline.outputs[text]) for text in texts]
    firsts = [shows_model_first(text, ready.options.order_seed) for text in texts]
    return dict(zip(texts, judged(judge, pairs, firsts, progress), strict=True))


def _answered(ready: Ready, anchor: Anchor) -> list[str]:
    return [text for text in ready.texts if text in anchor.outputs]


def _prompt(text: str) -> Prompt:
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Prompt(name, (Message("user", text),))


# --- files ----------------------------------------------------------------------------------


def _write_files(
    ready: Ready,
    anchor: Anchor,
    preferences: Sequence[Preference],
    identity: Mapping[str, Any],
    folder: Path,
) -> None:
    """Outputs, annotations and a leaderboard's row, as alpaca_eval's own tools open them."""
    texts = _answered(ready, anchor)
    found = Judged(
        prompts=[_prompt(text) for text in texts],
        model=Side(anchor.name, tuple(anchor.outputs[text] for text in texts)),
        baseline=Side(ready.baseline.name, tuple(ready.baseline.outputs[text] for text in texts)),
        preferences=preferences,
        edition="anchors",
        annotator=annotator_label(identity),
        signature=signature(identity, "pairs"),
    )
    target = folder / anchor.name / found.annotator
    target.mkdir(parents=True, exist_ok=True)
    write_files(target, found, None)
    write_judge(target, identity)
