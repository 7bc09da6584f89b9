"""The pocket lm-eval tasks run through the harness itself, offline, with and without shots."""

from pathlib import Path
from typing import Any

import pytest

from evalkit import loading
from evalkit.pocket import tasks_folder

LIMIT = 6
TASKS = ("pocket_choice", "pocket_exact", "pocket_exact_t1")


@pytest.fixture(scope="module")
def manager() -> Any:
    tasks = pytest.importorskip("lm_eval.tasks")
    return tasks.TaskManager(include_path=str(tasks_folder()), include_defaults=False)


@pytest.fixture(scope="module")
def model(pocket_base: Path) -> Any:
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    loaded = loading.load_model(pocket_base, device="cpu")
    return huggingface.HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=8)


def evaluate(model: Any, manager: Any, **options: Any) -> dict[str, Any]:
    import lm_eval

    results: dict[str, Any] = lm_eval.simple_evaluate(
        model=model,
        task_manager=manager,
        limit=LIMIT,
        apply_chat_template=True,
        bootstrap_iters=0,
        **options,
    )
    return results


def test_all_three_run_and_score(model: Any, manager: Any) -> None:
    results = evaluate(model, manager, tasks=list(TASKS))
    assert results["n-samples"]["pocket_exact"] == {"original": 300, "effective": LIMIT}
    assert results["n-samples"]["pocket_choice"]["original"] >= 300
    assert {"acc,none", "acc_norm,none"} <= results["results"]["pocket_choice"].keys()
    for task in TASKS[1:]:
        assert 0 <= results["results"][task]["exact_match,none"] <= 1
    greedy, sampled = (results["configs"][task]["generation_kwargs"] for task in TASKS[1:])
    assert (greedy["do_sample"], greedy["temperature"]) == (False, 0.0)
    assert (sampled["do_sample"], sampled["temperature"]) == (True, 1.0)
    assert [one["doc"]["id"] for one in results["samples"]["pocket_exact"]] == [
        one["doc"]["id"] for one in results["samples"]["pocket_exact_t1"]
    ]


def test_prompts_and_options_are_what_the_model_was_taught(model: Any, manager: Any) -> None:
    results = evaluate(model, manager, tasks=["pocket_choice"], num_fewshot=2)
    for sample in results["samples"]["pocket_choice"]:
        context, option = sample["arguments"][0][:2]
        assert context.count("<s>") == 1
        assert context.count("<|user|>") == 3
        assert context.endswith(f"<|user|>{sample['doc']['question']}</s><|assistant|>")
        assert option.strip() == sample["doc"]["options"][0]


def test_the_right_answer_is_an_exact_match(manager: Any) -> None:
    (task,) = manager.load(["pocket_exact"])["tasks"].values()
    document = task.test_docs()[0]
    assert task.process_results(document, [document["answer"]]) == {"exact_match": 1.0}
    spoiled = f"{document['answer']} {document['answer'].split()[-1]}"
    assert task.process_results(document, [spoiled]) == {"exact_match": 0.0}
