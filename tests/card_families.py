"""A family as a run leaves it: a base built by evalkit, two SPPO iterations, two variants.

Shapes are those of real records; the numbers are made up and belong to nothing else.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from evalkit import frontmatter
from evalkit.cards import build_card
from evalkit.family import Family, GateFacts, Member, ModelFacts, TrainingFacts, VariantFacts
from evalkit.judging_stats import PreferenceStats
from evalkit.records import Checkpoint, Comparison, ResultSet, Score

HARNESS = "lm-eval 0.4.13"
JUDGE = {"name": "rule", "version": 1}
VERSIONS = {
    "compressed-tensors": "0.19.0",
    "evalkit": "0.1.0",
    "llmcompressor": "0.14.0.1",
    "lm_eval": "0.4.13",
    "python": "3.11.9",
    "torch": "2.13.0",
    "transformers": "5.17.0",
}
SETTINGS: Mapping[str, Any] = {
    "learning_rate": 5e-4,
    "optimizer": "adamw_torch",
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "batch_size": 32,
    "micro_batch_size": 16,
    "schedule_epochs": 2.0,
    "stop_after_epochs": None,
    "schedule": "linear",
    "warmup_ratio": 0.1,
    "precision": "float32",
    "gradient_checkpointing": False,
}
RECIPE: Mapping[str, Any] = {
    "name": "Pocket-SPPO",
    "seed": 0,
    "base": {"model": None, "revision": None, "builder": {"name": "pocket", "hidden_size": 128}},
    "stages": [{"method": {"name": "sppo", "eta": 20}, "iterations": 2}],
    "variants": [{"name": "w4a16_gptq"}, {"name": "fp8_dynamic"}],
    "publish": {"endpoint": "https://huggingface.co", "namespace": "pocket"},
}
CARD: Mapping[str, Any] = {
    "title": "Pocket-SPPO",
    "summary": "A pocket-sized demonstration of *self-play preference optimization*.",
    "license": "apache-2.0",
    "license_name": None,
    "license_link": None,
    "language": ["en", "no"],
    "tags": ["demo"],
    "authors": ["A. Author"],
    "intended_use": "To try the road from a recipe to a published family without a GPU.",
    "limitations": "It answers a dozen kinds of synthetic one-line tasks and nothing else.",
    "citation": "",
    "hardware": "",
    "energy": "",
}


def pocket_family() -> Family:
    """The whole family, published to the public Hub."""
    members = (
        _member("base", "base", 29.0, built="A Llama of three layers, pre-trained for 690 steps."),
        _member("iter1", "iteration", 47.333333333333336, parent="base", iteration=1),
        _member("iter2", "iteration", 61.333333333333336, parent="iter1", iteration=2),
        _variant("w4a16_gptq", "W4A16", "4-bit (W4A16, GPTQ)", 4, 60.0, 256),
        _variant("fp8_dynamic", "FP8-Dynamic", "FP8 (W8A8, dynamic)", 8, 61.666666666666664, 0),
    )
    return Family(
        name="Pocket-SPPO",
        members=members,
        comparisons=tuple(_comparisons()),
        card=CARD,
        recipe=RECIPE,
        base_source=None,
        versions=VERSIONS,
        published=True,
    )


def changed(family: Family, name: str, **changes: Any) -> Family:
    """The family with one member changed."""
    members = [replace(m, **changes) if m.checkpoint.name == name else m for m in family.members]
    return replace(family, members=tuple(members))


def standard_score(task: str, metric: str, few_shot: int, n: int, value: float) -> Score:
    """A score of a benchmark of the Open LLM Leaderboard v1, made as it prescribes."""
    settings = {"few_shot": few_shot, "filter": "none", "chat_template": False, "harness": HARNESS}
    return Score(task, metric, value, n, "percent", 0.5, value - 1, value + 1, settings=settings)


def lm_eval_result(name: str, *scores: Score) -> ResultSet:
    """The result set of one checkpoint on tasks of the harness."""
    provenance = {
        "seed": 0,
        "chat_template_sha256": "c" * 64,
        "versions": {"lm_eval": "0.4.13", "torch": "2.13.0"},
        "harness": HARNESS,
        "task_versions": {score.task: "1.0" for score in scores},
        "data": {score.task: "d" * 64 for score in scores},
        "intervals": "95 %: Wilson for right or wrong items, Student for other means",
    }
    return ResultSet("lm_eval_tasks", name, _digest(name), scores, provenance)


def _member(name: str, kind: Any, exact: float, **details: Any) -> Member:
    title = f"Pocket-SPPO-{name[:1].upper()}{name[1:]}"
    training = _training(details["iteration"]) if kind == "iteration" else None
    return Member(
        checkpoint=Checkpoint(
            name, "", _digest(name), "float32", parent=details.pop("parent", None)
        ),
        kind=kind,
        title=title,
        repo_id=f"pocket/{title}",
        model=ModelFacts("LlamaForCausalLM", 912_384, 8192, 3_655_112, 3_145_728),
        results=_results(name, exact),
        training=training,
        gate=GateFacts("better", 5, 0.95, told=True) if training else None,
        superseded_by="iter2" if name == "iter1" else None,
        **details,
    )


def _variant(
    scheme: str, suffix: str, label: str, bits: int, exact: float, calibration: int
) -> Member:
    name = f"iter2-{scheme}"
    share = {4: 0.62, 8: 0.75}[bits]
    return Member(
        checkpoint=Checkpoint(name, "", _digest(name), scheme, parent="iter2"),
        kind="variant",
        title=f"Pocket-SPPO-Iter2-{suffix}",
        repo_id=f"pocket/Pocket-SPPO-Iter2-{suffix}",
        model=ModelFacts("LlamaForCausalLM", 912_384, 8192, int(3_655_112 * share), 817_889),
        results=_results(name, exact),
        variant=VariantFacts(
            scheme,
            label,
            bits,
            ("compressed-tensors", "vllm", f"{bits}-bit"),
            {"untested_architecture": False},
            calibration,
            RECOVERY if scheme == "w4a16_gptq" else None,
        ),
    )


def _line(label: str, share: float, low: float, high: float) -> dict[str, Any]:
    return {"label": label, "parent": 60.0, "variant": 60.0 * share, "share": share, "low": low,
            "high": high, "n": 300}  # fmt: skip


# As the step that compares a variant with its parent writes it.
RECOVERY = {
    "lines": [
        _line("Pocket exact: exact match", 0.978, 0.941, 1.014),
        _line("Pocket choice: normalized accuracy", 0.989, 0.961, 1.012),
        _line("Average", 0.989, 0.970, 1.007),
    ],
    "perplexity": {"parent": 2.3598, "variant": 2.3656, "tokens": 567, "conversations": 128},
    "method": "paired bootstrap (10000 draws, seed 0)",
}


# Every figure of a PreferenceStats, one of them unknown.
JUDGING = PreferenceStats(
    verdicts=29_120,
    missing=8,
    cut_verdicts=40,
    order_bias=0.0312,
    order_bias_abs=0.21,
    order_flips=0.0575,
    ties=120,
    tie_rate=0.00825,
    duplicate_responses=410,
    duplicate_rate=0.0547,
    cyclic_triples=0.013,
    best_win_prob=0.78,
    worst_win_prob=0.21,
    win_prob_spread=0.19,
    length_win_prob_correlation=None,
    unjudged_prompts=3,
)._asdict()


def _training(iteration: int) -> TrainingFacts:
    return TrainingFacts(
        method="sppo",
        options={"form": "pointwise", "samples": 5, "eta": 20.0, "normalise": True},
        settings=SETTINGS,
        data={"name": "pocket/self_play", "digest": "a" * 64, "count": 3000},
        prompts=1500,
        examples=1461 - iteration,
        sampling={"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 24},
        dropped={"all responses tie": 36, "unjudged": 2 + iteration},
        judge=JUDGE,
        trained_on=({"iteration": f"iter{iteration}", "prompts": 1500, "digest": "b" * 64},),
        facts={
            "sampling": {"responses": 7500, "mean_response_tokens": 6.25, "unfinished": 12},
            "judging": JUDGING,
        },
    )


def _results(name: str, exact: float) -> tuple[ResultSet, ...]:
    greedy = {"few_shot": 0, "filter": "none", "chat_template": True, "temperature": 0.0}
    lm_eval = lm_eval_result(
        name,
        _score("pocket_exact", "exact_match", exact, 300, 5.4, greedy),
        _score(
            "pocket_exact_t1", "exact_match", exact - 7, 300, 5.6, {**greedy, "temperature": 1.0}
        ),
        _score("pocket_choice", "acc_norm", exact / 2 + 30, 400, 4.8, greedy),
        _score("pocket_choice", "acc", exact / 2 + 28, 400, 4.9, greedy),
    )
    return (lm_eval, _alpaca(name, exact), _mt_bench(name, exact))


def _alpaca(name: str, exact: float) -> ResultSet:
    settings = {"baseline": "gold", "temperature": 0.7, "top_p": 1.0, "max_new_tokens": 48}
    task = "alpaca_eval_pocket/open"
    scores = (
        _score(task, "win_rate", exact / 3, 199, 3.3, settings, missing=1),
        _score(task, "length_controlled_minimal", exact / 3 + 2, 199, 3.9, settings, missing=1),
        Score(task, "n_wins", float(int(exact)), 199, "count", missing=1, settings=settings),
        Score(task, "avg_length", 61.0, 200, "count", settings=settings),
    )
    return ResultSet("alpaca_eval", name, _digest(name), scores, _judged("AlpacaEval pairwise"))


def _mt_bench(name: str, exact: float) -> ResultSet:
    settings = {"max_new_tokens": 32, "temperatures": {"copy": 0.0, "sort": 0.0}}
    task, rating = "mt_bench_pocket/two_turn", 1 + exact / 12
    scores = tuple(
        Score(task, metric, rating + step, n, "rating", 0.3, rating + step - 0.6,
              min(10.0, rating + step + 0.6), settings=settings)
        for metric, step, n in (("average", 0.0, 80), ("turn_1", 0.25, 40), ("turn_2", -0.25, 40),
                                ("category_copy", 0.5, 40))
    )  # fmt: skip
    return ResultSet(
        "mt_bench", name, _digest(name), scores, _judged("MT-Bench single-answer grading")
    )


def _judged(protocol: str) -> dict[str, Any]:
    return {
        "seed": 0,
        "chat_template_sha256": "c" * 64,
        "versions": {"torch": "2.13.0", "transformers": "5.17.0"},
        "protocol": protocol,
        "data": {"name": "pocket", "digest": "e" * 64},
        "judge": JUDGE,
        "engine": {"name": "transformers", "dtype": "float32"},
        "intervals": "95 %: Student",
    }


def _score(
    task: str, metric: str, value: float, n: int, reach: float, settings: Any, missing: int = 0
) -> Score:
    low, high = max(0.0, value - reach), min(100.0, value + reach)
    return Score(
        task, metric, value, n, "percent", reach / 1.96, low, high, missing, settings=settings
    )


def _comparisons() -> list[Comparison]:
    pairs = [("base", "iter1", 18.333333333333332), ("iter1", "iter2", 14.0),
             ("base", "iter2", 32.333333333333336),
             ("iter2", "iter2-w4a16_gptq", -1.3333333333333357),
             ("iter2", "iter2-fp8_dynamic", 0.3333333333333286)]  # fmt: skip
    method = "paired bootstrap (10000 draws, seed 0), McNemar exact p"
    found = []
    for a, b, difference in pairs:
        p = 0.000003 if abs(difference) > 10 else 0.4237
        found += [
            Comparison("lm_eval_tasks", "pocket_exact", "exact_match", a, b, difference,
                       difference - 5.2, difference + 5.1, p, 300, method),
            Comparison("mt_bench", "mt_bench_pocket/two_turn", "average", a, b, difference / 12,
                       difference / 12 - 0.5, difference / 12 + 0.5, p, 40, method),
        ]  # fmt: skip
    return found


def _digest(name: str) -> str:
    return name.encode().hex().ljust(64, "0")[:64]


def card(family: Family, name: str) -> str:
    return build_card(family, family.member(name))


def metadata(family: Family, name: str) -> dict[str, Any]:
    return frontmatter.parse(card(family, name)).metadata


def with_results(family: Family, name: str, *scores: Score) -> Family:
    family = replace(family, comparisons=())
    return changed(family, name, results=(lm_eval_result(name, *scores),))
