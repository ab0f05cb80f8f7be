"""From the best checkpoints to released weights."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from dcejax.data import weights
from dcejax.data.provenance import versions
from dcejax.execution.interruption import Stop
from dcejax.methods import method
from dcejax.methods.method import MethodConfig, Params
from dcejax.methods.stage import Stage
from dcejax.simulation.priors import priors_record, priors_sha256
from dcejax.training import batch_pool, metrics, processes
from dcejax.training.validation import validate


def export(
    config: MethodConfig, stages: Sequence[Stage], params: Params, workdir: Path, command: str, stop: Stop
) -> None:
    """Write the parts that inference needs, with the record of what they are, to ``workdir/weights.*``.

    The figures of the record come from the parameters as exported. Of several processes the first writes.

    Raises:
        Interrupted: the process was told to stop, before anything was written.
    """
    used = method.of(config)
    released = used.release(params)
    scores = validate(config, stages, params, released, stop)
    if not processes.leads():
        return
    records = metrics.read_run(workdir)
    record = {
        "description": used.ABOUT,
        "command": command,
        "seed": config.seed,
        "begun_with": _begun_with(config.init_from),
        "training": {
            "device": "; ".join(sorted({r["device"] for r in records if "device" in r})),
            "seconds": round(sum(r["seconds"] for r in records), 1),
            **{stage.name: _summary(stage, [r for r in records if r["stage"] == stage.name]) for stage in stages},
        },
        "pools": {file.parent.name: _pool(file) for file in sorted((workdir / "pool").glob(f"*/{batch_pool.RECORD}"))},
        "validation": scores,
        "outputs": [output._asdict() for output in used.OUTPUTS],
        "priors_sha256": priors_sha256(),
        "priors": priors_record(),
        "versions": versions(("dcejax", "jax", "flax", "llvmlite", "optax", "numpy")),
        "config": method.to_dict(config),
    }
    weights.save(workdir / "weights", released, record)


def _begun_with(name: str) -> dict | None:
    """Which weights training began with; None for random ones."""
    return {"weights": name, "sha256": weights.load(name).record["sha256"]} if name else None


def _pool(file: Path) -> dict:
    """What a pool was made from, and the hash of its record, which holds those of all its batches."""
    record = json.loads(file.read_text(encoding="utf-8"))
    found = {name: record[name] for name in ("seed", "made_from", "dcejax", "batches")}
    return found | {"record_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def _summary(stage: Stage, rows: list[dict]) -> dict:
    last = {"last": rows[-1]} if stage.config.take == "last" else {}
    return last | {
        "updates": rows[-1]["step"],
        "epochs": rows[-1]["epoch"],
        "seconds": round(sum(r["seconds"] for r in rows), 1),
        "best": min(rows, key=lambda r: r["validation"]["loss"]),
    }
