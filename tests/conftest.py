"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
import scans


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Folder of data that nobody on this project wrote; tests that need it are skipped where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DCEJAX_REFERENCE_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"reference data not found at {folder}; set DCEJAX_REFERENCE_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory) -> Path:
    """Random weights of small networks, exported as training does."""
    return scans.export_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny")
