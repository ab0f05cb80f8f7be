"""Fixtures of the tests of commands."""

import exams
import gliomas
import pytest


@pytest.fixture
def fit_signal(run_fit, files, tmp_path):
    """Fit extended Tofts without a delay to the series of signal, into a folder of a name; None leaves a flag out."""

    def call(name="out", **flags):
        stated = {"input": files["signal"], "mask": files["mask"], "aif": files["aif"], "t1_map": files["t1_map"]}
        stated |= {"b1_map": files["b1_map"], "output_dir": tmp_path / name, "modelled": True} | exams.PLAIN
        stated |= {"tr_ms": exams.TR_MS, "flip_angle_deg": exams.FLIP_DEG} | flags
        code, err = run_fit(**{flag: value for flag, value in stated.items() if value is not None})
        return code, err, tmp_path / name

    return call


@pytest.fixture(scope="session")
def patients(tmp_path_factory):
    """A data set of patients with tumours, seen once; tests leave it as it is."""
    return gliomas.write(tmp_path_factory.mktemp("data") / "made")


@pytest.fixture(scope="session")
def retest(tmp_path_factory):
    """A data set of three other patients, seen twice; tests leave it as it is."""
    people = gliomas.PEOPLE[:3]
    return gliomas.write(tmp_path_factory.mktemp("retest") / "again", people, sessions=2, prefix="again")
