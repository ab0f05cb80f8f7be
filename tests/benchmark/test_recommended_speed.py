"""The benchmark of the recommended model reports every figure."""

import json

import pytest

from dcejax.benchmark import infer_speed, recommended_speed
from dcejax.cli import benchmark
from dcejax.runner import map_picture


@pytest.mark.slow
def test_a_tiny_run_reports_every_figure(monkeypatch, capsys):
    sizes = infer_speed.Sizes(shape=(32, 40, 5), product=64, rounds=2)
    run = recommended_speed.run
    monkeypatch.setattr(recommended_speed, "run", lambda report: run(report, sizes))
    monkeypatch.setattr(map_picture, "overview", lambda *_: b"picture")
    with pytest.raises(SystemExit) as stop:
        benchmark.main(["dcejax-benchmark", "recommended"])
    assert stop.value.code == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    for key in ("seconds", "seconds_published", "ratio_published"):
        low, high = results[f"{key}_range"]
        assert 0 < low <= results[key] <= high
    assert results["seconds_file_to_files"] > results["seconds"]
    assert results["cold_start_seconds"] > results["seconds"]
    assert 0.1 < results["peak_rss_gib"] < 3
    assert (results["voxels"], results["shape"]) == (1600, [32, 40, 5, 60])
