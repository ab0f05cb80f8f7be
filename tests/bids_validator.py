"""Runs the official validator of BIDS; tests that need it are skipped where it is not installed."""

import json
import subprocess
import sys

import pytest

COMPLETED = {"TOO_FEW_AUTHORS", "NO_AUTHORS", "JSON_KEY_RECOMMENDED"}
"""Warnings about what the owner of a data set has to say: authors, licence."""

NAMES = {"NOT_INCLUDED", "ALL_FILENAME_RULES_HAVE_ISSUES", "SIDECAR_WITHOUT_DATAFILE"}
"""Errors about names that BIDS does not have."""


def issues(folder):
    """What is found in a data set: severity -> code -> files."""
    pytest.importorskip("bids_validator_deno", reason="needs pip install 'dcejax[bids]'")
    command = [sys.executable, "-c", "import sys; from bids_validator_deno import cli; sys.exit(cli())"]
    run = subprocess.run([*command, "--format", "json", folder], capture_output=True, text=True)
    found = {"error": {}, "warning": {}}
    for issue in json.loads(run.stdout)["issues"]["issues"]:
        found[issue["severity"]].setdefault(issue["code"], []).append(issue["location"])
    return found


def assert_clean(folder):
    found = issues(folder)
    assert not found["error"]
    assert set(found["warning"]) <= COMPLETED
