"""The wheel and the source distribution: built, installed where no checkout is, and whole."""

import site
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NOT_CODE = {"__pycache__"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder of a source distribution and of the wheel made from it."""
    pytest.importorskip("build", reason="needs pip install '.[dev]'")
    folder = tmp_path_factory.mktemp("built")
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Folder of the commands of an environment that has the wheel, and this one's packages in place of a download."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    return python.parent


def _output(*words, folder):
    return subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True, env={}).stdout


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(built):
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "dcejax").rglob("*")
        if file.is_file() and not NOT_CODE & set(file.parts)
    }
    assert inside == expected


def test_the_source_distribution_has_what_people_need_to_build_and_train(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as source:
        inside = {name.split("/", 1)[1] for name in source.getnames() if "/" in name}
    files = ["pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "CHANGELOG.md", "train.py", "infer.py"]
    assert {*files, "configs/default.py", "docs/infer.md", "recipes/Dockerfile"} <= inside
    assert not [name for name in inside if name.startswith(("output", "runs", ".git/"))]


def test_every_command_is_installed_and_tells_its_version(installed, tmp_path):
    for command in PROJECT["scripts"]:
        shown = _output(installed / command, "--version", folder=tmp_path)
        assert shown.startswith(f"dcejax {PROJECT['version']} (jax "), (command, shown)


def test_the_installed_package_finds_its_own_files(installed, tmp_path):
    code = (
        "import dcejax; print(dcejax.__file__); "
        "print(sorted(dcejax.load_weights(name).name for name in ('default-v5', 'paper-v0')))"
    )
    place, names = _output(installed / "python", "-c", code, folder=tmp_path).splitlines()
    assert Path(place).is_relative_to(installed.parent)
    assert "default-v5" in names
