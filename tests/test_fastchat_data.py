"""FastChat's data from a folder and from a Space of the Hub, over real HTTP; then without it."""

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import benchmark_parts as parts
import pytest
from judge_server import MODEL

from evalkit import registry
from evalkit.benchmarks.mt_bench import MtBench
from evalkit.errors import PrerequisiteError, RecipeError
from evalkit.fastchat.forms import PAIR_FORMS, SINGLE_FORMS, Form, read_judge_prompts
from evalkit.fastchat.place import SPACE, LocalData, SpaceData, open_data
from evalkit.judges.llm import LlmJudge, LlmOptions
from evalkit.pipeline.plugins import settings
from evalkit.records import Question, Turn
from evalkit.roles import PluginRef

pytest.importorskip("huggingface_hub")
COMMIT = "5" * 40
QUESTIONS = [
    {"question_id": 81, "category": "writing", "turns": ["A poem.", "Another."]},
    {"question_id": 111, "category": "math", "turns": ["1+1?", "Why?"], "reference": ["own", "x"]},
]
REFERENCES = [{"question_id": 111, "choices": [{"index": 0, "turns": ["2", "So it is."]}]}]
ANSWERS = [{"question_id": n, "choices": [{"index": 0, "turns": ["a", "b"]}]} for n in (81, 111)]


def prompts() -> list[dict[str, str]]:
    """Forms with the fields that each must have, and no words of FastChat's."""
    marks = {**dict.fromkeys(SINGLE_FORMS, "[[rating]]"), **dict.fromkeys(PAIR_FORMS, "[[A]]")}
    return [
        {
            "name": name,
            "system_prompt": f"You judge by {name}.",
            "prompt_template": " ".join(f"{field}: {{{field}}}" for field in sorted(fields)),
            "output_format": marks[name],
        }
        for name, fields in {**SINGLE_FORMS, **PAIR_FORMS}.items()
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder laid out as the Space is."""
    folder = tmp_path / "space"
    own = folder / "data" / "mt_bench"
    for below in ("reference_answer", "model_answer"):
        (own / below).mkdir(parents=True)
    parts.write_lines(own / "question.jsonl", QUESTIONS)
    parts.write_lines(own / "reference_answer" / "gpt-4.jsonl", REFERENCES)
    parts.write_lines(own / "model_answer" / "gpt-3.5-turbo.jsonl", ANSWERS)
    parts.write_lines(folder / "data" / "judge_prompts.jsonl", prompts())
    return folder


class _Handler(BaseHTTPRequestHandler):
    """What the Hub says of files, as huggingface_hub asks for them."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps quiet."""

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        server: Any = self.server
        server.asked.append(self.path)
        if self.path.startswith(f"/api/spaces/{SPACE}/revision/"):
            files = [file for file in server.folder.rglob("*") if file.is_file()]
            names = [{"rfilename": str(file.relative_to(server.folder))} for file in files]
            listed = {"id": SPACE, "sha": COMMIT, "siblings": names}
            return self._send(200, json.dumps(listed).encode(), with_body)
        prefix, code = f"/spaces/{SPACE}/resolve/", "RepoNotFound"
        if self.path.startswith(prefix):
            revision, _, name = self.path.removeprefix(prefix).partition("/")
            file, code = server.folder / name, "EntryNotFound"
            if revision in ("main", COMMIT) and file.is_file():
                return self._send(200, file.read_bytes(), with_body)
        return self._send(404, b"", with_body, {"X-Error-Code": code})

    def _send(
        self, status: int, body: bytes, with_body: bool, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        digest = hashlib.sha256(body).hexdigest()
        facts = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest}"', "Content-Length": str(len(body))}
        for name, value in {**facts, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


class Hub:
    """A Hub with one Space, which can go out of reach."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.folder, self._server.asked = folder, []  # type: ignore[attr-defined]
        self._patch = patch
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self._address(f"http://127.0.0.1:{self._server.server_port}")

    @property
    def asked(self) -> list[str]:
        return self._server.asked  # type: ignore[attr-defined, no-any-return]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._address("http://127.0.0.1:1")

    def _address(self, endpoint: str) -> None:
        """What HF_ENDPOINT does when it is set before the client is imported."""
        constants = "huggingface_hub.constants."
        self._patch.setattr(constants + "ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        self._patch.setattr(constants + "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    made = Hub(data, monkeypatch)
    yield made
    made.close()


def source(**options: Any) -> Any:
    plugin = registry.load("sources", "mt_bench")
    return plugin(plugin.Options(**options))


class TestFolder:
    @pytest.mark.parametrize("below", ["", "data", "data/mt_bench"])
    def test_it_may_be_given_at_any_height(self, data: Path, below: str) -> None:
        made = source(data=str(data / below))
        assert made.check() == []
        poem, math = made.questions()
        assert [turn.content for turn in poem.turns] == ["A poem.", "Another."]
        assert [turn.reference for turn in poem.turns] == [None, None]
        assert [turn.reference for turn in math.turns] == ["2", "So it is."]  # GPT-4's, not its own
        assert read_judge_prompts(str(data / below)).rows.keys() == {*SINGLE_FORMS, *PAIR_FORMS}

    def test_a_part_of_the_questions(self, data: Path) -> None:
        made = source(data=str(data), filter=[{"column": "category", "equals": "writing"}])
        assert [question.id for question in made.questions()] == ["81"]

    def test_the_digest_is_of_contents_and_settings(self, data: Path, tmp_path: Path) -> None:
        ref = PluginRef(name="mt_bench", data=str(data))  # type: ignore[call-arg]
        moved = tmp_path / "elsewhere"
        shutil.copytree(data, moved)
        same = PluginRef(name="mt_bench", data=str(moved / "data"))  # type: ignore[call-arg]
        digest = source(**ref.options).description()["digest"]
        assert digest == source(**same.options).description()["digest"]
        assert digest != source(**ref.options, count=1).description()["digest"]
        assert settings("sources", ref)
        (moved / "data/mt_bench/reference_answer/gpt-4.jsonl").write_text(
            json.dumps({**REFERENCES[0], "choices": [{"turns": ["3", "No."]}]}) + "\n"
        )
        assert digest != source(**same.options).description()["digest"]

    @pytest.mark.parametrize(
        ("gone", "option"),
        [("question.jsonl", "data"), ("reference_answer/gpt-4.jsonl", "references")],
    )
    def test_what_is_not_there_is_told(self, data: Path, gone: str, option: str) -> None:
        (data / "data" / "mt_bench" / gone).unlink()
        (problem,) = source(data=str(data)).check()
        assert (problem.where, problem.message) == (option, f"{data} holds no {gone}")

    def test_no_folder(self) -> None:
        (problem,) = source(data="./nowhere/at/all").check()
        assert (problem.where, problem.message) == ("data", "there is no folder ./nowhere/at/all")
        with pytest.raises(RecipeError, match="there is no folder"):
            source(data="./nowhere/at/all").questions()

    def test_real_data(self, shared: Path, tmp_path: Path) -> None:
        given = shared / "benchdata"
        (tmp_path / "reference_answer").mkdir()
        shutil.copy(given / "mt_bench_question.jsonl", tmp_path / "question.jsonl")
        shutil.copy(
            given / "mt_bench_reference_gpt-4.jsonl", tmp_path / "reference_answer" / "gpt-4.jsonl"
        )
        asked = source(data=str(tmp_path)).questions()
        assert len(asked) == 80
        with_reference = [one for one in asked if one.turns[0].reference]
        assert {one.category for one in with_reference} == {"math", "reasoning", "coding"}
        assert all(turn.reference for one in with_reference for turn in one.turns)
        suite = MtBench(MtBench.Options(questions={"name": "mt_bench", "data": str(tmp_path)}))
        assert suite.check() == []
        items = suite.items(lambda ref: source(**ref.options))
        assert items is not None
        assert {item.task for item in items} == {"mt_bench"}
        assert len({text for item in items for text in item.texts}) == 80
        part = {"name": "mt_bench", "data": str(tmp_path), "count": 3}
        some = MtBench(MtBench.Options(questions=part)).items(lambda ref: source(**ref.options))
        assert some is not None
        assert {item.task for item in some} == {"mt_bench_part"}
        lines = (tmp_path / "question.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        translated = [{**row, "turns": ["Merhaba!", *row["turns"][1:]]} for row in rows]
        parts.write_lines(tmp_path / "question.jsonl", translated)
        others = suite.items(lambda ref: source(**ref.options))
        assert others is not None
        assert {item.task for item in others} == {"mt_bench_other"}  # its ids, but not its words
        forms = read_judge_prompts(str(given / "judge_prompts.jsonl"))
        assert set(forms.forms(SINGLE_FORMS)) == set(SINGLE_FORMS)
        assert set(forms.forms(PAIR_FORMS)) == set(PAIR_FORMS)


class TestSpace:
    def test_it_is_the_default_and_is_fetched(self, hub: Hub) -> None:
        made = source()
        assert made.check() == []
        assert hub.asked == []  # nothing is asked before it must be
        assert [question.id for question in made.questions()] == ["81", "111"]
        said = made.description()
        assert (said["space"], said["revision"]) == (SPACE, COMMIT)

    def test_prefetched_it_works_without_the_hub(self, hub: Hub) -> None:
        judge = LlmJudge(LlmOptions(model=MODEL, rating_prompts=Path(SPACE)))
        suite = MtBench(MtBench.Options(grading="both"))
        brought = [*source().prefetch(), *suite.prefetch(), *judge.prefetch()]
        assert {one.revision for one in brought} == {COMMIT}
        assert [(one.kind, one.repo, one.what) for one in brought] == [
            ("space", SPACE, "question.jsonl, reference_answer/gpt-4.jsonl"),
            ("space", SPACE, "model_answer/gpt-3.5-turbo.jsonl"),
            ("space", SPACE, "judge_prompts.jsonl"),
        ]
        hub.close()
        questions = source().questions()
        assert len(questions) == 2
        assert suite.check() == []
        assert set(suite.data_digests()) == {"opponent gpt-3.5-turbo"}
        assert suite.check_data(lambda ref: source(), judge) == []
        pinned = source(revision=COMMIT)
        assert pinned.questions() == questions

    def test_out_of_reach_it_is_a_prerequisite(self, hub: Hub) -> None:
        hub.close()
        with pytest.raises(
            PrerequisiteError, match="the space lmsys/mt-bench is not in this machine"
        ):
            source().questions()
        (problem,) = MtBench(MtBench.Options()).check_data(lambda ref: source(), None)
        assert (problem.where, problem.prerequisite) == ("questions", True)
        with pytest.raises(PrerequisiteError, match="not in this machine"):
            read_judge_prompts(SPACE)

    def test_files_that_it_lacks(self, hub: Hub, data: Path) -> None:
        (data / "data" / "judge_prompts.jsonl").unlink()
        with pytest.raises(PrerequisiteError) as error:
            read_judge_prompts(SPACE)
        assert error.value.message == f"there are no judge prompts in {SPACE}"
        assert "lm-sys/FastChat" in error.value.hint
        (problem,) = MtBench(MtBench.Options(grading="pairwise", opponents=["gpt-9"])).check()
        assert problem.message == "there are no answers of an opponent gpt-9"

    def test_no_such_space(self, hub: Hub) -> None:
        with pytest.raises(RecipeError, match="the Hub has no space someone/else"):
            source(data="someone/else").questions()


class TestForms:
    def test_a_changed_file_is_another_judge(self, data: Path) -> None:
        before = read_judge_prompts(str(data))
        assert before.forms(PAIR_FORMS)["pair-v2"] == Form(
            "You judge by pair-v2.",
            "answer_a: {answer_a} answer_b: {answer_b} question: {question}",
        )
        file = data / "data" / "judge_prompts.jsonl"
        file.write_text(file.read_text().replace("You judge", "You  judge"))
        assert read_judge_prompts(str(data)).sha256 != before.sha256

    def test_single_forms_alone_will_not_do_for_pairs(self, tmp_path: Path) -> None:
        rows = [row for row in prompts() if row["name"] in SINGLE_FORMS]
        file = parts.write_lines(tmp_path / "judge_prompts.jsonl", rows)
        judge = LlmJudge(LlmOptions(model=MODEL, rating_prompts=file))
        asked = [Question("81", "writing", (Turn("a"), Turn("b")))]
        assert judge.check_questions(asked) == []
        (problem,) = judge.check_games(asked)
        assert problem.message == f"{file} has no prompt 'pair-v2'"


def test_what_names_a_place(tmp_path: Path) -> None:
    assert open_data(str(tmp_path)) == LocalData(tmp_path)
    assert open_data("lmsys/mt-bench", "v1") == SpaceData("lmsys/mt-bench", "v1")
    assert open_data("folder/judge_prompts.jsonl") is None
    assert open_data("a/b/c") is None
