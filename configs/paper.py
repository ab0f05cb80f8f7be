"""The published model and its training (Lyoo et al., Eur Radiol 2025), on simulated patients.

    python train.py --config=configs/paper.py --workdir=DIR

16 patches of 64×64 voxels of one patient a step, 165 patients an epoch, Adam at 3e-4, early stopping after 5 (TCN) and
13 (probabilistic U-Net) epochs without improvement. One step of the TCN takes about 5 s on two CPU cores, so the whole
is meant for a GPU; the sidecar of the released weights holds the command of a run within an hour on two cores.
"""

from dcejax.methods.lyoo2025 import Config


def get_config() -> Config:
    return Config()
