"""Everything once, small: both stages with tiny networks, seconds on a CPU after compilation.

    python train.py --config=configs/smoke.py --workdir=DIR

Its weights predict nothing; it shows that training, resuming and export work.
"""

import dataclasses

from dcejax.methods.lyoo2025 import Config, ProbUNetConfig, TCNConfig


def get_config() -> Config:
    published = Config()
    small = {
        "patches_per_patient": 2,
        "patch_size": 16,
        "lesion_mask_fraction": 0.5,
        "steps_per_epoch": 3,
        "max_epochs": 3,
        "patience": 5,
        "validation_patients": 2,
    }
    return Config(
        tcn=TCNConfig(channels=(8, 1), dilations=(1, 4)),
        tcn_training=dataclasses.replace(published.tcn_training, **small),
        prob_unet=ProbUNetConfig(filters=(4, 8), combination_layers=2),
        prob_unet_training=dataclasses.replace(published.prob_unet_training, **small),
    )
