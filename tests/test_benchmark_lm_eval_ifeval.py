"""IFEval as the harness runs it: four metrics, two of which count every instruction of a prompt."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval")
pytest.importorskip("langdetect")

import lm_eval
import nltk.data
from card_families import changed, lm_eval_result, pocket_family
from lm_eval.api.model import LM

from evalkit.benchmarks.lm_eval_quiet import quiet
from evalkit.benchmarks.lm_eval_results import samples_of, scores_of
from evalkit.benchmarks.lm_eval_tasks import SEEDS, LmEvalTasks
from evalkit.leaderboard import read_definition
from evalkit.records import Score

pytestmark = pytest.mark.slow
TASK = "leaderboard_ifeval"
# (instruction, its arguments), followed by "all in small letters, no comma" or not.
LOWER, NO_COMMA = ("change_case:english_lowercase", {}), ("punctuation:no_comma", {})
QUOTED, TITLE = ("startend:quotation", {}), ("detectable_format:title", {})
PROMPTS = [[LOWER], [NO_COMMA, LOWER], [QUOTED, NO_COMMA], [TITLE, QUOTED, LOWER], [NO_COMMA]]
RIGHT = [[True], [True, True], [False, True], [False, False, True], [True]]


class SaysOneThing(LM):  # type: ignore[misc]
    """A model that answers everything in small letters and without a comma."""

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        return ["the river runs to the sea and all of it is water" for _ in requests]

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> Any:
        raise AssertionError("IFEval is generated")

    loglikelihood_rolling = loglikelihood


@pytest.fixture(scope="module")
def results(tmp_path_factory: Any) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("ifeval")
    # Its helpers download what is not there when they are imported; none of these prompts reads it.
    (folder / "nltk_data" / "tokenizers" / "punkt_tab").mkdir(parents=True)
    nltk.data.path.append(str(folder / "nltk_data"))
    keys = sorted({key for prompt in PROMPTS for _, given in prompt for key in given})
    rows = [
        {
            "key": number,
            "prompt": f"Write about water, please ({number}).",
            "instruction_id_list": [name for name, _ in prompt],
            "kwargs": [dict.fromkeys(keys) | given | {"num_words": None} for _, given in prompt],
        }
        for number, prompt in enumerate(PROMPTS)
    ]
    file = folder / "ifeval.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"tasks": [TASK], "data": {TASK: {"train": str(file)}}}
    benchmark = LmEvalTasks(LmEvalTasks.Options.model_validate(options))
    with quiet():
        found: dict[str, Any] = lm_eval.simple_evaluate(
            model=SaysOneThing(),
            tasks=[TASK],
            task_manager=benchmark._loader(_made(folder)),
            bootstrap_iters=0,
            log_samples=True,
            **SEEDS,
        )
    return found


def _made(folder: Path) -> Path:
    definitions = folder / "definitions"
    definitions.mkdir()
    return definitions


def by_metric(results: dict[str, Any]) -> dict[str, Score]:
    return {score.metric: score for score in scores_of(results, {"harness": "lm-eval 0.4.13"})}


def test_all_four_metrics_are_of_all_prompts(results: dict[str, Any]) -> None:
    scores = by_metric(results)
    assert set(scores) == {
        f"{level}_level_{kind}_acc" for level in ("prompt", "inst") for kind in ("strict", "loose")
    }
    assert {(one.n, one.missing, one.scale) for one in scores.values()} == {(5, 0, "percent")}
    followed = [one for prompt in RIGHT for one in prompt]
    assert scores["prompt_level_strict_acc"].value == pytest.approx(60)
    strict = scores["inst_level_strict_acc"]
    assert strict.value == pytest.approx(100 * sum(followed) / len(followed))


def test_instructions_of_one_prompt_are_one_draw(results: dict[str, Any]) -> None:
    """The error of a ratio of sums over prompts. Source: Cochran 1977, eq. 2.45."""
    strict = by_metric(results)["inst_level_strict_acc"]
    n, total = len(RIGHT), sum(map(len, RIGHT))
    mean = sum(map(sum, RIGHT)) / total
    residuals = [sum(one) - mean * len(one) for one in RIGHT]
    stderr = math.sqrt(n / (n - 1) * sum(r * r for r in residuals)) / total
    assert strict.stderr == pytest.approx(100 * stderr)
    assert strict.ci_low is not None
    assert strict.ci_low < strict.value


def test_samples_have_what_is_one_number(results: dict[str, Any]) -> None:
    samples = samples_of(results)
    assert [one.metrics["prompt_level_strict_acc"] for one in samples] == [100, 100, 0, 0, 100]
    assert all("inst_level_strict_acc" not in one.metrics for one in samples)


def test_the_leaderboard_s_column_is_the_mean_of_both(results: dict[str, Any]) -> None:
    """Of as many items as it says; the larger error is a bound of the mean's."""
    column = read_definition("open_llm_v2").columns[0].model_copy(update={"n": 5})
    scores = list(by_metric(results).values())
    family = pocket_family()
    member = changed(family, "base", results=(lm_eval_result("base", *scores),)).members[0]
    found = column.score_of(member)
    assert found is not None
    own = by_metric(results)
    both = [own[f"{level}_level_strict_acc"] for level in ("prompt", "inst")]
    assert found.value == pytest.approx(sum(one.value for one in both) / 2)
    assert found.stderr == pytest.approx(max(one.stderr or 0 for one in both))
    assert (found.n, found.missing) == (5, 0)
