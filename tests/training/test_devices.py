"""Small networks of the methods themselves trained on one, two and four simulated devices."""

import jax
import numpy as np
import pytest
from training_examples import make_batch
from training_processes import end, environment, launch, losses

from dcejax.protocol import Protocol
from dcejax.simulation.training import voxel_sets
from dcejax.training.batch_pool import write_pool

LYOO2025 = """
import dataclasses
import scans

def get_config():
    usual = scans.tiny_config()
    short = dict(batches="pool:{pool}", patches_per_patient=4, patch_size=16, steps_per_epoch=3, max_epochs=2,
                 validation_patients=2)
    return dataclasses.replace(
        usual,
        tcn_training=dataclasses.replace(usual.tcn_training, **short),
        prob_unet_training=dataclasses.replace(usual.prob_unet_training, **short),
    )
"""
DCEJAX2026 = """
import dataclasses
from dcejax.methods.dcejax2026 import Config
from dcejax.models.posterior_network import Sizes

def get_config():
    usual = Config()
    short = dict(batches="pool:{pool}", patients_per_step=4, steps_per_epoch=3, max_epochs=2, validation_patients=4)
    return dataclasses.replace(
        usual,
        network=Sizes(encoder_width=8, context=4, voxel_width=16, voxel_layers=2, neighbour_width=6),
        members=1,
        training=dataclasses.replace(usual.training, **short),
        distilling=dataclasses.replace(usual.distilling, **short),
    )
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lyoo2025", "dcejax2026"])
def test_losses_do_not_depend_on_the_number_of_devices(tmp_path, name):
    text, source = {
        "lyoo2025": (LYOO2025, lambda key: make_batch((4, 16, 16), seed=int(jax.random.bits(key)) % 1009)),
        "dcejax2026": (DCEJAX2026, voxel_sets.make_sampler(Protocol(), 4)),
    }[name]
    write_pool(tmp_path / "pool", lambda split: source, 4, 0, {"what": name})
    config = tmp_path / "config.py"
    config.write_text(text.format(pool=tmp_path / "pool"))
    found = {}
    for devices in (1, 2, 4):
        end([launch(config, tmp_path / str(devices), environment(devices=devices))])
        found[devices] = losses(tmp_path / str(devices))
    assert len(found[1]) == 4
    for devices in (2, 4):
        assert [row[:2] for row in found[devices]] == [row[:2] for row in found[1]]
        one, more = (np.array([row[2:] for row in found[n]]) for n in (1, devices))
        np.testing.assert_allclose(more, one, rtol=1e-5)
