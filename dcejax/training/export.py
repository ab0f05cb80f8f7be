"""From the best checkpoints to released weights."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import jax

from dcejax.config import Config
from dcejax.data import weights
from dcejax.data.provenance import versions
from dcejax.execution.policy import Policy
from dcejax.simulation.priors import priors_record, priors_sha256
from dcejax.training import metrics
from dcejax.training.validation import validate
from dcejax.types import UNITS

_DESCRIPTION = (
    "The published architecture (temporal convolutional network and probabilistic U-Net, Lyoo et al., Eur Radiol "
    "2025) trained on simulated patients only. It has seen no patient data, does not reproduce the published weights, "
    "does not see the arterial input, and its spread over latent samples is not a calibrated uncertainty. For research."
)


def export(config: Config, tcn: Any, prob_unet: Any, policy: Policy, workdir: Path, command: str) -> Path:
    """Write the parts that inference needs, with the record of what they are, to ``workdir/weights.*``.

    The figures of the record come from the parameters as exported, in half precision.
    """
    records = metrics.read(workdir / "metrics.jsonl")
    stages = {name: [r for r in records if r["stage"] == name] for name in ("stage1", "stage2")}
    rounded = jax.tree.map(lambda p: p.astype("float16").astype("float32"), (tcn, prob_unet))
    record = {
        "description": _DESCRIPTION,
        "command": command,
        "seed": config.seed,
        "training": {
            "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} CPU cores",
            "seconds": round(sum(r["seconds"] for r in records), 1),
            **{
                name: {
                    "updates": rows[-1]["step"],
                    "epochs": rows[-1]["epoch"],
                    "seconds": round(sum(r["seconds"] for r in rows), 1),
                    "best": min(rows, key=lambda r: r["validation"]["loss"]),
                }
                for name, rows in stages.items()
            },
        },
        "validation": validate(config, *rounded, config.stage2.validation_patients, policy),
        "units": UNITS,
        "normalisation": (
            f"signal divided by its {config.protocol.scale_percentile}th percentile over time and mask; zero outside "
            "the mask; frames interpolated linearly to the protocol's grid"
        ),
        "priors_sha256": priors_sha256(),
        "priors": priors_record(),
        "versions": versions(("dcejax", "jax", "flax", "llvmlite", "optax", "numpy")),
        "config": dataclasses.asdict(config),
    }
    return weights.save(workdir / "weights", tcn, prob_unet, record)
