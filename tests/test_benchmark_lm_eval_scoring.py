"""`ScoringLM`: the answers of the harness's own `hf` model to whatever is asked; its cache."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval")

import benchmark_parts as parts
from checkpoints import write_tiny_llama
from lm_eval.api.model import CachingLM
from lm_eval_parts import ask, model, peer, write_tasks

from evalkit.benchmarks.lm_eval_scoring import ScoringLM
from evalkit.cli import main
from evalkit.errors import ScoreError
from evalkit.loading import load_model
from evalkit.scoring import CheckpointScorer, prefix_tree

PREAMBLE = "sort the river stones and count the letters of each apple list " * 4
LONG = "river stone cloud " * 40
HOSTILE = [
    ("", "apple"),
    ("", "<|bos|>apple"),
    ("", " "),
    ("apple  ", "river"),
    ("apple \n\t", "river"),
    ("<|bos|>apple", " river"),
    ("<|bos|><|bos|>apple", " river"),
    ("<|bos|>", "apple"),
    ("apple", " "),
    ("apple", "\n\n"),
    ("apple", "<|eos|>"),
    ("ünïcode 漢字 🙂", " 🙂"),
    ("apple", " river"),
    ("apple", " river"),
    # The same tokens cut elsewhere, one continuation within another, single tokens beside more.
    ("apple river", " stone"),
    ("apple", " river stone"),
    ("apple", " river stone cloud"),
    *((PREAMBLE + f"number {i}:", choice) for i in range(6) for choice in ("a", "b", " a b c")),
    (PREAMBLE.rstrip(), " number"),
    # Longer than the model: the left end goes, of several choices to the same or to other lengths.
    (LONG, " sort"),
    (LONG, " list"),
    (LONG, " sort the words and repeat " * 3),
    (LONG + "stone", " sort the words and repeat " * 3),
    ("apple", " river stone cloud sort" * 6),
]


@pytest.fixture(scope="module")
def loaded(tiny_llama: Path) -> Any:
    return load_model(tiny_llama, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.mark.parametrize("token_budget", [40, 200, None])
@pytest.mark.parametrize("options", [{}, {"add_bos_token": True}, {"prefix_token_id": 7}])
def test_hostile_requests(
    loaded: Any,
    token_budget: int | None,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under budgets so small that shared beginnings become stems, and stems of stems."""
    from lm_eval.models.huggingface import HFLM

    monkeypatch.setattr(prefix_tree, "STEM_TOKENS", 6)
    common = {"tokenizer": loaded.tokenizer, "batch_size": 1, "max_length": 64, **options}
    # With its cache of logits (lm_eval 0.4.13), where the same tokens are cut into context and
    # continuation at two places, it reads the shorter continuation at the longer one's positions.
    theirs = HFLM(pretrained=loaded.model, logits_cache=False, **common)
    expected = theirs.loglikelihood(ask("loglikelihood", *HOSTILE), disable_tqdm=True)
    ours = ScoringLM(loaded, token_budget=token_budget, max_length=64, **options)
    found = ours.loglikelihood(ask("loglikelihood", *HOSTILE))
    for pair, one, other in zip(HOSTILE, found, expected, strict=True):
        assert one[0] == pytest.approx(other[0], abs=1e-4), pair
        assert one[1] == other[1], pair


def test_a_preamble_is_computed_once(loaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests it leads, and although they fill many rows."""
    lm = ScoringLM(loaded, token_budget=256)
    asked = [
        (PREAMBLE * 2 + f"count {i} {7 * i} {11 * i}:", choice)
        for i in range(80)
        for choice in ("a", "b c")
    ]
    tokens: list[int] = []
    forward = type(loaded.model.base_model).forward

    def counted(self: Any, input_ids: Any, **rest: Any) -> Any:
        tokens.append(input_ids.numel())
        return forward(self, input_ids=input_ids, **rest)

    monkeypatch.setattr(type(loaded.model.base_model), "forward", counted)
    lm.loglikelihood(ask("loglikelihood", *asked))
    prompts = {tuple(lm.tok_encode(context)) for context, _ in asked}
    leaves = sum(len(p) for p in prompts) - 79 * len(lm.tok_encode(PREAMBLE * 2))
    assert len(tokens) > 3
    assert sum(tokens) < leaves + 80 * 4
    repeated = sum(len(p) for p in prompts)
    assert sum(tokens) < repeated / 4


@pytest.mark.parametrize("budget", [None, 60])
def test_rolling(loaded: Any, budget: int | None) -> None:
    from lm_eval.models.huggingface import HFLM

    texts = ("apple", "river stone cloud " * 30, "x")
    theirs = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=2, max_length=32)
    expected = theirs.loglikelihood_rolling(ask("loglikelihood_rolling", *texts))
    ours = ScoringLM(loaded, token_budget=budget, max_length=32)
    found = ours.loglikelihood_rolling(ask("loglikelihood_rolling", *texts))
    assert found == pytest.approx(expected, abs=1e-3)


def test_greedy_flag_is_sometimes_true(loaded: Any) -> None:
    engine = parts.engine(loaded)
    ids = tuple(loaded.tokenizer.encode("sort the words"))
    request = parts.GenerationRequest(ids)
    ((response,),) = engine.generate([request], parts.Sampling(0.0, 1.0, 1), parts.silent)
    requests = [(None, list(ids), [response.token_ids[0]]), (None, list(ids), [5])]
    assert [flag for _, flag in model(loaded)._loglikelihood_tokens(requests)] == [True, False]


def test_tokenizer_that_adds_bos(tiny_llama: Path) -> None:
    from lm_eval.models.huggingface import HFLM
    from tokenizers.processors import TemplateProcessing

    again = load_model(tiny_llama, dtype="float32", device="cpu")
    again.tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<|bos|> $A", special_tokens=[("<|bos|>", again.tokenizer.bos_token_id)]
    )
    assert again.tokenizer.encode("apple")[0] == again.tokenizer.bos_token_id
    theirs = HFLM(pretrained=again.model, tokenizer=again.tokenizer, batch_size=1)
    pairs = [("apple ", "river"), ("<|bos|>apple", " river"), ("", "stone")]
    expected = theirs.loglikelihood(ask("loglikelihood", *pairs), disable_tqdm=True)
    found = model(again).loglikelihood(ask("loglikelihood", *pairs))
    assert [f[0] for f in found] == pytest.approx([e[0] for e in expected], abs=1e-4)
    doubled = again.tokenizer.bos_token_id
    assert model(again).tok_encode("<|bos|>apple").count(doubled) == 1
    arguments: dict[str, Any] = {"until": ["zz"], "max_gen_toks": 4}
    asked = ask("generate_until", ("<|bos|>apple", dict(arguments)), ("river", arguments))
    assert model(again).generate_until(asked) == theirs.generate_until(asked)


def test_sampling_seeds(loaded: Any) -> None:
    arguments = {"until": [], "max_gen_toks": 8, "do_sample": True, "temperature": 1.0}
    lm = model(loaded)
    asked = ask("generate_until", ("apple", arguments))
    first, second = lm.generate_until(asked * 2)
    assert first != second  # a repeat is another draw
    assert lm.generate_until(asked * 2) == [first, second]


def test_an_engine_with_weights_of_its_own_must_find_the_same(loaded: Any, tmp_path: Path) -> None:
    """It reads files, whatever became of the model that was loaded from them, and of themselves."""
    asked = ask("generate_until", ("apple", {"until": [], "max_gen_toks": 2}))
    with pytest.raises(ScoreError, match="is in memory"):
        ScoringLM(loaded, engine="vllm").generate_until(asked)
    write_tiny_llama(tmp_path / "model")
    lm = ScoringLM(tmp_path / "model", engine="vllm", device="cpu", cache=tmp_path / "cache")
    shutil.rmtree(tmp_path / "model")
    write_tiny_llama(tmp_path / "model", seed=1)
    with pytest.raises(ScoreError, match="written over"):
        lm.generate_until(asked)


def test_unanswerable_requests(loaded: Any) -> None:
    lm = model(loaded, 16)
    with pytest.raises(ScoreError, match="continuation"):
        lm.loglikelihood(ask("loglikelihood", ("apple", " river" * 40)))
    with pytest.raises(ScoreError, match="without tokens"):  # spaces alone are the continuation's
        lm.loglikelihood(ask("loglikelihood", ("   ", "river")))
    with pytest.raises(ScoreError, match="16 new tokens"):
        lm.generate_until(ask("generate_until", ("apple", {"until": [], "max_gen_toks": 16})))
    with pytest.raises(ScoreError, match="num_beams"):
        lm.generate_until(
            ask("generate_until", ("a", {"until": [], "max_gen_toks": 2, "num_beams": 4}))
        )


@pytest.mark.slow
def test_simple_evaluate_takes_it_as_it_is(tasks: Path, tiny_llama: Path, loaded: Any) -> None:
    """By path, from its public place, text and all, with the numbers of the `hf` model."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    from evalkit.benchmarks import lm_eval_tasks

    names = ["tiny_choice", "tiny_exact", "tiny_rolling"]
    ours = lm_eval.simple_evaluate(
        model=lm_eval_tasks.ScoringLM(tiny_llama, device="cpu", dtype="float32"),
        tasks=names,
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        bootstrap_iters=2,
    )
    theirs = peer(names, tasks, loaded)
    for name in names:
        for key, value in theirs["results"][name].items():
            if isinstance(value, float) and "stderr" not in key:
                assert ours["results"][name][key] == pytest.approx(value, rel=1e-4), (name, key)


REQUESTS = [(f"apple {i}", f" river{i}") for i in range(12)]


class TestCache:
    """Answers are kept by what made them, never by where it lay."""

    @pytest.fixture
    def computed(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """Batches that a model really computed."""
        numbers: list[int] = []
        forward = CheckpointScorer._forward

        def counted(self: Any, requests: Any, *rest: Any) -> Any:
            numbers.append(len(requests))
            return forward(self, requests, *rest)

        monkeypatch.setattr(CheckpointScorer, "_forward", counted)
        return numbers

    @pytest.fixture
    def opened(self, tmp_path: Path) -> Callable[..., ScoringLM]:
        def opened(path: Any, **options: Any) -> ScoringLM:
            common = {"dtype": "float32", "device": "cpu", "token_budget": 16}
            return ScoringLM(path, cache=tmp_path / "cache", **{**common, **options})

        return opened

    def test_a_second_run_computes_nothing(
        self, tiny_llama: Path, opened: Any, computed: list[int]
    ) -> None:
        asked = ask("loglikelihood", *REQUESTS)
        first = opened(tiny_llama).loglikelihood(asked)
        assert sum(computed) == 12
        assert opened(tiny_llama).loglikelihood(asked) == first
        assert sum(computed) == 12

    def test_two_models_at_one_path(self, tmp_path: Path, opened: Any, computed: list[int]) -> None:
        """As iterations are that are saved over each other: the second is asked anew."""
        asked, place = ask("loglikelihood", *REQUESTS), tmp_path / "model"
        write_tiny_llama(place)
        first = opened(place).loglikelihood(asked)
        shutil.rmtree(place)
        write_tiny_llama(place, seed=1)
        second = opened(place).loglikelihood(asked)
        assert sum(computed) == 24
        assert all(abs(a[0] - b[0]) > 1e-3 for a, b in zip(first, second, strict=True))
        uncached = ScoringLM(place, dtype="float32", device="cpu", token_budget=16)
        assert second == uncached.loglikelihood(asked)
        moved = place.rename(tmp_path / "elsewhere")
        computed.clear()
        assert opened(moved).loglikelihood(asked) == second
        assert computed == []

    def test_a_model_is_saved_over_one_that_is_loaded(
        self, tmp_path: Path, opened: Any, computed: list[int]
    ) -> None:
        """Answers are kept under the weights that gave them, whatever lies there by then."""
        asked, place = ask("loglikelihood", *REQUESTS), tmp_path / "model"
        write_tiny_llama(place)
        early = opened(place)
        shutil.rmtree(place)
        write_tiny_llama(place, seed=1)
        first = early.loglikelihood(asked)
        second = opened(place).loglikelihood(asked)
        assert sum(computed) == 24
        assert all(abs(a[0] - b[0]) > 1e-3 for a, b in zip(first, second, strict=True))
        late = ScoringLM(place, dtype="float32", device="cpu")
        shutil.rmtree(place)
        write_tiny_llama(place, seed=2)
        with pytest.raises(ScoreError, match="written over"):
            CachingLM(late, str(tmp_path / "kept.db"))

    def test_template_and_settings_count(
        self, tiny_llama: Path, tmp_path: Path, opened: Any, computed: list[int]
    ) -> None:
        asked, place = ask("loglikelihood", *REQUESTS), tmp_path / "model"
        shutil.copytree(tiny_llama, place)
        opened(place).loglikelihood(asked)
        for changed in ({"token_budget": 20}, {"max_length": 30}, {"seed": 3}):
            computed.clear()
            opened(place, **changed).loglikelihood(asked)
            assert sum(computed) == 12, changed
        template = place / "chat_template.jinja"
        config = place / "tokenizer_config.json"
        if template.exists():
            template.write_text("{{ messages[0].content }}")
        else:
            value = json.loads(config.read_text())
            config.write_text(json.dumps({**value, "chat_template": "{{ messages[0].content }}"}))
        computed.clear()
        opened(place).loglikelihood(asked)
        assert sum(computed) == 12

    def test_a_model_in_memory(self, tiny_llama: Path, opened: Any, computed: list[int]) -> None:
        """Is known by its weights, too; its template by the tokenizer that comes with it."""
        asked = ask("loglikelihood", *REQUESTS)
        again = load_model(tiny_llama, dtype="float32", device="cpu")
        first = opened(again).loglikelihood(asked)
        assert opened(again).loglikelihood(asked) == first
        assert sum(computed) == 12
        again.tokenizer.chat_template = "{{ messages[0].content }}"
        opened(again).loglikelihood(asked)
        assert sum(computed) == 24
        with torch.no_grad():
            again.model.lm_head.weight[0, 0] += 1
        opened(again).loglikelihood(asked)
        assert sum(computed) == 36

    def test_a_model_in_memory_that_is_trained_on(
        self, tiny_llama: Path, opened: Any, computed: list[int]
    ) -> None:
        """One `ScoringLM` throughout: after a step of training nothing kept before is served."""
        asked = ask("loglikelihood", *REQUESTS)
        arguments = {"until": ["zz"], "max_gen_toks": 8}
        texts = ask("generate_until", *((f"apple {i}", arguments) for i in range(4)))
        again = load_model(tiny_llama, dtype="float32", device="cpu")
        lm = opened(again)
        first, said = lm.loglikelihood(asked), lm.generate_until(texts)
        trained = [value.detach().clone() for value in again.model.parameters()]
        draw = torch.Generator().manual_seed(0)
        for parameter in again.model.parameters():
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=draw)
        second = lm.loglikelihood(asked)
        assert sum(computed) == 24
        assert all(abs(a[0] - b[0]) > 1e-3 for a, b in zip(first, second, strict=True))
        assert lm.generate_until(texts) != said
        with torch.no_grad():
            for parameter, value in zip(again.model.parameters(), trained, strict=True):
                parameter.copy_(value)
        assert lm.loglikelihood(asked) == first
        assert lm.generate_until(texts) == said
        assert sum(computed) == 24

    def test_a_kill_costs_one_batch(
        self, tiny_llama: Path, opened: Any, computed: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = ask("loglikelihood", *REQUESTS)
        unbroken = ScoringLM(
            tiny_llama, dtype="float32", device="cpu", token_budget=16
        ).loglikelihood(asked)
        batches, each = len(computed), list(computed)
        computed.clear()
        counted = CheckpointScorer._forward

        def dies(self: Any, *rest: Any) -> Any:
            if len(computed) == 2:
                raise KeyboardInterrupt
            return counted(self, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(CheckpointScorer, "_forward", dies)
            with pytest.raises(KeyboardInterrupt):
                opened(tiny_llama).loglikelihood(asked)
        assert batches > 3
        computed.clear()
        assert opened(tiny_llama).loglikelihood(asked) == unbroken
        assert computed == each[2:]

    def test_text_is_kept_too(
        self, tiny_llama: Path, opened: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from evalkit.engines.transformers import TransformersEngine

        arguments = {"until": ["zz"], "max_gen_toks": 4}
        asked = ask("generate_until", ("apple", arguments), ("river", arguments))
        first = opened(tiny_llama).generate_until(asked)
        monkeypatch.setattr(TransformersEngine, "generate", pytest.fail)
        assert opened(tiny_llama).generate_until(asked) == first

    def test_the_harness_s_own_cache_is_not_shared(
        self, tiny_llama: Path, tmp_path: Path, loaded: Any
    ) -> None:
        """It knows requests but no models: another model, or nobody's answers, are refused."""
        asked, file = ask("loglikelihood", *REQUESTS), str(tmp_path / "kept.db")
        options = {"dtype": "float32", "device": "cpu"}
        place = tmp_path / "model"
        shutil.copytree(tiny_llama, place)
        first = CachingLM(ScoringLM(place, **options), file).loglikelihood(asked)
        again = CachingLM(ScoringLM(place, **options), file)
        monkey = pytest.MonkeyPatch()
        monkey.setattr(CheckpointScorer, "_forward", pytest.fail)
        assert again.loglikelihood(asked) == first
        monkey.undo()
        shutil.rmtree(place)
        write_tiny_llama(place, seed=1)
        with pytest.raises(ScoreError, match="another model"):
            CachingLM(ScoringLM(place, **options), file)
        from lm_eval.models.huggingface import HFLM

        foreign = str(tmp_path / "foreign.db")
        theirs = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=1)
        CachingLM(theirs, foreign).loglikelihood(asked[:1])
        with pytest.raises(ScoreError, match="another model"):
            CachingLM(ScoringLM(place, **options), foreign)


class TestCommandLine:
    """`evalkit lm-eval` is the harness's own command line."""

    def run(self, *words: str) -> Any:
        with pytest.raises(SystemExit) as ended:
            main(["lm-eval", *words])
        return ended.value.code

    @pytest.mark.slow
    def test_a_task(self, tasks: Path, tiny_llama: Path, tmp_path: Path, capfd: Any) -> None:
        words = (
            "--model", "evalkit", "--model_args", f"pretrained={tiny_llama},dtype=float32",
            "--device", "cpu", "--tasks", "tiny_choice", "--include_path", str(tasks),
            "--output_path", str(tmp_path / "out"), "--limit", "4",
        )  # fmt: skip
        assert self.run(*words, "--json") == 0
        shown = json.loads(capfd.readouterr().out)
        (file,) = (tmp_path / "out").rglob("results_*.json")
        assert shown == json.loads(file.read_text())
        assert shown["n-samples"]["tiny_choice"]["effective"] == 4
        assert 0 <= shown["results"]["tiny_choice"]["acc_norm,none"] <= 1

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [("pretraind=x", "did you mean 'pretrained'"), ("dtype=float32", "which checkpoint")],
    )
    def test_wrong_model_arguments(self, arguments: str, said: str) -> None:
        from evalkit.benchmarks.lm_eval_scoring import register

        register()
        register()
        from lm_eval.api.registry import get_model

        with pytest.raises(ScoreError) as caught:
            get_model("evalkit").create_from_arg_string(arguments, {"batch_size": 1})
        assert said in f"{caught.value} {caught.value.hint}"

    def test_without_the_harness(self, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert self.run("ls", "tasks") == 1
        assert "evalkit[eval]" in capsys.readouterr().err
