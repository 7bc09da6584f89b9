"""Plug-ins are found by name, unimported; what is wrong with one is said."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import plugin_pages
import pytest

from evalkit import registry, roles
from evalkit.errors import RecipeError
from evalkit.loading import load_model, weights_digest
from evalkit.records import (
    Checkpoint,
    Message,
    Prompt,
    PromptGroup,
    Response,
    TrainingExample,
)

ROOT = Path(__file__).parent.parent
JUDGE = '''
"""Says nothing."""
from evalkit.roles import Judge

class Silent(Judge):
    def identity(self):
        return {"name": "silent"}

PLUGIN = Silent
'''


def _silent(done: int, total: int, note: str = "") -> None:
    pass


@pytest.fixture
def _fresh_names() -> Iterator[None]:
    registry.names.cache_clear()
    registry._foreign.cache_clear()
    yield
    registry.names.cache_clear()
    registry._foreign.cache_clear()


@pytest.mark.parametrize("kind", registry.ROOMS)
def test_names_are_the_files_with_a_plugin_line(kind: str) -> None:
    room = ROOT / "evalkit" / registry.ROOMS[kind]
    files = {file.stem for file in room.glob("*.py") if "\nPLUGIN" in file.read_text("utf-8")}
    assert files <= set(registry.names(kind))
    assert list(registry.names(kind)) == sorted(registry.names(kind))


def test_listing_names_imports_no_plugin() -> None:
    """Names and summaries come from the files' text: no room is imported."""
    code = (
        "import sys\nfrom evalkit import registry\n"
        "for kind in registry.ROOMS:\n"
        "    for name in registry.names(kind): registry.summary(kind, name)\n"
        "rooms = tuple('evalkit.' + room for room in registry.ROOMS.values())\n"
        "found = [name for name in sys.modules if name.startswith(rooms) or name == 'torch']\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def _shipped() -> list[tuple[str, str]]:
    return [(kind, name) for kind in registry.ROOMS for name in registry.names(kind)]


@pytest.mark.parametrize(("kind", "name"), _shipped(), ids=lambda word: word)
def test_every_shipped_plugin_is_complete(kind: str, name: str) -> None:
    """It derives from its role, leaves nothing abstract, and says in one line what it is."""
    plugin = registry.load(kind, name)
    assert not plugin.__abstractmethods__
    assert issubclass(plugin.Options, roles.Options)
    assert plugin.Options.model_config["extra"] == "forbid"
    assert plugin.Options.model_config["frozen"]
    assert registry.summary(kind, name)


@pytest.mark.parametrize("kind", registry.ROOMS)
def test_an_unknown_name_lists_what_is_known(kind: str) -> None:
    with pytest.raises(RecipeError, match="is called 'nothing-like-it'") as caught:
        registry.load(kind, "nothing-like-it")
    assert "known: " in caught.value.hint


def test_a_plugin_is_loaded_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "silent.py"
    file.write_text(JUDGE)
    judge = registry.load("judges", str(file))(roles.Options())
    assert judge.identity() == {"name": "silent"}


@pytest.mark.parametrize(
    ("kind", "text", "complaint"),
    [
        ("judges", None, "no file"),
        ("judges", "x = 1", "no line PLUGIN"),
        ("judges", "PLUGIN = 3", "not a class derived from roles.Judge"),
        ("engines", JUDGE, "not a class derived from roles.Engine"),
    ],
)
def test_a_file_that_is_no_plugin(
    tmp_path: Path, kind: str, text: str | None, complaint: str
) -> None:
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text)
    with pytest.raises(RecipeError, match=complaint):
        registry.load(kind, str(file))


def _install(folder: Path, name: str, entry_points: str) -> None:
    """What an installed package of version 1.0 leaves beside its modules."""
    metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)


@pytest.mark.usefixtures("_fresh_names")
def test_other_packages_bring_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package's entry point is a name like any other."""
    (tmp_path / "silent_package.py").write_text(JUDGE)
    _install(tmp_path, "silent-package", "[evalkit.judges]\nsilent-judge = silent_package:PLUGIN\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "silent_judge" in registry.names("judges")
    assert registry.load("judges", "silent-judge").__name__ == "Silent"
    assert registry.summary("judges", "silent_judge") == "Says nothing. (of silent-package 1.0)"
    assert registry.package_of("judges", "silent-judge") == "silent-package 1.0"


# --- the examples of docs/plugins/ -------------------------------------------------------------


@pytest.fixture
def example(tmp_path: Path) -> Callable[[str, str], Any]:
    """`example(role, kind)` loads the plug-in of the page on that role."""

    def load(role: str, kind: str) -> Any:
        return registry.load(kind, str(plugin_pages.page(role).write(tmp_path)))

    return load


def _prompts(example: Callable[[str, str], Any], folder: Path) -> Any:
    (folder / "pairs.tsv").write_text("one\tgood\tbad\ntwo words\tyes\tno\n")
    source = example("Source", "sources")
    return source(source.Options(file=folder / "pairs.tsv"))


def test_the_source_of_the_docs(example: Callable[[str, str], Any], tmp_path: Path) -> None:
    source = _prompts(example, tmp_path)
    assert source.check() == []
    prompts = source.prompts()
    assert [prompt.messages[-1].content for prompt in prompts] == ["one", "two words"]
    assert (prompts[0].gold, prompts[1].rejected) == ("good", "no")
    assert len(source.description()["digest"]) == 64
    missing = type(source)(source.Options(file=tmp_path / "none.txt"))
    assert missing.check()[0].where == "file"
    (tmp_path / "pairs.tsv").write_text("no tabs\n")
    with pytest.raises(RecipeError, match=r"pairs.tsv:1  1 cells"):
        source.prompts()


def test_the_judge_of_the_docs(example: Callable[[str, str], Any]) -> None:
    plugin = example("Judge", "judges")
    judge = plugin(plugin.Options())
    prompt = Prompt("1", (Message("user", "hi"),))
    pairs = [("ab", "abcd"), ("abcd", "ab"), ("", "ab")]
    verdicts = judge.compare([roles.PairRequest(prompt, *pair) for pair in pairs], _silent)
    assert verdicts[0].value == -verdicts[1].value > 0
    assert verdicts[2].value is None
    assert verdicts[2].reason


def test_the_method_of_the_docs(example: Callable[[str, str], Any]) -> None:
    torch = pytest.importorskip("torch")
    plugin = example("Method", "methods")
    method = plugin(plugin.Options(beta=0.5))
    gold, other = Response("a", (1, 2), "gold"), Response("b", (3,), "gold")
    pair = PromptGroup(Prompt("1", (Message("user", "hi"),)), (7,), (gold, other))
    single = PromptGroup(Prompt("2", (Message("user", "hi"),)), (7,), (gold,))
    made = method.examples([pair, single], [])
    assert made.examples == [
        TrainingExample("1", (7,), ((1, 2), (3,)), (1.0, 0.0), ("gold", "gold"))
    ]
    assert made.dropped == {"not a pair": 1}
    batch = roles.LogpBatch(
        policy_N=torch.tensor([-2.0, -3.0], requires_grad=True),
        reference_N=torch.tensor([-2.5, -2.5]),
        targets_N=torch.tensor([1.0, 0.0]),
        example_N=torch.tensor([0, 0]),
        n_tokens_N=torch.tensor([2, 1]),
        drawn_N=torch.tensor([False, False]),
    )
    loss, metrics = method.loss(batch)
    assert loss.item() == 0.5
    margin = metrics["margin_nats"]
    assert margin.value(margin.sums().tolist()) == 1.0


def _checkpoint(folder: Path) -> Checkpoint:
    return Checkpoint("base", str(folder), weights_digest(folder), "float32")


def test_the_engine_and_benchmark_of_the_docs(
    example: Callable[[str, str], Any], tmp_path: Path, tiny_llama: Path
) -> None:
    """The benchmark asks the engine for one answer per prompt of the source, and averages."""
    loaded = load_model(tiny_llama)
    plugin = example("Benchmark", "benchmarks")
    engine = example("Engine", "engines")(roles.Options())
    engine.serve(_checkpoint(tiny_llama), lambda: loaded)
    context = roles.BenchmarkContext(
        checkpoint=_checkpoint(tiny_llama),
        tokenizer=loaded.tokenizer,
        folder=tmp_path,
        seed=0,
        progress=_silent,
        open_engine=lambda: engine,
        open_scorer=lambda: pytest.fail("not needed"),
        open_judge=lambda: pytest.fail("not needed"),
        open_source=lambda reference: _prompts(example, tmp_path),
    )
    results = plugin(plugin.Options()).run(context)
    # A parrot says the beginning of the rendered prompt, the same every time.
    lengths = [sample.metrics["characters"] for sample in results.samples]
    assert results.score("length", "characters").value == sum(lengths) / 2
    assert plugin(plugin.Options()).run(context) == results
    assert len(results.samples) == 2


def test_the_scheme_of_the_docs(
    example: Callable[[str, str], Any], tmp_path: Path, tiny_llama: Path
) -> None:
    scheme = example("Scheme", "schemes")(roles.Options())
    assert scheme.check_model({"quantization_config": {}})
    scheme.quantize(_checkpoint(tiny_llama), [], tmp_path)
    assert str(load_model(tmp_path).model.dtype) == "torch.bfloat16"


def test_the_builder_of_the_docs(
    example: Callable[[str, str], Any], tmp_path: Path, tiny_llama: Path
) -> None:
    """Built twice with one seed, the weights are the same; with another they are not."""
    plugin = example("Builder", "builders")
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        plugin(plugin.Options(tokenizer=tiny_llama, seed=seed)).build(tmp_path / name, _silent)
        digests.append(weights_digest(tmp_path / name))
    assert digests[0] == digests[1] != digests[2]


def test_the_importer_of_the_docs(example: Callable[[str, str], Any], tmp_path: Path) -> None:
    importer = example("Importer", "importers")(roles.Options())
    table = tmp_path / "scores.csv"
    table.write_text("model,task,metric,percent,n\na/b,arc,acc,61.5,200\na/b,gsm,em,40,100\n")
    assert importer.recognises(table)
    assert not importer.recognises(tmp_path)
    (found,) = importer.read(table)
    assert found.model == "a/b"
    assert found.result.score("gsm", "em").value == 40.0
    table.write_text(table.read_text() + "a/b,mmlu,acc,?,1\n")
    with pytest.raises(RecipeError, match=r"scores.csv:4"):
        importer.read(table)


@pytest.mark.usefixtures("_fresh_names")
def test_a_broken_package_hurts_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is listed as broken; only who uses it is told more."""
    _install(tmp_path, "broken", "[evalkit.judges]\nbroken = broken_package:PLUGIN\n"
             "gone = gone_package:PLUGIN\nrule = broken_package:PLUGIN\n")  # fmt: skip
    (tmp_path / "broken_package.py").write_text('"""Never works."""\nimport nonesuch\n')
    monkeypatch.syspath_prepend(tmp_path)
    assert {"broken", "gone"} < set(registry.names("judges"))
    assert registry.summary("judges", "broken") == "Never works. (of broken 1.0)"
    assert "there is no module gone_package" in registry.summary("judges", "gone")
    with pytest.raises(RecipeError, match="judge broken of package broken cannot be loaded"):
        registry.load("judges", "broken")
    assert registry.load("judges", "rule").__module__ == "evalkit.judges.rule"  # its name is ours


def test_a_file_is_run_once_until_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "silent.py"
    file.write_text(JUDGE)
    first = registry.load("judges", str(file))
    assert registry.load("judges", str(file)) is first
    file.write_text(JUDGE + "# changed\n")
    assert registry.load("judges", str(file)) is not first
