"""What is installed is `evalkit` and nothing else, complete, however it was built."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import conftest
import pytest
from card_families import pocket_family
from test_importers import annotations, judgements, write

from evalkit.cards import build_card
from evalkit.records import to_json

ROOT = Path(__file__).parent.parent
LINKED = ("trainers", "templates", "leaderboards")
EXTRAS = {"train", "eval", "quantize", "hub", "report", "qlora", "vllm", "dev"}

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").is_file(), reason="tests run without a source tree"
)


def _python(*arguments: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _build(kind: str, source: Path, into: Path) -> Path:
    """Builds a `wheel` or an `sdist` with the hatchling that is installed; gives the file."""
    _python("-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(into), cwd=source)
    (made,) = into.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the checkout."""
    return _build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def _source_files() -> set[str]:
    """Every file of the package, as seen through the links."""
    files = set()
    for folder, below, names in os.walk(ROOT / "evalkit", followlinks=True):
        below[:] = [name for name in below if name != "__pycache__"]
        files |= {(Path(folder) / name).relative_to(ROOT).as_posix() for name in names}
    return {file for file in files if not file.endswith(".pyc")}


def _package_files(archive: zipfile.ZipFile) -> set[str]:
    return {name for name in archive.namelist() if not name.partition("/")[0].endswith("dist-info")}


def test_the_checkout_holds_links() -> None:
    """Checkout and editable install see the linked folders as packages of evalkit."""
    if (ROOT / "PKG-INFO").is_file():
        pytest.skip("a source archive holds real folders instead")
    for name in LINKED:
        assert os.readlink(ROOT / "evalkit" / name) == f"../{name}"


def test_the_only_top_level_name_is_evalkit(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"evalkit"}


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    """Code, templates, leaderboards and py.typed, as real files."""
    with zipfile.ZipFile(wheel) as archive:
        packed = _package_files(archive)
        links = [one.filename for one in archive.infolist() if (one.external_attr >> 28) == 0o12]
    assert packed == _source_files()
    assert "evalkit/py.typed" in packed
    assert "evalkit/trainers/__init__.py" in packed
    assert not links


def test_the_metadata(wheel: Path) -> None:
    """Name, licence, extras, and a base that does not ask for torch."""
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(path).decode())
        entry_points = archive.read(path.replace("METADATA", "entry_points.txt")).decode()
    assert metadata["Name"] == "evalkit"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra", [])) == EXTRAS
    base = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = {line.split(">")[0].split("<")[0].lower() for line in base}
    expected = {"click", "jinja2", "numpy", "pandas", "pyarrow", "pydantic", "pyyaml", "rich"}
    assert names == expected
    assert "evalkit = evalkit.cli:main" in entry_points


@pytest.mark.slow
def test_a_wheel_from_the_sdist_is_the_same(wheel: Path, tmp_path: Path) -> None:
    """The source archive has no links, and what is built from it equals what the checkout gives."""
    sdist = _build("sdist", ROOT, tmp_path)
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
        assert all(member.isfile() or member.isdir() for member in members)
        archive.extractall(tmp_path / "unpacked", filter="data")
    tops = {Path(member.name).parts[1] for member in members if member.isfile()}
    assert not tops & set(LINKED)
    (source,) = (tmp_path / "unpacked").iterdir()
    second = _build("wheel", source, tmp_path / "again")
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(second) as two:
        assert _package_files(one) == _package_files(two)
        assert all(one.read(name) == two.read(name) for name in _package_files(one))


@pytest.mark.slow
def test_an_installed_wheel_works(wheel: Path, tmp_path: Path) -> None:
    """Away from the checkout, linked rooms import, plug-ins are found and data opens."""
    target = tmp_path / "site"
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    _python(*install, str(target), str(wheel), cwd=tmp_path)
    code = (
        "import evalkit, evalkit.trainers\n"
        "from evalkit import registry, resources\n"
        "print(evalkit.__file__, evalkit.trainers.__file__, sep='\\n')\n"
        "print(sum(len(registry.names(kind)) for kind in registry.ROOMS))\n"
        "print(sum(1 for room in ('templates', 'leaderboards')"
        " for _ in resources.folder(room).iterdir()))"
    )
    package, trainers, plugins, data = _python(
        "-c", code, cwd=tmp_path, PYTHONPATH=str(target)
    ).split()
    assert Path(package).is_relative_to(target)
    assert Path(trainers).is_relative_to(target)
    here = _python("-c", code, cwd=ROOT).split()
    assert [plugins, data] == here[2:]


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an empty environment with the wheel installed, no extra.

    What the base needs comes from the package index, as for anybody who installs it.
    """
    folder = tmp_path_factory.mktemp("bare")
    _python("-m", "venv", str(folder), cwd=folder)
    surroundings = {k: v for k, v in os.environ.items() if k not in conftest.PROXIES}
    done = subprocess.run(
        [folder / "bin" / "python", "-m", "pip", "install", "--quiet", str(wheel)],
        env=surroundings, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    if any(words in done.stderr for words in ("NewConnectionError", "Temporary failure in name")):
        pytest.skip("no package index; would have shown that a bare installation works")
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def _run_of_a_family(folder: Path) -> Path:
    """A finished run as it lies on disk, its cards step alone."""
    family, cards = pocket_family(), folder / "steps" / "cards"
    for member in family.members:
        file = cards / member.title / "README.md"
        file.parent.mkdir(parents=True)
        file.write_text(build_card(family, member))
    (cards / "family.json").write_text(json.dumps(to_json(family)))
    receipt = {"step": "cards", "fingerprint": "0", "settings": {}, "result": {}}
    (cards / "receipt.json").write_text(json.dumps(receipt))
    (folder / "plan.json").write_text('[{"step": "cards", "title": "write model cards"}]')
    return folder


@pytest.mark.slow
def test_a_bare_installation_works(bare: Path, tmp_path: Path) -> None:
    """Everything that reads, renders and exports works without torch; what needs it says so."""

    def evalkit(*words: object, ends: int = 0) -> str:
        done = subprocess.run(
            [bare / "evalkit", *map(str, words)],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == ends, f"{words}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    heavy = [bare / "python", "-c", "import torch"]
    assert subprocess.run(heavy, capture_output=True, check=False).returncode != 0
    results = tmp_path / "results"
    write(results / "annotations.json", annotations())
    write(results / "gpt-4_single.jsonl", judgements())
    run = _run_of_a_family(tmp_path / "run")
    assert "train-and-publish" in evalkit("--help")
    assert "importers:" in evalkit("list")
    assert "rule" in evalkit("list", "judges")
    words = ("--model", "me/mine", "--license", "mit", "--out", "card")
    assert "card/README.md" in evalkit("card", "build", "--from", results, *words)
    assert "0 errors" in evalkit("card", "lint", "card")
    evalkit("leaderboard", "export", run, results, "--out", "table")
    suffixes = {file.suffix for file in (tmp_path / "table").iterdir()}
    assert suffixes == {".md", ".csv", ".json", ".tex", ".html", ".parquet"}
    assert "Pocket-SPPO-Iter2" in evalkit("show", run)
    prompts = write(tmp_path / "prompts.jsonl", [{"prompt": "Say hello."}])
    assert "1" in evalkit("data", "check", prompts)
    assert "torch" in evalkit("doctor")
    recipe = ROOT / "recipes" / "quickstart.yaml"
    assert "evalkit[train]" in evalkit("train", recipe, "--out", "r", ends=1)


@pytest.mark.slow
def test_an_editable_install_points_at_the_checkout(tmp_path: Path) -> None:
    code = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    _python("-c", code, str(tmp_path), cwd=ROOT)
    (made,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(made) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith(".pth"))
        assert archive.read(path).decode().strip() == str(ROOT)
