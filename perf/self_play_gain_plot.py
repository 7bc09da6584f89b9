"""Draws what `self_play_gain.py` measured: paired gains over the base, all seeds, as an SVG.

python perf/self_play_gain_plot.py [FIGURES.json PICTURE.svg]
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt

COLOURS = {"SPPO": "#2a7fb8", "SPIN": "#d1662a"}
CONTROL = "#7a7a7a"
PANELS = {"greedy_gain": "greedy", "sampled_gain": "at temperature 1"}


def main(source: Path, target: Path) -> None:
    """Reads the measured lines and writes the picture."""
    lines = json.loads(source.read_text())["lines"]
    figure, panels = plt.subplots(1, len(PANELS), figsize=(9, 3.2), sharey=True)
    for axes, (field, title) in zip(panels, PANELS.items(), strict=True):
        draw(axes, [line for line in lines if line[field]], field)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("percentage points over the base, 95 % interval", fontsize=9)
        axes.axvline(0, color="#999999", linewidth=0.8)
    figure.suptitle("Exact match on 300 held-out pocket prompts: gain over the base", fontsize=11)
    figure.tight_layout()
    # No date in the file: the same figures give the same bytes.
    plt.rcParams["svg.hashsalt"] = "evalkit"
    figure.savefig(target, metadata={"Date": None}, facecolor="white")


def draw(axes: Any, lines: list[dict[str, Any]], field: str) -> None:
    """One row per arm, checkpoint and seed."""
    labels = []
    for row, line in enumerate(reversed(lines)):
        value, low, high = line[field]
        error = [[value - low], [high - value]]
        axes.errorbar(
            value, row, xerr=error, fmt="o", markersize=4, color=COLOURS.get(line["arm"], CONTROL)
        )
        labels.append(f"{line['arm']} {line['checkpoint']}, seed {line['seed']}")
    axes.set_yticks(range(len(labels)), labels, fontsize=7)


if __name__ == "__main__":
    root = Path(__file__).parent.parent
    places = [Path(word) for word in sys.argv[1:]]
    main(*(places or [root / "perf/results/self_play_gain.json", root / "docs/self_play_gain.svg"]))
