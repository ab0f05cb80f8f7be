"""Give weights of the recommended method scales of their SDs, by which 90 % intervals hold 90 % of simulated truth.

    dcejax-simulate --cohort=val-62 --size=half --limit=10 --output_dir=DATA
    python tools/calibrate.py DATA RUN/weights.npz OUT/name

One scale for each parameter in tissue that leaks, and one in tissue that does not (`methods.dcejax2026.scales_at`). A
patient counts as another does, whatever the size of head or tumour. Use validation patients alone: their intervals hold
90 % by construction. The record gains what was done, and the coverage before and after.
"""

import argparse
from pathlib import Path

import nibabel
import numpy as np

from dcejax.data import cases, loading, weights
from dcejax.data.facts import Facts
from dcejax.execution.policy import default_policy
from dcejax.methods import dcejax2026, method
from dcejax.methods.dcejax2026 import LEAKING, QUANTILE_SDS
from dcejax.methods.fixed_grid import NOTHING_BESIDE
from dcejax.methods.parameters import to_half
from dcejax.models.low_rank_gaussian import to_logs
from dcejax.types import PARAMETERS

INSIDE = 0.9
LEAST_VOXELS = 20  # of a group, for a patient to count


def errors_of(case: cases.Case, networks: dcejax2026.Networks, config: dcejax2026.Config) -> list[np.ndarray]:
    """Errors in predicted SDs, [V, C], of voxels that do not leak and of those that do."""
    scan = loading.load_scan(case)
    found = dcejax2026.posterior(networks, dcejax2026.series_of(scan, NOTHING_BESIDE, config))
    stem = str(case.path).removesuffix("_dce.nii.gz")
    truth = [nibabel.load(f"{stem}_desc-truth_{name}.nii.gz").get_fdata(dtype=np.float32) for name in PARAMETERS]
    logs = np.asarray(to_logs(np.stack([values[scan.mask] for values in truth], axis=-1)))
    errors = (logs - found.mean) / found.sd
    leaking = found.mean[:, 0] > np.log(LEAKING)
    return [errors[~leaking], errors[leaking]]


def weighted_quantile(groups: list[np.ndarray], share: float) -> np.ndarray:
    """Quantile [C] of absolute errors, each a group [V, C], in which all groups weigh the same."""
    values = np.abs(np.concatenate(groups))
    weight = np.concatenate([np.full(len(group), 1.0 / len(group)) for group in groups])
    found = []
    for column in values.T:
        order = np.argsort(column)
        found.append(np.interp(share, np.cumsum(weight[order]) / weight.sum(), column[order]))
    return np.array(found)


def main() -> None:
    """Calibrate and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("weights")
    parser.add_argument("output", type=Path, help="path without suffix; its name is that of the weights")
    arguments = parser.parse_args()
    loaded = weights.load(arguments.weights)
    config = method.config_of(loaded)
    trained = {name: tree for name, tree in loaded.params.items() if name != "calibration"}
    networks = dcejax2026.load(trained, config, default_policy())
    groups: list[list[np.ndarray]] = [[], []]
    found = cases.enumerate_cases([str(arguments.data)], Facts())
    for case in found:
        for group, errors in zip(groups, errors_of(case, networks, config), strict=True):
            if len(errors) >= LEAST_VOXELS:
                group.append(errors)
        print(case.case_id, flush=True)
    scales = np.array([weighted_quantile(group, INSIDE) / QUANTILE_SDS for group in groups], np.float32)

    def coverage(by: np.ndarray) -> list[list[float]]:
        def inside(group: list[np.ndarray], row: np.ndarray) -> list[float]:
            return np.mean([(np.abs(e) < QUANTILE_SDS * row).mean(axis=0) for e in group], axis=0).round(4).tolist()

        return [inside(group, row) for group, row in zip(groups, by, strict=True)]

    calibration = {
        "patients": [case.case_id for case in found],
        "counted": [len(group) for group in groups],
        "groups": [f"predicted Ktrans up to {LEAKING}/min", "above"],
        "scales": scales.round(4).tolist(),
        "coverage_of_90_percent_before": coverage(np.ones_like(scales)),
        "coverage_after": coverage(scales),
        "command": f"python tools/calibrate.py {arguments.data.name} weights.npz {arguments.output.name}",
    }
    params = to_half({**trained, "calibration": {"scales": scales}})
    record = {name: value for name, value in loaded.record.items() if name != "sha256"} | {"calibration": calibration}
    print(weights.save(arguments.output, params, record))
    print(calibration)


if __name__ == "__main__":
    main()
