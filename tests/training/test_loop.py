"""Early stopping, means of metrics, and their file."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from dcejax.training.checkpoints import Progress
from dcejax.training.loop import Means, advance
from dcejax.training.metrics import MetricWriter
from dcejax.training.validation import error_table


def test_a_region_that_no_patient_has_is_reported_as_such():
    truth = [np.zeros((2, 2, 3))] * 2
    assert error_table({"all zero": truth}, truth, [np.zeros((2, 2), bool)] * 2, seed=0) == {"patients": 0}


def test_early_stopping_counts_epochs_without_improvement():
    progress = Progress()
    for loss in (0.5, 0.4, 0.45, 0.41):
        progress = advance(progress, loss, max_epochs=100, patience=3)
        assert not progress.finished
    progress = advance(progress, 0.4, max_epochs=100, patience=3)  # equal is no improvement
    assert progress == Progress(5, 0.4, 2, True)
    assert advance(Progress(epoch=99, best_loss=1.0, best_epoch=99), 0.5, max_epochs=100, patience=3).finished


def test_a_loss_that_is_not_finite_stops_with_its_step():
    means = Means("step")
    means.add(7, {"loss": jnp.array(1.0)})
    means.add(8, {"loss": jnp.array(jnp.nan)})
    with pytest.raises(FloatingPointError, match="step 8 is nan"):
        means.add(9, {"loss": jnp.array(1.0)})


def test_means_are_over_all_steps():
    means = Means("step")
    for step, loss in enumerate((1.0, 2.0, 6.0)):
        means.add(step, {"loss": jnp.array(loss)})
    assert means.result() == {"loss": 3.0}


def test_rewound_metrics_have_no_record_twice(tmp_path):
    writer = MetricWriter(tmp_path / "m.jsonl")
    writer.rewind("tcn", 0)  # nothing there yet
    for stage, epoch in (("tcn", 1), ("tcn", 2), ("prob_unet", 1)):
        writer.write({"stage": stage, "epoch": epoch})
    writer.rewind("tcn", 1)
    assert records_of(tmp_path / "m.jsonl") == [("tcn", 1), ("prob_unet", 1)]
    with (tmp_path / "m.jsonl").open("a") as file:
        file.write('{"stage": "prob_unet", "st')  # a crash in the middle of a line
    writer.rewind("prob_unet", 1)
    assert records_of(tmp_path / "m.jsonl") == [("tcn", 1), ("prob_unet", 1)]


def records_of(path):
    return [(r["stage"], r["epoch"]) for r in map(json.loads, path.read_text().splitlines())]
