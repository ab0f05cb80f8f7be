"""Pieces are equal; several devices give the maps that one gives."""

import os
import subprocess
import sys

import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
import scans

from dcejax.execution import placement, unet_windows
from dcejax.types import PARAMETERS


def test_pieces_are_equal():
    pieces = placement.cut({"a": jnp.arange(6), "b": jnp.arange(12).reshape(6, 2)}, 2)
    np.testing.assert_array_equal([piece["a"] for piece in pieces], [[0, 1], [2, 3], [4, 5]])
    with pytest.raises(ValueError, match="multiple of 4, found 6"):
        placement.cut(jnp.arange(6), 4)


@pytest.mark.parametrize(
    ("rows", "most", "pieces"), [(1200, 1024, 2), (1025, 1024, 5), (32, 1024, 1), (1031, 1024, 1), (6, None, 1)]
)
def test_the_fewest_equal_pieces_of_at_most_so_many_rows(rows, most, pieces):
    """1031 is prime and a little more than the most: it stays whole."""
    arrays = {"a": np.arange(rows * 2.0).reshape(rows, 2), "b": np.arange(rows)}
    found = placement.cut_evenly(arrays, most)
    assert len(found) == pieces
    for name, expected in arrays.items():
        np.testing.assert_array_equal(np.concatenate([piece[name] for piece in found]), expected)


def test_several_devices_give_the_maps_of_one(run_infer, tiny_weights, tmp_path):
    """Slices, samples and voxels that the number of devices does not divide, in the real command; one in a window."""
    rows = ["input,mask"]
    for name, shape, windowed in (("a", (40, 44, 5), False), ("b", (80, 76, 4), True)):
        inside = np.zeros(shape, bool)
        inside[3 : 3 + 30, 8 : 8 + 27] = True
        assert (unet_windows.plan(inside.any(axis=2), scales=2) is not None) == windowed
        scan = scans.save_scan(tmp_path / f"{name}.nii.gz", shape=shape)
        rows.append(f"{scan},{scans.save_mask(tmp_path / f'mask_{name}.nii.gz', inside)}")
    cohort = tmp_path / "cohort.csv"
    cohort.write_text("\n".join(rows))
    code, err = run_infer(input=cohort, output_dir=tmp_path / "one", num_samples=5)
    assert code == 0, err
    flags = [f"--input={cohort}", f"--weights={tiny_weights}", "--num_samples=5", f"--output_dir={tmp_path / 'more'}"]
    program = "import jax; from dcejax.cli import infer; assert len(jax.devices()) == 3; infer.main()"
    more = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}
    done = subprocess.run(
        [sys.executable, "-c", program, *flags], env=more, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    for name in [f"{case}_desc-{kind}_{of}.nii.gz" for case in "ab" for kind in ("mean", "std") for of in PARAMETERS]:
        found, expected = (nib.load(tmp_path / folder / name).get_fdata() for folder in ("more", "one"))
        assert np.ptp(expected) > 0
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.ptp(expected))
