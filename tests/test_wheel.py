"""What is installed is `evalkit` and nothing else, complete, however it was built."""

import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LINKED = ("trainers", "templates", "leaderboards")
EXTRAS = {"train", "eval", "quantize", "hub", "report", "vllm", "dev"}

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
    assert names == {"click", "jinja2", "numpy", "pandas", "pydantic", "pyyaml", "rich"}
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


@pytest.mark.slow
def test_an_editable_install_points_at_the_checkout(tmp_path: Path) -> None:
    code = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    _python("-c", code, str(tmp_path), cwd=ROOT)
    (made,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(made) as archive:
        (path,) = (name for name in archive.namelist() if name.endswith(".pth"))
        assert archive.read(path).decode().strip() == str(ROOT)
