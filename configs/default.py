"""The recommended model: plasma curve from the images, physics as features, calibrated posteriors, any protocol.

    python train.py --config=configs/default.py --workdir=DIR

Simulates a pool of patients first (DIR/pool), then trains on it; both can be stopped and go on.
"""

import dataclasses

from dcejax.methods.dcejax2026 import Config


def get_config() -> Config:
    schedule = {
        "pool_batches": 1200,
        "cosine_decay": True,
        "warmup_steps": 200,
        "most_gradient": 1.0,
        "steps_per_epoch": 500,
        "max_epochs": 24,
        "patience": 24,
        "validation_patients": 480,
    }
    return Config(
        training=dataclasses.replace(Config().training, **schedule),
        distilling=dataclasses.replace(Config().distilling, **schedule | {"max_epochs": 12, "learning_rate": 1e-3}),
    )
