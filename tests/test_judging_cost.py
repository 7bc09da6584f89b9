"""What judging will cost is said before anything is spent, and a run stops at its budget."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import runs
import yaml
from benchmark_parts import write_lines
from judge_server import MODEL, JudgeServer, served, usage_of
from test_fastchat_data import prompts

from evalkit.chat_client import Spent, Usage
from evalkit.errors import RecipeError
from evalkit.fastchat.answers import answer_row
from evalkit.pipeline.judging_cost import estimates, lines_of, spent, spent_lines
from evalkit.pipeline.plan import make_plan
from evalkit.pipeline.plugins import make
from evalkit.recipe import Recipe
from evalkit.roles import PluginRef
from evalkit.rundir import RunDir

COUNT = 6


@pytest.fixture
def document() -> dict[str, Any]:
    """Two checkpoints with six pairs each, and eight prompts with two responses in training."""
    document: dict[str, Any] = yaml.safe_load((runs.RECIPES / "micro.yaml").read_text())
    judge = {
        "name": "llm",
        "endpoint": "http://127.0.0.1:1/v1",
        "model": MODEL,
        "price_in": 10,
        "price_out": 30,
        "backoff_s": 0.01,
        "concurrency": 2,
    }
    (stage,) = document["stages"]
    stage |= {"iterations": 1, "prompts_per_iteration": 8}
    stage["prompts"]["count"] = 8
    document["evaluation"] = {
        "judge": judge,
        "benchmarks": [
            {
                "name": "alpaca_eval",
                "instructions": {"name": "pocket", "split": "open", "count": COUNT},
                "max_new_tokens": 8,
            }
        ],
    }
    document |= {"variants": []}
    document.pop("publish", None)
    return document


def planned(document: dict[str, Any]) -> list[Any]:
    plan = make_plan(Recipe.model_validate(document), "evaluate")
    return list(estimates(plan, [step.name for step in plan.steps]))


class TestEstimate:
    def test_it_counts_what_every_step_will_ask(self, document: dict[str, Any]) -> None:
        (found,) = planned(document)
        assert found.judge == MODEL
        assert found.steps == ("eval-base-alpaca_eval", "eval-iter1-alpaca_eval")
        assert found.cost.requests == 2 * COUNT
        assert found.cost.tokens_out == 2 * COUNT
        usd = (10 * found.cost.tokens_in + 30 * found.cost.tokens_out) / 1e6
        assert found.cost.usd == pytest.approx(usd)
        assert found.cost.price == "the recipe"

    def test_an_audit_is_counted(self, document: dict[str, Any]) -> None:
        """Swapped pairs, and what a second judge is asked; one that costs nothing is left out."""
        (plain,) = planned(document)
        document["evaluation"]["audit"] = {"items": 4, "second": "rule"}
        (audited,) = planned(document)
        assert audited.cost.requests == plain.cost.requests + 2 * 4
        other = {**document["evaluation"]["judge"], "model": "another", "price_in": 1}
        document["evaluation"]["audit"] = {"items": 4, "swapped": False, "second": other}
        first, second = planned(document)
        assert first.cost == plain.cost
        assert (second.judge, second.cost.requests) == ("another", 2 * 4)
        assert second.cost.usd < first.cost.usd

    def test_training_is_counted_in_full(self, document: dict[str, Any]) -> None:
        """Both orders of every pair of responses: at most, as equal ones are not asked about."""
        (stage,) = document["stages"]
        stage["judge"] = {**document["evaluation"]["judge"], "model": "another"}
        both = planned(document)
        (own,) = (one for one in both if one.judge == "another")
        method = make("methods", PluginRef.model_validate(stage["method"]))
        samples = method.needs().samples
        head_to_head = stage["head_to_head"]["prompts"]
        assert own.steps == ("iter1-judge", "iter1-head-to-head")
        assert own.cost.requests == 8 * samples * (samples - 1) + 2 * head_to_head
        stage["head_to_head"] = {"prompts": 0}
        (own,) = (one for one in planned(document) if one.judge == "another")
        assert own.steps == ("iter1-judge",)

    def test_another_judge_of_the_head_to_head_is_counted(self, document: dict[str, Any]) -> None:
        (stage,) = document["stages"]
        other = {**document["evaluation"]["judge"], "model": "another"}
        stage["head_to_head"] = {"prompts": 5, "other_judge": other}
        (own,) = (one for one in planned(document) if one.judge == "another")
        assert own.steps == ("iter1-head-to-head-other",)
        assert own.cost.requests == 2 * 5

    def test_mt_bench_is_counted_and_what_an_audit_asks_of_it(
        self, document: dict[str, Any], tmp_path: Path
    ) -> None:
        """Each turn once; games in both orders; an audit swaps games and no ratings."""
        forms = write_lines(tmp_path / "judge_prompts.jsonl", prompts())
        section, turns = document["evaluation"], 2 * 2 * 4  # checkpoints, turns, questions
        section["judge"]["rating_prompts"] = str(forms)
        bench = {"name": "mt_bench", "questions": {"name": "pocket", "split": "two_turn"}}
        bench["questions"] |= {"count": 4}
        section["benchmarks"] = [{**bench, "max_new_tokens": 16}]
        (single,) = planned(document)
        assert single.steps == ("eval-base-mt_bench", "eval-iter1-mt_bench")
        assert single.cost.requests == turns
        assert single.cost.tokens_out == turns * 2048
        section["audit"] = {"items": 3, "second": {**section["judge"], "model": "another"}}
        first, second = planned(document)
        assert first.cost == single.cost
        assert (second.judge, second.cost.requests) == ("another", 2 * 3)
        questions = make("sources", PluginRef.model_validate(bench["questions"])).questions()
        rows = [answer_row(one.id, "other", ["A.", "B."]) for one in questions]
        answers = write_lines(tmp_path / "other.jsonl", rows)
        section["benchmarks"][0] |= {"grading": "both", "opponents": [str(answers)]}
        section["audit"] = {"items": None}
        (both,) = planned(document)
        assert both.cost.requests == turns + 2 * turns + 2 * turns

    def test_what_was_spent_counts_towards_a_budget(self, document: dict[str, Any]) -> None:
        """And what another judge of the recipe asks of the same model at the same host."""
        section = document["evaluation"]
        plan = make_plan(Recipe.model_validate(document), "evaluate")
        names = [step.name for step in plan.steps]
        (plain,) = estimates(plan, names)
        assert (plain.spent_usd, plain.spent_tokens) == (0, 0)
        account = {f"{MODEL} at local": Spent(3, Usage(1000, 3), 1, Usage(500, 1))}
        (later,) = estimates(plan, names, account)
        assert later.cost == plain.cost
        assert later.spent_tokens == 1504
        assert later.spent_usd == pytest.approx((1500 * 10 + 4 * 30) / 1e6)
        section["audit"] = {"items": 2, "swapped": False,
                            "second": {**section["judge"], "temperature": 0.5}}  # fmt: skip
        first, second = planned(document)
        assert first.judge == second.judge == MODEL
        assert first.spent_tokens == second.cost.tokens_in + second.cost.tokens_out
        section["judge"]["budget_usd"] = first.cost.usd + second.cost.usd / 2
        first, second = planned(document)
        described = [{**first._asdict(), "cost": first.cost._asdict()}]
        _, warning = lines_of(described)
        assert warning.startswith("warning: budget_usd is ")
        assert "are spent, or due by other judges on this model" in warning

    def test_what_is_done_is_not_counted(self, document: dict[str, Any]) -> None:
        plan = make_plan(Recipe.model_validate(document), "evaluate")
        (found,) = estimates(plan, ["eval-iter1-alpaca_eval"])
        assert found.cost.requests == COUNT
        assert estimates(plan, ["iter1-train"]) == []

    def test_a_judge_that_costs_nothing_is_left_out(self, document: dict[str, Any]) -> None:
        document["evaluation"]["judge"] = "rule"
        assert planned(document) == []

    def test_in_words(self, document: dict[str, Any]) -> None:
        (found,) = planned(document)
        described = [{**found._asdict(), "cost": found.cost._asdict()}]
        (line,) = lines_of(described)
        assert line.startswith(f"judging by {MODEL}: about 12 requests, ")
        assert line.endswith(f"at most 12 out, ${found.cost.usd:.2f} (the recipe)")
        low = [{**described[0], "budget_usd": found.cost.usd / 2, "budget_tokens": 100}]
        _, first, second = lines_of(low)
        assert first.startswith("warning: budget_usd is ")
        assert second == "warning: budget_tokens is 100: the run will stop on the way"
        unknown = [{**described[0], "cost": {**described[0]["cost"], "usd": None, "price": ""}}]
        assert next(lines_of(unknown)).endswith("price not known")


class TestOptions:
    def test_a_budget_in_money_needs_a_price(self, document: dict[str, Any]) -> None:
        judge = document["evaluation"]["judge"]
        del judge["price_in"], judge["price_out"]
        judge["budget_usd"] = 1
        with pytest.raises(RecipeError) as error:
            make("judges", PluginRef.model_validate(judge))
        assert "`budget_usd` needs a price" in error.value.problems[0].message
        known = {
            **judge,
            "model": "gpt-4.1-mini-2025-04-14",
            "endpoint": "https://api.openai.com/v1",
        }
        price = make("judges", PluginRef.model_validate(known)).options.price_of()
        assert price.usd(Usage(10**6, 0)) == 0.4
        with pytest.raises(RecipeError) as error:
            make("judges", PluginRef.model_validate({**judge, "price_in": 3}))
        assert "give both `price_in` and `price_out`" in error.value.problems[0].message

    def test_a_budget_needs_bounded_answers(self, document: dict[str, Any]) -> None:
        with served() as server:
            judge = {
                **document["evaluation"]["judge"],
                "endpoint": server.url,
                "budget_tokens": 10,
                "extra_body": {"max_tokens": None},
            }
            (problem,) = make("judges", PluginRef.model_validate(judge)).check()
        assert problem.where == "budget_tokens"
        assert "answers may be of any length" in problem.message

    def test_money_makes_no_step_stale(self, document: dict[str, Any]) -> None:
        def fingerprint(**changes: Any) -> Any:
            changed = {**document["evaluation"]["judge"], **changes}
            section = {**document["evaluation"], "judge": changed}
            plan = make_plan(Recipe.model_validate({**document, "evaluation": section}), "evaluate")
            return plan.by_name["eval-base-alpaca_eval"].settings

        how = {"budget_usd": 3, "budget_tokens": 7, "price_in": 1, "requests_per_minute": 60}
        assert fingerprint(**how) == fingerprint()
        assert fingerprint(model="other") != fingerprint()


def evaluate(
    document: dict[str, Any], folder: Path, server: JudgeServer, *flags: str, **judge: Any
) -> Any:
    recipe = folder / "recipe.yaml"
    section = document["evaluation"]
    given = {**section["judge"], "endpoint": server.url, **judge}
    recipe.write_text(
        yaml.safe_dump({**document, "evaluation": {**section, "judge": given}}), "utf-8"
    )
    words = runs.command(recipe, folder)
    words[words.index("train-and-publish")] = "evaluate"
    hub = words.index("--hub-root")
    del words[hub : hub + 2]
    return subprocess.run(
        [*words, *flags], capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.slow
def test_a_run_within_its_budget(document: dict[str, Any], tmp_path: Path) -> None:
    """Estimated, stopped before the budget is exceeded, gone on with: nothing is charged twice."""
    with served() as server:
        planned = evaluate(document, tmp_path, server, "--dry-run", "--json", budget_tokens=3000)
        assert planned.returncode == 0, planned.stderr
        (told,) = json.loads(planned.stdout)["judging"]
        assert server.bodies == []
        stopped = evaluate(document, tmp_path, server, budget_tokens=3000)
        assert stopped.returncode == 1
        assert "might exceed the budget of 3000 tokens" in stopped.stderr
        assert "judging by scripted-judge: about 12 requests" in stopped.stderr
        assert "warning: budget_tokens is 3,000: the run will stop on the way" in stopped.stderr
        assert sum(server.charged_tokens) <= 3000
        assert 0 < len(server.answered) < 2 * COUNT
        done = evaluate(document, tmp_path, server, budget_tokens=100_000)
        assert done.returncode == 0, done.stderr
        assert max(server.charged.values()) <= 2  # two checkpoints may give equal answers
        tokens = sum(sum(list(usage_of(body).values())[:2]) for body in server.bodies)
        assert tokens == sum(server.charged_tokens)
    run = RunDir(tmp_path / "run")
    ((payee, one),) = spent(run).items()
    assert payee == f"{MODEL} at local"
    assert one["requests"] == len(server.bodies) <= told["cost"]["requests"]
    assert [one["tokens_in"], one["tokens_out"]] == server.charged_tokens
    assert one["uncounted_requests"] == 0
    (line,) = spent_lines(spent(run))
    assert line.startswith(f"asked of {MODEL} at local: {len(server.bodies)} requests, ")
    # Made-up words are more tokens than English ones: the estimate is one for English.
    assert 0.4 < told["cost"]["tokens_in"] / server.charged_tokens[0] < 1.6
