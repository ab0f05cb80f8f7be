"""What a cohort costs, from runs of processes, and the document that says it."""

import json
from pathlib import Path

import cohort_cost
import pytest

ROOT = Path(__file__).resolve().parents[2]
FOUND = json.loads((ROOT / "docs" / "cohort_cost.json").read_text(encoding="utf-8"))


def test_the_document_holds_the_tables_of_the_results():
    text = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
    assert cohort_cost.cohort_table(FOUND) in text
    assert cohort_cost.million_table(FOUND, cohort_cost.on_a_gpu()) in text


def test_two_processes_gave_the_same_maps():
    assert FOUND["cohort"]["same_maps"]
    assert FOUND["cohort"]["maps"] == FOUND["cohort"]["scans"] * 28


def test_a_million_scans():
    assert cohort_cost.million_hours(18.0) == 5000
    assert cohort_cost.million_hours(3.6) == 1000
    assert cohort_cost.million_hours(18.234) == 5060  # three figures


def test_seconds_are_those_of_the_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "busy.py").write_text(
        "import sys, time\nheld = bytearray(100 << 20)\nend = time.process_time() + 0.3\n"
        "while time.process_time() < end: pass\nsys.exit(int(sys.argv[1]))\n"
    )
    found = cohort_cost.run("busy", ["0"], 2)
    assert 0.6 <= found["cpu_seconds"] < 3
    assert found["seconds"] >= 0.3
    assert found["most_memory_gib"] > 0.09
    with pytest.raises(SystemExit, match="failed"):
        cohort_cost.run("busy", ["1"], 1)
