"""Steps by other packages: with them on what is known, without them a message that says what to install."""

import sys

import numpy as np
import phantom_heads
import pytest

from dcejax.preprocessing import brain_mask, receive_field

AFFINE = np.array([[3.0, 0, 0, -90.0], [0, 3.0, 0, -105.0], [0, 0, 6.0, -66.0], [0, 0, 0, 1]])
SHAPE = (61, 71, 23)


def test_a_missing_package_is_told_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    monkeypatch.setitem(sys.modules, "deepbet", None)
    volume = np.ones((6, 6, 6), np.float32)
    with pytest.raises(ValueError, match=r"pip install 'dcejax\[prep\]'"):
        receive_field.find(volume, volume > 0, np.ones(3))
    with pytest.raises(ValueError, match=r"pip install 'dcejax\[prep\]'"):
        brain_mask.find(volume, np.eye(4), "deepbet")


def test_a_missing_program_is_told(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="pip install hd-bet"):
        brain_mask.find(np.ones((6, 6, 6), np.float32), np.eye(4), "hd-bet")


FAKE = """#!{python}
import argparse, sys, nibabel, numpy
parser = argparse.ArgumentParser()
for flag in ("-i", "-o", "-device"):
    parser.add_argument(flag, required=True)
for flag in ("--disable_tta", "--save_bet_mask", "--no_bet_image"):
    parser.add_argument(flag, action="store_true", required=True)
told = parser.parse_args()
image = nibabel.load(told.i)
if image.get_fdata().max() < 100:
    sys.exit("no head")
mask = nibabel.Nifti1Image((image.get_fdata() > 100).astype("uint8"), image.affine)
nibabel.save(mask, told.o.replace(".nii.gz", "_bet.nii.gz"))
"""


def test_the_program_is_called_and_its_mask_read(tmp_path, monkeypatch):
    """A program of the name that takes the flags of hd-bet 2.0 and names the mask as it does."""
    program = tmp_path / "hd-bet"
    program.write_text(FAKE.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    volume = np.full((6, 5, 4), 50.0, np.float32)
    volume[2:4, 1:3, 1:3] = 300.0
    np.testing.assert_array_equal(brain_mask.find(volume, np.diag([2.0, 2, 4, 1]), "hd-bet"), volume > 100)
    with pytest.raises(ValueError, match=r"found none by hd-bet \(no head\); give --mask"):
        brain_mask.find(np.full((6, 5, 4), 50.0, np.float32), np.eye(4), "hd-bet")


@pytest.mark.slow
def test_n4_evens_out_a_known_field():
    pytest.importorskip("SimpleITK", reason="needs pip install 'dcejax[prep]'")
    at = phantom_heads.positions(SHAPE, AFFINE)
    true = np.exp(0.5 * at[..., 0] / 90 + 0.3 * at[..., 1] / 105)
    head = np.where(np.sin(at / 4).prod(axis=-1) > 0, 300.0, 200.0)  # two tissues, finer than any field
    mask = np.linalg.norm(at / phantom_heads.SEMI_AXES_MM, axis=-1) < 0.75
    found = receive_field.find((head * true).astype(np.float32), mask, np.array([3.0, 3.0, 6.0]))
    before, after = np.log(true[mask]).std(), np.log(true / found)[mask].std()
    assert found[mask].mean() == pytest.approx(1.0, abs=1e-4)
    assert after < 0.35 * before


@pytest.mark.slow
def test_deepbet_finds_a_brain_in_a_simulated_head():
    pytest.importorskip("deepbet", reason="needs pip install 'dcejax[prep]'")
    head = phantom_heads.Head().signal(phantom_heads.positions(SHAPE, AFFINE), 0.0)
    found = brain_mask.find(head, AFFINE, "deepbet")
    assert found.shape == SHAPE
    assert 0 < found.mean() < 0.9
