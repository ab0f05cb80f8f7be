"""The documents as a site, and the quickstart, which is a notebook."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
SECONDS = 1200  # of one cell, on a slow machine


@pytest.mark.slow  # not for its time: it needs what else no test does
def test_the_site_has_every_page_and_no_link_that_leads_nowhere(tmp_path):
    for module in ("mkdocs", "material", "mkdocs_jupyter"):
        pytest.importorskip(module, reason="needs pip install '.[docs]'")
    words = ["build", "--strict", "--config-file", ROOT / "recipes" / "site" / "mkdocs.yml", "--site-dir", tmp_path]
    told = subprocess.run(
        [sys.executable, "-m", "mkdocs", *words],
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    for page in [path.stem for path in (ROOT / "docs").glob("*.md")] + ["quickstart", "changelog"]:
        assert (tmp_path / page / "index.html").is_file(), page
    overview = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'href="model/"' in overview
    assert 'src="demo.png"' in overview
    assert 'href="../#which-model-and-what-it-is-not"' in (tmp_path / "infer" / "index.html").read_text("utf-8")
    assert "image/png" in (tmp_path / "quickstart" / "index.html").read_text("utf-8")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the client, not of the package: the notebook has a process of its own
def test_the_quickstart_runs_and_its_intervals_hold_most_of_the_truth(tmp_path):
    nbformat = pytest.importorskip("nbformat", reason="needs pip install '.[docs]'")
    nbclient = pytest.importorskip("nbclient", reason="needs pip install '.[docs]'")
    pytest.importorskip("ipykernel", reason="needs pip install '.[docs]'")
    book = nbformat.read(NOTEBOOK, as_version=4)
    stored = [cell.get("outputs") for cell in book.cells if cell.cell_type == "code"]
    assert all(outputs is not None for outputs in stored)
    nbclient.NotebookClient(book, timeout=SECONDS, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(each.get("text", "") for cell in book.cells for each in cell.get("outputs", []))
    held = [float(line.split("holds ")[1].rstrip("%\n")) for line in printed.splitlines() if " holds " in line]
    assert len(held) == 3
    assert min(held) > 50  # of voxels that share their errors
    assert any("image/png" in each.get("data", {}) for cell in book.cells for each in cell.get("outputs", []))
    assert list((tmp_path / "output" / "quickstart").glob("*_desc-median_Ktrans.nii.gz"))
