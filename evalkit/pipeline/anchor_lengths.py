"""Length-controlled win rates of anchor models, by the new judge and by the official one.

They are defined for AlpacaEval's own instructions and baseline, all of them, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evalkit.benchmarks import alpaca_eval_official
from evalkit.benchmarks.alpaca_eval_files import Side
from evalkit.errors import ScoreError
from evalkit.metrics import alpaca_eval_data
from evalkit.metrics.alpaca_eval_data import Auxiliary
from evalkit.metrics.calibration import AnchorRate, Rates, compare_rates
from evalkit.metrics.length_controlled import DRAWS, Judged, redrawn
from evalkit.metrics.win_rate import is_missing
from evalkit.pipeline.anchors import Anchor, Official
from evalkit.records import Message, Prompt

# Shapes: M anchors, D draws of the bootstrap; in a table of both, the first row is the figure.
Floats = NDArray[np.float64]
Preferences = Mapping[str, Mapping[str, float | None]]  # by model and instruction


class LengthControlledAnchors(NamedTuple):
    """The rates of the anchors that have one by both judges, in the order of `names`.

    rates: None where no anchor has. auxiliary: digests of the data that they were computed with.
    notes: why anchors have none.
    """

    rates: Rates | None
    names: tuple[str, ...] = ()
    auxiliary: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()

    def of(self, name: str) -> AnchorRate | None:
        """One anchor's, None where it has none."""
        if self.rates is None or name not in self.names:
            return None
        return self.rates.anchors[self.names.index(name)]


class Controlled(NamedTuple):
    """The instructions that were asked, in the baseline's order, and what is known of them.

    auxiliary: None where this machine has none.
    """

    texts: Sequence[str]
    baseline: Anchor
    auxiliary: Auxiliary | None
    seed: int

    def obstacle(self) -> str:
        """Why no model can have a length-controlled win rate; empty where nothing is in the way."""
        if not alpaca_eval_data.in_published_order(self.texts):
            return "these are not all of AlpacaEval's own instructions, in their order"
        prompts = [Prompt(str(i), (Message("user", text),)) for i, text in enumerate(self.texts)]
        side = Side(self.baseline.name, tuple(self.baseline.outputs[text] for text in self.texts))
        if not alpaca_eval_official.has_official_data(prompts, side):
            return f"the baseline is not AlpacaEval's own, {alpaca_eval_official.BASELINE}"
        if self.auxiliary is None:
            return f"{alpaca_eval_data.HUB_FILE} is not on this machine (--aux, evalkit prefetch)"
        return ""

    def rates(self, anchors: Sequence[Anchor], preferences: Preferences) -> Floats:
        """Rates in percent, and their bootstrap (1 + D, M)."""
        assert self.auxiliary is not None
        models = [self._judged(anchor, preferences[anchor.name]) for anchor in anchors]
        found = redrawn(models, self.auxiliary, self.seed)
        return np.vstack([found.rates_M, found.drawn_MD.T])

    def _judged(self, anchor: Anchor, preferences: Mapping[str, float | None]) -> Judged:
        """Its rows alone: of a model without all answers, difficulties are upstream's by row."""
        texts = [text for text in self.texts if text in anchor.outputs]
        return Judged(
            [preferences.get(text) for text in texts],
            [len(anchor.outputs[text]) for text in texts],
            [len(self.baseline.outputs[text]) for text in texts],
            texts,
        )


def controlled(
    anchors: Sequence[Anchor], preferences: Preferences, official: Official, setting: Controlled
) -> LengthControlledAnchors:
    """Of all anchors that can have them, with one bootstrap for both judges."""
    obstacle = setting.obstacle()
    if obstacle or setting.auxiliary is None:
        return LengthControlledAnchors(None, notes=(f"no length-controlled win rates: {obstacle}",))
    known = {*official.length_controlled, *official.preferences}
    notes = tuple(
        f"no length-controlled win rate of {anchor.name}: the official judge's is not known"
        for anchor in anchors
        if anchor.name not in known
    )
    chosen = [anchor for anchor in anchors if anchor.name in known]
    if not chosen:
        return LengthControlledAnchors(None, notes=notes)
    try:
        new_DM = setting.rates(chosen, preferences)
        official_DM = _official_rates(chosen, official, setting)
    except ScoreError as error:
        return LengthControlledAnchors(None, notes=(*notes, error.message))
    decided = [sum(not is_missing(v) for v in preferences[one.name].values()) for one in chosen]
    rates = compare_rates(new_DM, official_DM, decided)
    names = tuple(anchor.name for anchor in chosen)
    return LengthControlledAnchors(rates, names, setting.auxiliary.origin, notes)


def _official_rates(anchors: Sequence[Anchor], official: Official, setting: Controlled) -> Floats:
    """As published; where its judgements are there, a draw moves it by what it moves their rate."""
    found_DM = np.zeros((1 + DRAWS, len(anchors)))
    known = [m for m, anchor in enumerate(anchors) if anchor.name in official.preferences]
    if known:
        found_DM[:, known] = setting.rates([anchors[m] for m in known], official.preferences)
    for m, anchor in enumerate(anchors):
        figure = official.length_controlled.get(anchor.name)
        if figure is not None:
            found_DM[:, m] += figure - found_DM[0, m]
    return found_DM
