"""The figure of the model says what the weights are."""

import re

import jax
import model_figure

from dcejax.data import weights
from dcejax.execution.policy import default_policy
from dcejax.methods import dcejax2026, method


def test_parameters_told_are_all_but_those_of_the_last_layer():
    loaded = weights.load(None)
    trained = dcejax2026.load(loaded.params, method.config_of(loaded), default_policy())
    text = " ".join(" ".join(lines) for *_, lines in model_figure.boxes(trained))
    told = [int(number.replace(",", "")) for number in re.findall(r"([\d,]+) parameters", text)]
    last = [trained.params[name] for name in ("out", "shared_bias")]
    assert len(told) == 3
    assert sum(told) == sum(leaf.size for leaf in jax.tree.leaves(trained.params)) - model_figure.parameters(last)


def test_it_is_drawn(tmp_path):
    model_figure.draw(tmp_path / "model.png")
    assert (tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")
