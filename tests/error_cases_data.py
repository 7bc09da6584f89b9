"""Data that is missing, empty, damaged, of another shape, or not what a method or judge needs."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from error_cases import Case, Desk, closed_port

Prepare = Callable[[Desk], None]
PROMPTS = "{name: pocket, split: self_play, count: 8}"
RULE = {"kind": "exact", "answer": "4"}
GOOD: dict[str, Any] = {"prompt": "What is 2 + 2?", "rule": RULE}


def _lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _prompts(
    name: str, content: str | bytes | None, file: str = "prompts.jsonl", more: str = ""
) -> Case:
    """Training on a file of one's own, one prompt in one iteration."""

    def prepare(desk: Desk) -> None:
        if content is not None:
            desk.write(file, content)

    edits = {
        PROMPTS: f"{{name: file, path: {file}{more}}}",
        "iterations: 2": "iterations: 1",
        "prompts_per_iteration: 4": "prompts_per_iteration: 1",
    }
    return Case(name, "train mine.yaml", edits, prepare)


def _method(name: str, method: str, *rows: dict[str, Any]) -> Case:
    case = _prompts(name, _lines(*rows))
    edits = {**case.edits, "{name: sppo, samples: 2}": method, "    judge: rule\n": ""}
    return Case(name, case.command, edits, case.prepare)


def _measured(name: str, old: str, new: str, file: str = "", content: str = "") -> Case:
    """Measuring with data of one's own."""

    def prepare(desk: Desk) -> None:
        if file:
            desk.write(file, content)

    return Case(name, "evaluate mine.yaml", {old: new}, prepare)


INSTRUCTIONS = "{name: pocket, split: open, count: 4}"
QUESTIONS = "{name: pocket, split: two_turn, count: 4}"
TASKS = "include_path: pocket, limit: 4"
AVERGE = "metric: averge, benchmarks: [mt_bench]"
FILES = [
    _prompts("data-file-missing", None),
    _prompts("data-file-empty", ""),
    _prompts("data-file-blank", "\n\n"),
    _prompts("data-file-not-utf8", b'{"prompt": "Caf\xe9"}\n'),
    _prompts("data-line-no-json", _lines(GOOD) + '{"prompt": "cut o\n'),
    _prompts("data-line-no-object", _lines(GOOD) + '["What?"]\n'),
    _prompts("data-row-of-no-shape", _lines(GOOD, {"query": "What?"})),
    _prompts("data-prompt-no-text", _lines({**GOOD, "prompt": 4})),
    _prompts("data-prompt-empty", _lines({**GOOD, "prompt": ""})),
    _prompts(
        "data-ends-in-no-question", _lines({"messages": [{"role": "system", "content": "x"}]})
    ),
    _prompts("data-unknown-role", _lines({"messages": [{"role": "bot", "content": "x"}]})),
    _prompts("data-id-twice", _lines({**GOOD, "id": "a"}, {**GOOD, "id": "a"})),
    _prompts("data-rule-unknown", _lines({**GOOD, "rule": {"kind": "exactly", "answer": "4"}})),
    _prompts("data-csv-without-column", "question_text,answer\nWhat?,4\n", "prompts.csv"),
    _prompts("data-csv-ragged", "prompt,response\nWhat?,4\nWho?,a,b,c\n", "prompts.csv"),
    _prompts("data-parquet-damaged", b"PAR1 and nothing", "prompts.parquet"),
    _prompts("data-of-unknown-format", "x", "prompts.docx"),
    _prompts("data-folder-empty", None, "base"),
    _prompts("data-column-not-there", _lines(GOOD), more=", columns: {prompt: question}"),
    _prompts("data-field-not-known", _lines(GOOD), more=", columns: {prompts: prompt}"),
    _prompts("data-split-not-there", _lines(GOOD), more=", split: test"),
    _prompts("data-all-filtered-out", _lines(GOOD), more=", filter: [{column: prompt, equals: x}]"),
    Case("dataset-no-id", "train mine.yaml", {PROMPTS: "{name: dataset, dataset: a/b/c}"}),
]
NEEDS = [
    Case("too-few-prompts", "train mine.yaml", {"count: 8": "count: 6"}),
    Case("judge-missing", "train mine.yaml", {"    judge: rule\n": ""}),
    Case("judge-without-use", "train mine.yaml", {"{name: sppo, samples: 2}": "spin"}),
    Case(
        "evaluation-judge-missing", "evaluate mine.yaml", {"\n  judge: rule\n  bench": "\n  bench"}
    ),
    _prompts("judge-without-rules", _lines({"prompt": "What is 2 + 2?"})),
    _method("method-without-gold", "spin", GOOD),
    _method("method-without-rejected", "dpo", {**GOOD, "response": "4"}),
    Case(
        "every-prompt-dropped",
        "train mine.yaml --out run",
        {"    judge: rule\n": "    judge: rule\n    sampling: {temperature: 0.001}\n"},
        may_leave=("run/*",),
    ),
    Case(
        "samples-all-the-same",
        "train mine.yaml",
        {"    judge: rule\n": "    judge: rule\n    sampling: {temperature: 0}\n"},
    ),
    Case(
        "gate-metric-unknown",
        "train mine.yaml",
        {"    judge: rule\n": f"    judge: rule\n    gate: {AVERGE}\n"},
    ),
    Case("pocket-unknown-kind", "train mine.yaml", {"count: 8": "count: 8, kinds: [poems]"}),
]
MEASURING = [
    _measured("questions-without-turns", QUESTIONS, INSTRUCTIONS),
    _measured(
        "instructions-empty", INSTRUCTIONS, "{name: file, path: asked.jsonl}", "asked.jsonl", ""
    ),
    _measured("instructions-without-reference", INSTRUCTIONS,
              "{name: file, path: asked.jsonl}", "asked.jsonl", _lines(GOOD)),
    _measured("baseline-missing", INSTRUCTIONS, f"{INSTRUCTIONS}, baseline: outputs.json"),
    _measured("baseline-no-json", INSTRUCTIONS, f"{INSTRUCTIONS}, baseline: outputs.json",
              "outputs.json", "[{"),
    _measured("baseline-of-other-instructions", INSTRUCTIONS,
              f"{INSTRUCTIONS}, baseline: outputs.json", "outputs.json",
              json.dumps([{"instruction": "a", "output": "b", "generator": "c"}])),
    _measured("tasks-folder-missing", TASKS, "include_path: tasks"),
    _measured("tasks-none", "[pocket_exact]", "[]"),
    _measured("task-file-damaged", TASKS, "include_path: tasks",
              "tasks/pocket_exact.yaml", "task: pocket_exact\ndoc_to_text: [\n"),
    _measured("shots-of-another-task", TASKS, f"{TASKS}, num_fewshot: {{gsm8k: 5}}"),
    _measured("shots-negative", TASKS, f"{TASKS}, num_fewshot: -1"),
    _measured("limit-zero", "limit: 4", "limit: 0"),
]  # fmt: skip


class _KeyWanted(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"error": {"message": "Incorrect API key provided."}}'
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def _model_server() -> Iterator[str]:
    """A real server that wants another key."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _KeyWanted) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()


def _llm(name: str, key: str, options: str = "", answers: bool = False) -> Case:
    """An `llm` judge at a server that wants a key, or at a port where none answers."""

    def prepare(desk: Desk) -> None:
        url = desk.held.enter_context(_model_server()) if answers else f"{closed_port()}/v1"
        desk.patch.setenv("OPENAI_API_KEY", key)
        judge = f"{{name: llm, model: m, endpoint: '{url}'{options}}}"
        desk.spoil({"    judge: rule": f"    judge: {judge}"})

    return Case(name, "train mine.yaml", prepare=prepare)


JUDGES = [
    _llm("llm-judge-unreachable", "x"),
    _llm("llm-judge-without-key", "", answers=True),
    _llm("llm-judge-with-wrong-key", "sk-wrong", answers=True),
    _llm("llm-judge-without-its-prompt", "x", ", annotator: mine.txt"),
    Case(
        "llm-judge-no-address",
        "train mine.yaml",
        {"    judge: rule": "    judge: {name: llm, model: m, endpoint: localhost}"},
    ),
    Case(
        "llm-judge-key-in-address",
        "train mine.yaml",
        {"    judge: rule": "    judge: {name: llm, model: m, endpoint: 'http://me:sk-1@a.b/v1'}"},
    ),
    Case(
        "pair-rm-folder-missing",
        "train mine.yaml",
        {"    judge: rule": "    judge: {name: pair_rm, model: ./nowhere}"},
    ),
]
CASES = [*FILES, *NEEDS, *MEASURING, *JUDGES]
