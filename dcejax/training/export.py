"""From the best checkpoints to released weights."""

import dataclasses
from pathlib import Path
from typing import Any

from dcejax.config import Config
from dcejax.data import weights
from dcejax.simulation.priors import priors_sha256
from dcejax.types import UNITS


def export(config: Config, tcn: Any, prob_unet: Any, workdir: Path, command: str) -> Path:
    """Write the parts that inference needs, with the record of what they are, to ``workdir/weights.*``."""
    record = {
        "config": dataclasses.asdict(config),
        "units": UNITS,
        "priors_sha256": priors_sha256(),
        "command": command,
    }
    return weights.save(workdir / "weights", tcn, prob_unet, record)
