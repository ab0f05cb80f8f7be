"""The published model with a loss in which its latent can say something.

    python train.py --config=configs/paper_latent.py --workdir=DIR

The published loss weighs the mean error of a patch against the divergence in nats, so that the latent says nothing.
Here both are in nats: the divergence is weighed against the likelihood of all voxels (`losses.laplace_surprise`).
"""

import dataclasses

from dcejax.methods.lyoo2025 import Config


def get_config() -> Config:
    published = Config()
    losses = {"laplace_surprise": 1.0, "kl_divergence": 1.0}
    return dataclasses.replace(
        published, prob_unet_training=dataclasses.replace(published.prob_unet_training, losses=losses)
    )
