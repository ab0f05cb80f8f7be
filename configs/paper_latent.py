"""The published model with a loss in which its latent can say something.

    python train.py --config=configs/paper_latent.py --workdir=DIR

The published loss weighs the mean error of a patch against the divergence in nats, so that the latent says nothing.
Here both are in nats: the divergence is weighed against the likelihood of all voxels (`losses.laplace_surprise`).
Validation decodes one sample of the prior, which errs least where the latent says nothing, so it cannot choose the
epoch: the last one's parameters are taken, after the learning rate has fallen to zero.
"""

import dataclasses

from dcejax.methods.lyoo2025 import Config


def get_config() -> Config:
    published = Config()
    losses = {"laplace_surprise": 1.0, "kl_divergence": 1.0}
    training = dataclasses.replace(
        published.prob_unet_training, losses=losses, take="last", cosine_decay=True, max_epochs=20
    )
    return dataclasses.replace(published, prob_unet_training=training)
