"""Maps of a real glioblastoma beside its published ones, and beside two references that need no network.

    python tools/glioblastoma.py [FOLDER_OF_REFERENCE_DATA] > docs/glioblastoma.md

The patient is TCGA-06-0185 with three visits (see the data's PROVENANCE.md): concentration inside the tumour, the
patient's own arterial input, and the maps of a published linear fit.
"""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
from scipy.stats import spearmanr

from dcejax.cli import infer
from dcejax.conventional import analysis
from dcejax.conventional.fit_settings import FitSettings
from dcejax.data import aif_csv

CASE = "TCGA-06-0185-{visit}"
RELAXIVITY = 3.3  # 1/(mM s), of the data's own conversion to concentration
QUANTITIES = ("Ktrans", "vp", "kep")
ARMS = (
    "default-v5, mask only",
    "default-v5, relaxivity and AIF given",
    "paper-v1, mask only",
    "fit with the patient's AIF, no flags",
    "the same, --model=extended_tofts --nofit_delay",
    "area under the curve",
)
RESAMPLES = 400
LATE = 20  # frames, after which concentration changes slowly


def _load(path: Path) -> np.ndarray:
    return nibabel.load(path).get_fdata(dtype=np.float32)


def network_maps(folder: Path, case: str, weights: str, *, informed: bool) -> dict[str, np.ndarray]:
    """Run infer.py on a visit with weights of the package, as a user would, with or without what else is known."""
    with tempfile.TemporaryDirectory() as output:
        arguments = [
            "infer.py",
            f"--input={folder / f'{case}_concentration.nii.gz'}",
            f"--mask={folder / f'{case}_tumour_mask.nii.gz'}",
            "--input_quantity=concentration",
            f"--output_dir={output}",
            f"--weights={weights}",
        ]
        if informed:
            arguments += [f"--relaxivity={RELAXIVITY}", f"--aif={folder / f'{case}_aif.csv'}"]
        with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
            infer.main(arguments)
        statistic = "mean" if weights == "paper-v1" else "median"
        maps = {
            name: _load(Path(output) / f"{case}_concentration_desc-{statistic}_{name}.nii.gz")
            for name in ("Ktrans", "vp", "ve")
        }
    maps["kep"] = maps["Ktrans"] / np.maximum(maps["ve"], 0.005)
    return maps


def fitted(curves: np.ndarray, folder: Path, case: str, **settings) -> analysis.Analysis:
    """What dcejax-fit makes of curves [V, T] of a visit with the patient's arterial input."""
    arterial = aif_csv.read(folder / f"{case}_aif.csv")
    plasma, status = np.maximum(arterial.plasma, 0.0), np.zeros(len(curves), np.uint8)
    return analysis.analyse(curves, status, arterial.times, plasma, FitSettings(**settings), None)


def fitted_maps(curves: np.ndarray, mask: np.ndarray, folder: Path, case: str, **settings) -> dict[str, np.ndarray]:
    """Maps of such a fit, with its delay in s where it has one."""
    found = fitted(curves, folder, case, **settings).maps
    maps = {}
    for name in (*QUANTITIES, "delay"):
        if name in found:
            maps[name] = np.zeros(mask.shape, np.float32)
            maps[name][mask] = found[name]
    return maps


def departure(folder: Path, visit: int) -> str:
    """A row on what the best extended Tofts with the patient's input leaves of the brightest quarter of the voxels.

    Noise is that of second differences in the later half of the frames, which hold no slow departures.
    """
    case = CASE.format(visit=visit)
    mask = _load(folder / f"{case}_tumour_mask.nii.gz") > 0
    curves = _load(folder / f"{case}_concentration.nii.gz")[mask]
    late = curves[:, LATE:].mean(axis=1)
    curves, late = (a[late > np.percentile(late, 75)] for a in (curves, late))
    left = curves - fitted(curves, folder, case, model="extended_tofts").modelled
    second = curves[:, :-2] - 2 * curves[:, 1:-1] + curves[:, 2:]
    noise = np.sqrt((second[:, second.shape[1] // 2 :] ** 2).mean(axis=1) / 6)
    root = np.sqrt((left**2).mean(axis=1))
    alike = [(left[:, lag:] * left[:, :-lag]).mean() / (left**2).mean() for lag in (1, 5)]
    return (
        f"| {visit} | {len(curves)} | {np.median(root / late):.3f} | {np.median(noise / late):.3f} | {alike[0]:.2f} | "
        f"{alike[1]:.2f} |"
    )


def delays(folder: Path, visit: int) -> str:
    """Where the delay of the tumour's voxels lies, in words."""
    case = CASE.format(visit=visit)
    mask = _load(folder / f"{case}_tumour_mask.nii.gz") > 0
    found = fitted_maps(_load(folder / f"{case}_concentration.nii.gz")[mask], mask, folder, case)
    enhancing = mask & (found["Ktrans"] > 0)
    low, median, high = np.percentile(found["delay"][enhancing], [25, 50, 75])
    return f"visit {visit} {median:.1f} s ({low:.1f} to {high:.1f})"


def compare(folder: Path, visit: int) -> dict[str, dict[str, dict[str, float]]]:
    """Spearman correlation with the published maps in the mask, with an interval, and medians.

    Returns:
        quantity -> arm -> rho, low, high, median; and under the arm "published" its median. The interval resamples
        slices, not voxels, because neighbours are no independent observations; it says nothing of other patients.
    """
    case = CASE.format(visit=visit)
    mask = _load(folder / f"{case}_tumour_mask.nii.gz") > 0
    curves = _load(folder / f"{case}_concentration.nii.gz")[mask]
    area = np.zeros(mask.shape, np.float32)
    area[mask] = curves.sum(axis=1)
    maps_of = (
        network_maps(folder, case, "default-v5", informed=False),
        network_maps(folder, case, "default-v5", informed=True),
        network_maps(folder, case, "paper-v1", informed=False),
        fitted_maps(curves, mask, folder, case),
        fitted_maps(curves, mask, folder, case, model="extended_tofts", fit_delay=False),
        dict.fromkeys(QUANTITIES, area),
    )
    arms = dict(zip(ARMS, maps_of, strict=True))
    slices = np.flatnonzero(mask.any(axis=(0, 1)))
    rng = np.random.default_rng(0)
    draws = [rng.choice(slices, slices.size) for _ in range(RESAMPLES)]
    results = {}
    for quantity in QUANTITIES:
        published = _load(folder / f"{case}_published_linear_{quantity}.nii.gz")
        results[quantity] = {"published": {"median": float(np.median(published[mask]))}}
        for arm, maps in arms.items():
            pairs = {z: (maps[quantity][..., z][mask[..., z]], published[..., z][mask[..., z]]) for z in slices}

            def rho(chosen, pairs=pairs):
                return spearmanr(*(np.concatenate([pairs[z][i] for z in chosen]) for i in (0, 1))).statistic

            low, high = np.percentile([rho(draw) for draw in draws], [2.5, 97.5])
            results[quantity][arm] = {
                "rho": float(rho(slices)),
                "low": float(low),
                "high": float(high),
                "median": float(np.median(maps[quantity][mask])),
            }
    return results


def _page(folder: Path) -> str:
    lines = [
        "# One real glioblastoma",
        "",
        "Written by `python tools/glioblastoma.py`; do not edit. One patient, TCGA-06-0185, three visits: this shows",
        "that the released weights, trained on simulated patients only, order real tumour voxels as a conventional",
        "analysis does. It is not a validation. Spearman correlation with the published linear extended-Tofts maps",
        "inside the tumour, 95 % interval by resampling slices, and medians. A fifth of the published Ktrans of visit",
        "3 are negative. The area under the curve, which any network must beat to be of use, has no unit of its own.",
        "",
        "| visit | map | arm | Spearman | 95 % interval | median | published median |",
        "|---|---|---|---|---|---|---|",
    ]
    for visit in (1, 2, 3):
        for quantity, arms in compare(folder, visit).items():
            for arm in ARMS:
                row = arms[arm]
                median = "–" if arm == ARMS[-1] else f"{row['median']:.4f}"
                lines.append(
                    f"| {visit} | {quantity} | {arm} | {row['rho']:.3f} | {row['low']:.3f} to {row['high']:.3f} | "
                    f"{median} | {arms['published']['median']:.4f} |"
                )
    spread = ", ".join(delays(folder, visit) for visit in (1, 2, 3))
    lines += [
        "",
        "How far tissue departs from extended Tofts: the root mean square that the best fit leaves of each of the",
        "brightest quarter of voxels, and its noise, relative to the later concentration (medians), and the",
        "correlation of what is left with itself one and five frames later. Noise alone has none.",
        "",
        "| visit | voxels | left | noise | one frame later | five frames later |",
        "|---|---|---|---|---|---|",
        *(departure(folder, visit) for visit in (1, 2, 3)),
    ]
    lines += ["", f"Median delay of voxels with Ktrans after the arterial input, with quartiles: {spread}."]
    return "\n".join(lines)


if __name__ == "__main__":
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    print(_page(Path(sys.argv[1] if len(sys.argv) > 1 else beside) / "glioblastoma_rrift"))
