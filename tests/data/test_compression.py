"""Compressed images: readable by any gzip, the same bytes again, and damage noticed, with and without zlib-ng."""

import gzip
import importlib
import sys

import numpy as np
import pytest
import scans

from dcejax.data import compression, nifti

CONTENT = np.random.default_rng(0).normal(100, 5, 20_000).astype(np.int16).tobytes()


@pytest.fixture(params=["zlib_ng", "zlib"])
def codec(request, monkeypatch):
    """The module as it is, and as it is where zlib-ng is not installed."""
    if request.param == "zlib_ng":
        pytest.importorskip("zlib_ng")
    else:
        monkeypatch.setitem(sys.modules, "zlib_ng", None)
    yield importlib.reload(compression)
    monkeypatch.undo()
    importlib.reload(compression)


@pytest.mark.parametrize("level", [1, 4, 9])
def test_any_gzip_reads_it_and_it_is_the_same_again(codec, level, tmp_path):
    made = codec.compress(CONTENT, level)
    assert gzip.decompress(made) == CONTENT
    assert codec.compress(CONTENT, level) == made
    assert len(made) < 0.9 * len(CONTENT)
    (tmp_path / "x.gz").write_bytes(gzip.compress(CONTENT))
    with codec.open_file(tmp_path / "x.gz") as file:
        assert file.read() == CONTENT


def test_a_damaged_image_is_refused(codec, tmp_path, monkeypatch):
    monkeypatch.setattr(nifti, "compression", codec)
    path = scans.save_scan(tmp_path / "p.nii.gz")
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:2000] + b"\0" * 64 + whole[2064:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"p\.nii\.gz"):
            nifti.read_series(path)
