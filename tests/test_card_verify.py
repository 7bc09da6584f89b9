"""`card verify` on cards of a real run: each of its verdicts, at the line of the number."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from card_families import pocket_family, standard_score, with_results

from evalkit.card_reading.model_names import model_key
from evalkit.cards import Book, build_card, build_files, records_of
from evalkit.cli import main
from evalkit.hub.serve import running
from evalkit.pipeline.card_order import read_order
from evalkit.pipeline.exporting import families_of
from evalkit.pipeline.ordered_card import build
from evalkit.pipeline.recorded_options import trusted
from evalkit.pipeline.verifying import Places
from evalkit.pipeline.verifying import verify as verified
from evalkit.score_records import FOLDER, INDEX, Citation, write_store

TITLE = "Micro-SPPO-Iter2"
Verify = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def verify(capsys: pytest.CaptureFixture[str]) -> Verify:
    """Runs `card verify --json`; gives the exit code, and the numbers or the error."""

    def run(*words: object) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            main(["card", "verify", *map(str, words), "--json"])
        said = capsys.readouterr()
        told = said.out or said.err.splitlines()[-1]
        return int(caught.value.code or 0), json.loads(told)

    return run


@pytest.fixture
def card(micro_run: Path, tmp_path: Path) -> Path:
    """The folder of the card of the micro run's last iteration, to be spoilt."""
    return Path(shutil.copytree(micro_run / "run" / "steps" / "cards" / TITLE, tmp_path / TITLE))


def verdicts(said: dict[str, Any]) -> Counter[str]:
    return Counter(one["verdict"] for one in said["numbers"])


def spoil(folder: Path, old: str, new: str) -> int:
    """Replaces the first `old` of a card by `new`; gives its line."""
    file = folder / "README.md"
    before, mark, after = file.read_text("utf-8").partition(old)
    assert mark
    file.write_text(before + new + after, "utf-8")
    return before.count("\n") + 1 + (old[: len(old) - len(old.lstrip("\n"))]).count("\n")


def test_every_number_of_a_real_card_matches(card: Path, micro_run: Path, verify: Verify) -> None:
    code, said = verify(card)
    assert code == 0
    assert verdicts(said) == {"match": len(said["numbers"])}
    text = (card / "README.md").read_text()
    cited = json.loads((card / FOLDER / INDEX).read_text())
    assert all(one["shown"] in text for one in cited)
    stated = {(one["name"], one["shown"]) for one in said["numbers"]}
    assert len(stated) > 20
    code, against_run = verify(card, "--run", micro_run / "run", "--strict")
    assert code == 0
    assert {one["where"] for one in against_run["numbers"]} == {f"run {micro_run / 'run'}"}


@pytest.mark.parametrize("place", ["metadata", "results", "evaluation"])
def test_one_digit_is_found_at_its_line(place: str, card: Path, verify: Verify) -> None:
    text = (card / "README.md").read_text()
    pattern = {
        "metadata": r"value: (\d+\.\d+)",
        "results": rf"\*\*\[?{TITLE}[^|]*\| \*\*(\d+\.\d)",
        "evaluation": r"Pocket exact: exact match \| (\d+\.\d)",
    }[place]
    found = re.search(pattern, text)
    assert found
    number = found[1]
    wrong = number[:-1] + str((int(number[-1]) + 1) % 10)
    spoilt = text[: found.start(1)] + wrong + text[found.end(1) :]
    (card / "README.md").write_text(spoilt)
    line = text[: found.start(1)].count("\n") + 1
    code, said = verify(card)
    assert code == 1
    bad = [one for one in said["numbers"] if one["verdict"] != "match"]
    assert [(one["line"], one["verdict"]) for one in bad] == [(line, "contradicted")]
    assert bad[0]["known"] == number


def test_other_shots_are_not_compared(card: Path, verify: Verify) -> None:
    line = spoil(card, "few_shot: 0", "few_shot: 5")
    code, said = verify(card)
    assert code == 0
    bad = [one for one in said["numbers"] if one["verdict"] != "match"]
    assert {one["verdict"] for one in bad} == {"unverifiable"}
    assert all(line < one["line"] < line + 25 for one in bad)
    assert "few-shot examples: 5 in the card, 0 here" in bad[0]["why"]
    assert verify(card, "--strict")[0] == 1


def test_other_weights_are_not_compared(card: Path, micro_run: Path, verify: Verify,
                                        tmp_path: Path) -> None:  # fmt: skip
    run = tmp_path / "run"
    shutil.copytree(micro_run / "run" / "steps" / "cards", run / "steps" / "cards")
    shutil.copyfile(micro_run / "run" / "plan.json", run / "plan.json")
    family = run / "steps" / "cards" / "family.json"
    value = json.loads(family.read_text())
    for member in value["members"]:
        for result in member["results"]:
            result["checkpoint_digest"] = "0" * 64
    family.write_text(json.dumps(value))
    code, said = verify(card, "--run", run)
    assert code == 0
    own = [one for one in said["numbers"] if one["verdict"] != "match"]
    assert len(own) == len(said["numbers"])
    assert all("weights: " in one["why"] for one in own)


def test_records_that_were_altered_or_are_gone(card: Path, verify: Verify) -> None:
    file = next(one for one in (card / FOLDER).glob("*.json") if one.name != INDEX)
    kept = file.read_text()
    file.write_text(kept.replace('"value":', '"value":1'))
    code, said = verify(card)
    assert code == 1
    assert "was altered" in said["error"]["message"]
    file.unlink()
    code, said = verify(card)
    assert code == 1
    assert "is gone" in said["error"]["message"]
    shutil.rmtree(card / FOLDER)
    code, said = verify(card)
    assert code == 0
    assert set(verdicts(said)) == {"unverifiable"}
    assert "no records" in said["numbers"][0]["why"]


def test_a_record_and_a_card_altered_alike_do_not_pass_the_run(
    micro_run: Path, tmp_path: Path, verify: Verify
) -> None:
    """Whoever changes a number, its record and its digest together is held to the run."""
    (family,) = families_of([micro_run / "run"])
    member = family.member("iter2")
    first = member.results[0]
    score = replace(first.scores[0], value=first.scores[0].value + 3)
    results = (replace(first, scores=(score, *first.scores[1:])), *member.results[1:])
    lied = replace(member, results=results)
    family = replace(family, comparisons=(),
                     members=tuple(lied if m is member else m for m in family.members))  # fmt: skip
    book = Book(records_of(family))
    (tmp_path / "README.md").write_text(build_card(family, lied, book=book))
    write_store(tmp_path, book.records, book.citations)
    assert verify(tmp_path)[0] == 0
    code, said = verify(tmp_path, "--run", micro_run / "run")
    assert code == 1
    bad = {one["name"] for one in said["numbers"] if one["verdict"] == "contradicted"}
    assert bad == {f"{score.task} {score.metric}"}


def test_results_of_another_tool(micro_run: Path, card: Path, verify: Verify) -> None:
    """The harness's own file of the run, raw: values agree, and what it does not hold is said."""
    raw = micro_run / "run" / "steps" / "eval-iter2-lm_eval_tasks" / "raw" / "lm_eval_results.json"
    code, said = verify(card, "--results", raw)
    assert code == 0
    of_file = [one for one in said["numbers"] if one["where"] == raw.name]
    assert {one["verdict"] for one in of_file} == {"match"}
    assert {one["name"].split()[0] for one in of_file} == {"pocket_exact", "pocket_choice"}


def test_within_the_interval_of_another_measurement(tmp_path: Path, verify: Verify) -> None:
    results = {
        "results": {"gsm8k": {"exact_match,none": 0.6, "exact_match_stderr,none": 0.0134903}},
        "versions": {"gsm8k": 3}, "n-shot": {"gsm8k": 5}, "model_name": "me/mine",
        "n-samples": {"gsm8k": {"original": 1319, "effective": 1319}},
        "lm_eval_version": "0.4.13", "config": {"num_fewshot": 5}, "configs": {},
    }  # fmt: skip
    (tmp_path / "results.json").write_text(json.dumps(results))
    lines = ["# Mine", "", "| Benchmark | Mine |", "| --- | --- |", "| GSM8K (5-shot) | {} |"]
    for stated, verdict in (("60.0", "match"), ("61.5", "within interval"),
                            ("66.1", "contradicted")):  # fmt: skip
        file = tmp_path / "README.md"
        file.write_text("\n".join(lines).format(stated))
        code, said = verify(file, "--results", tmp_path / "results.json")
        assert [(one["line"], one["verdict"]) for one in said["numbers"]] == [(5, verdict)]
        assert code == (verdict == "contradicted")
    file.write_text("\n".join(lines).format("61.5").replace("5-shot", "0-shot"))
    code, said = verify(file, "--results", tmp_path / "results.json")
    assert [one["verdict"] for one in said["numbers"]] == ["unverifiable"]


def test_a_card_on_the_hub_with_its_records(micro_run: Path, tmp_path: Path) -> None:
    """By its id and a revision; afterwards from the cache, with no Hub to ask."""
    hub = shutil.copytree(micro_run / "hub", tmp_path / "hub")
    words = [sys.executable, "-m", "evalkit.cli", "card", "verify", "--json"]
    found = []
    with running(hub) as server:
        places = {**os.environ, "HF_ENDPOINT": server.endpoint, "HF_HOME": str(tmp_path / "home")}
        for name in ("micro/Micro-SPPO-Iter2", "micro/Micro-SPPO-Iter2@main", "micro/none"):
            done = subprocess.run([*words, name], capture_output=True, text=True, env=places,
                                  check=False)  # fmt: skip
            found.append((done.returncode, done.stdout or done.stderr))
    for code, said in found[:2]:
        assert code == 0, said
        verdicts = {one["verdict"] for one in json.loads(said)["numbers"]}
        assert verdicts == {"match"}
    assert found[2][0] == 1
    assert "the Hub has no model micro/none" in found[2][1]
    done = subprocess.run([*words, "micro/Micro-SPPO-Iter2"], capture_output=True, text=True,
                          env=places, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == found[0][1]


def test_recoveries_stand_on_two_records(tmp_path: Path) -> None:
    """Both scores of each row of a variant's table are looked up, each as its own model's."""
    family = pocket_family()
    member = family.member("iter2-w4a16_gptq")
    book = Book(records_of(family))
    text = build_card(family, member, book=book)
    write_store(tmp_path, book.records, book.citations)
    (tmp_path / "README.md").write_text(text)
    lines = text.split("\n")
    head = next(at for at, line in enumerate(lines) if line.startswith("| Benchmark | Pocket"))
    rows = list(takewhile(lambda at: lines[at].startswith("|"), range(head + 2, len(lines))))
    checked = verified(str(tmp_path), Places()).checked
    for at in rows:
        models = [one.model for one in checked if one.line == at + 1]
        assert [model_key(one) for one in models] == ["pocketsppoiter2", model_key(member.title)]


def test_eval_results_beside_a_card(tmp_path: Path, verify: Verify) -> None:
    """Those that a build writes match; one that was changed is named by its file and line."""
    score = standard_score("gsm8k", "exact_match", 5, 1319, 61.23)
    family = with_results(pocket_family(), "iter1", score)
    book = Book(records_of(family))
    for name, content in build_files(family, family.member("iter1"), book=book).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    write_store(tmp_path, book.records, book.citations)
    code, said = verify(tmp_path, "--strict")
    assert code == 0
    assert [one["name"] for one in said["numbers"] if one["file"]] == ["gsm8k exact_match"]
    file = tmp_path / ".eval_results" / "gsm8k.yaml"
    file.write_text(file.read_text().replace("61.23", "62.23"))
    code, said = verify(tmp_path)
    assert code == 1
    (bad,) = (one for one in said["numbers"] if one["verdict"] != "match")
    assert (bad["file"], bad["verdict"]) == (".eval_results/gsm8k.yaml", "contradicted")
    assert "62.23" in file.read_text().splitlines()[bad["line"] - 1]
    file.write_text("- {dataset: {id: a/b, task_id: c}, value: 3.5}\n")
    code, said = verify(tmp_path)
    assert code == 0
    assert [one["name"] for one in said["numbers"] if one["verdict"] == "unverifiable"] == ["a/b c"]


def test_reported_numbers_are_said_to_be_that(tmp_path: Path, verify: Verify) -> None:
    """A match with what others report is none with a measurement; a wrong digit is wrong."""
    order = Path(__file__).parent / "card_orders" / "mistral-iter1.yaml"
    build(read_order(order), tmp_path, "evalkit card build mistral-iter1.yaml")
    code, said = verify(tmp_path, "--strict")
    assert code == 0
    assert len(said["numbers"]) > 20
    assert all(one["where"].endswith(", reported") for one in said["numbers"])
    line = spoil(tmp_path, "**24.79**", "**27.49**")
    code, said = verify(tmp_path)
    assert code == 1
    bad = [one for one in said["numbers"] if one["verdict"] != "match"]
    assert [(one["line"], one["verdict"]) for one in bad] == [(line, "contradicted")]


def test_a_table_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    family = pocket_family()
    book = Book(records_of(family))
    (tmp_path / "README.md").write_text(build_card(family, family.member("iter1"), book=book))
    write_store(tmp_path, book.records, book.citations)
    spoil(tmp_path, "47.3 [", "48.3 [")
    with pytest.raises(SystemExit) as caught:
        main(["card", "verify", str(tmp_path)])
    assert caught.value.code == 1
    out = capsys.readouterr().out
    assert re.search(
        r"48\.3 .*pocket_exact exact_match, Pocket-SPPO-Iter1 +contradicted +47\.3", out
    )
    assert "1 contradicted" in out.splitlines()[-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["iter2", "iter2-w4a16_gptq"])
def test_any_changed_digit_is_found(name: str, tmp_path: Path) -> None:
    """Every number that belongs to a score: values, limits of intervals, n, missing."""
    family = pocket_family()
    book = Book(records_of(family))
    text = build_card(family, family.member(name), book=book)
    write_store(tmp_path, book.records, book.citations)
    (tmp_path / "README.md").write_text(text)
    lines = text.split("\n")
    tried = 0
    for one in verified(str(tmp_path), Places()).checked:
        line = lines[one.line - 1]
        for found in re.finditer(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.])", line):
            if found[0] in re.findall(r"[\d.]*\d", one.shown):
                wrong = f"{found[0][:-1]}{(int(found[0][-1]) + 1) % 10}"
                changed = [*lines]
                changed[one.line - 1] = line[: found.start()] + wrong + line[found.end() :]
                (tmp_path / "README.md").write_text("\n".join(changed))
                checked = verified(str(tmp_path), Places()).checked
                bad = [(it.line, it.verdict) for it in checked if it.verdict != "match"]
                assert bad == [(one.line, "contradicted")], (one, found[0], wrong)
                tried += 1
    assert tried > 80


# --- measured again ---------------------------------------------------------------------------


@pytest.fixture
def published(micro_run: Path, card: Path) -> Path:
    """The card with its weights, as a repository holds them."""
    weights = micro_run / "run" / "steps" / "iter2-train" / "checkpoint"
    for file in weights.iterdir():
        shutil.copyfile(file, card / file.name)
    return card


@pytest.mark.slow
def test_measured_again(published: Path, tmp_path: Path, verify: Verify) -> None:
    code, said = verify(published, "--rerun", "--out", tmp_path / "runs")
    now = [one for one in said["numbers"] if one["where"] == "measured now"]
    assert {one["verdict"] for one in now} == {"match"}
    assert {one["name"].split()[0] for one in now} >= {"pocket_exact", "mt_bench_pocket"}
    assert code == 0
    (run,) = (tmp_path / "runs").iterdir()  # which has measured, and has no cards
    code, said = verify(published, "--run", run)
    assert code == 0
    assert [one["where"] for one in said["numbers"]].count(f"run {run}") == len(now)
    assert verdicts(said) == {"match": len(said["numbers"])}


@pytest.mark.slow
def test_measured_again_on_fewer_items(published: Path, tmp_path: Path, verify: Verify) -> None:
    words = ["--rerun", "--limit", "12", "--out", tmp_path / "runs"]
    _, said = verify(published, *words)
    now = [one for one in said["numbers"] if one["where"] == "measured now"]
    assert "within interval" in {one["verdict"] for one in now}
    assert any("n=12" in one["why"] for one in now)
    (run,) = (tmp_path / "runs").iterdir()
    _, said = verify(published, "--run", run)  # other items: a limit of its own, another count
    there = [one for one in said["numbers"] if one["where"] == f"run {run}"]
    assert {one["verdict"] for one in there} == {"match", "within interval", "unverifiable"}


EVIL = [
    ("--benchmark ./evil.py", "code of its own: ./evil.py"),
    ("--benchmark lm_eval_tasks:tasks=[a],include_path=/tmp/tasks", "lm_eval_tasks: include_path"),
    ("--benchmark alpaca_eval:baseline=/etc/passwd", "alpaca_eval: baseline"),
    ("--benchmark 'mt_bench:questions={name: file, path: /etc/passwd}'", "file: path"),
    ("--benchmark mt_bench --judge llm:endpoint=https://evil.example/v1", "llm: endpoint"),
    ("--benchmark mt_bench --engine 'vllm:arguments={trust_remote_code: true}'", "vllm: arguments"),
    ("--benchmark mt_bench --redo base", "a flag that is not expected: --redo"),
]


@pytest.mark.parametrize(("words", "why"), EVIL)
def test_a_card_decides_nothing_but_what_is_asked(
    words: str, why: str, tmp_path: Path, verify: Verify
) -> None:
    """Whoever writes a card and all of its records runs no code and reads no keys of others."""
    family = pocket_family()
    text = build_card(family, family.member("iter1"))
    (tmp_path / "README.md").write_text(text)
    (tmp_path / "config.json").write_text("{}")
    one = next(iter(record for record in records_of(family) if record.model.endswith("Iter1")))
    evil = replace(one, source={**one.source, "command": f"evalkit evaluate x/y {words}"})
    write_store(tmp_path, [evil], [Citation("", "", "", (evil.digest,))])
    code, said = verify(tmp_path, "--rerun")
    assert code == 1
    assert why in said["error"]["message"]


def test_what_is_this_machines_affair_is_left_to_it() -> None:
    options = {"name": "llm", "model": "gpt-4", "api_key_env": "AWS_SECRET", "concurrency": 99}
    assert trusted("judges", options, "") == {"name": "llm", "model": "gpt-4"}


def test_flags_of_a_rerun_need_one(card: Path, verify: Verify) -> None:
    code, said = verify(card, "--limit", "3")
    assert code == 2
    assert "--limit goes with --rerun" in said["error"]["message"]
    code, said = verify(card, "--rerun")
    assert code == 1
    assert "no model to measure again" in said["error"]["message"]
