"""What the kernels need is what the package asks for."""

import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

from dcejax.cpu_kernels import availability


def test_an_llvmlite_that_is_absent_is_not_available(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(availability, "version", absent)
    assert availability.available.__wrapped__() is False


def test_the_least_llvmlite_is_the_extras():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    extra = tomllib.loads(text)["project"]["optional-dependencies"]["cpu"]
    assert "llvmlite>=" + ".".join(map(str, availability.LEAST_LLVMLITE)) in extra
