"""Records of an evaluation made by hand, where every number of a table can be worked out."""

import io
from pathlib import Path

import numpy as np

from dcejax.evaluation import tumour_regions
from dcejax.evaluation.arms.simple_arms import Description
from dcejax.evaluation.pooling import Pool
from dcejax.types import PARAMETERS

ZERO = Description("all-zero", "All zero", "baseline", "Zero.")
FIT = Description("fit-true-aif", "Fit, true AIF", "fit", "Fit.")
READERS = [Description(f"reader{i}", f"Reader {i}", "reader", "Reads.") for i in (1, 2)]
NET = Description("net", "net", "network", "Predicts.")
N = 8


def roi(value):
    """Means and medians over every region that are all one value."""
    return {
        place: {name: {"mean": value, "median": value} for name in PARAMETERS}
        for place in (tumour_regions.TUMOUR, tumour_regions.ABNORMAL)
    }


def scored(value, **more):
    """Scores of an arm that follow from one value."""
    metrics = {"ssim": value, "nrmse": 2 * value, "tumour_nrmse": 3 * value, "brain_ssim": value / 2, "slices": 4}
    against = {
        name: metrics | {"median_log_error": value, "trimmed_log_rmse": 1.5 * value, "log_rmse": 2 * value}
        for name in PARAMETERS
    }
    return {
        "against": {"truth": against},
        "tissues": {},
        "roi": roi(value),
        "seconds": {"inference": value, "total": 2 * value},
        **more,
    }


def record(number, session=0, shift=0.0):
    """One examination of a patient."""
    truth = 0.1 * (number + 1)
    calibration = {
        "coverage": dict.fromkeys(("50", "80", "90", "95"), 0.1 * number),
        "width": dict.fromkeys(("50", "80", "90", "95"), 0.2),
        "crps": 0.01,
        "mean_absolute_error": 0.02,
        "ause_sd": 0.5,
        "ause_cv": None,
        "without_sd": 0.0,
    }
    edge = {"n": 30, "cv": 0.1, "sd": 0.5, "sd_given_mean": None if number else 0.2}
    network = scored(
        truth + 0.05 + shift,
        halves=[roi(truth), roi(truth + 0.001 * number)],
        latent={tumour_regions.TUMOUR: dict.fromkeys(PARAMETERS, 0.02)},
        uncertainty={
            place: dict.fromkeys(PARAMETERS, calibration) for place in (tumour_regions.TUMOUR, tumour_regions.BRAIN)
        },
        edge=dict.fromkeys(PARAMETERS, edge),
    )
    return {
        "hash": "",
        "case_id": f"sub-{number}",
        "subject": f"sub-{number}",
        "session": session,
        "person": {
            "sex": "MF"[number % 2],
            "age": 50 + number,
            "diagnosis": "glioblastoma" if number >= 4 else "astrocytoma",
            "idh": "wildtype" if number >= 4 else "mutant",
            "grade": 2 if number < 2 else 3 + number % 2,
        },
        "voxels": {tumour_regions.BRAIN: 1000, tumour_regions.TUMOUR: 100, tumour_regions.ABNORMAL: 200},
        "ml": {tumour_regions.BRAIN: 1000.0, tumour_regions.TUMOUR: 1.0, tumour_regions.ABNORMAL: 2.0},
        "shape": [4, 4, 4, 60],
        "mm": [1.0, 1.0, 1.0],
        "references": ["truth"],
        "picture": {"slice": 1, "statistics": {"net": "median"}},
        "seconds": 1.0,
        "arms": {
            "truth": {"roi": roi(truth)},
            "all-zero": scored(0.0),
            "reader1": scored(2 * truth),
            "reader2": {"refused": "no time"} if number == 7 else scored(2 * truth + 0.1 * (number % 2)),
            "fit-true-aif": scored(truth * (1 if number % 2 else 1.1)),
            "net": network,
        },
    }


def write(folder: Path) -> Pool:
    """Eight patients and their arrays; three of them were examined twice."""
    (folder / "cases").mkdir()
    rng = np.random.default_rng(0)
    records = [record(number) for number in range(N)]
    for number, made in enumerate(records):
        truth, sd = rng.random((300, 3)), np.full((300, 3), 0.1)
        arrays = {
            "prior/net": np.array([[0.0, number], [0.0, -number]], np.float32),
            "prior sd/net": np.array([[1.0, 3.0], [1.0, 4.0]], np.float32),
        }
        for place in (tumour_regions.TUMOUR, tumour_regions.BRAIN):
            arrays[f"voxels/truth/{place}"] = truth
            arrays[f"voxels/net/{place}/mean"] = truth + 0.1 * rng.normal(size=truth.shape)
            arrays[f"voxels/net/{place}/sd"] = sd
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        (folder / "cases" / f"{made['case_id']}.npz").write_bytes(buffer.getvalue())
    pairs = [(record(number), record(number, 1, shift=0.02)) for number in range(3)]
    return Pool([ZERO, *READERS, FIT, NET], records, pairs, folder, 0)
