"""The plasma curve that the recommended model finds in a real breast scan, which it refuses, beside the published one.

    python tools/breast.py FOLDER_OF_REFERENCE_DATA docs/breast.png

One slice with frames 16.4 s apart: too slow to show a bolus, so `dcejax-infer` refuses it. The picture shows what would
be found without the refusal.
"""

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from dcejax.data import aif_csv, cases, loading, weights
from dcejax.data.facts import Facts
from dcejax.execution.policy import default_policy
from dcejax.methods import dcejax2026, envelope, method
from dcejax.methods.examination_posterior import estimated_plasma
from dcejax.methods.fixed_grid import Beside
from dcejax.methods.plasma_band import BANDS, around
from dcejax.physics.bolus_grid import GRID
from dcejax.physics.units import SECONDS_PER_MINUTE


def main() -> None:
    """Find the curve and draw it."""
    folder, target = Path(sys.argv[1]) / "breast_dcemri", sys.argv[2]
    told = json.loads((folder / "acquisition.json").read_text(encoding="utf-8"))
    facts = Facts(
        dt_s=float(np.diff(told["times_s"])[0]), tr_ms=told["tr_s"] * 1e3, flip_angle_deg=told["dce_flip_angle_deg"]
    )
    (case,) = cases.enumerate_cases([str(folder / "dce_signal.nii.gz")], facts)
    loaded = weights.load(None)
    config = method.config_of(loaded)
    trained = dcejax2026.load(loaded.params, config, default_policy())
    envelope.check = lambda *_: ()  # what nobody should do
    series = dcejax2026.series_of(loading.load_scan(case), Beside(told["relaxivity_per_mM_s"]), config)
    plasma, arrival = estimated_plasma(trained, series)
    low, high = around(plasma, BANDS["nothing"])
    published = aif_csv.read(folder / "aif.csv")
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    seconds = (arrival + GRID[: len(plasma)]) * SECONDS_PER_MINUTE
    (line,) = axes.plot(seconds, plasma, label="found by default-v5")
    axes.fill_between(seconds, low, high, color=line.get_color(), alpha=0.18, lw=0, label="its 90 % band")
    axes.plot(published.times * SECONDS_PER_MINUTE, published.plasma, "o--", ms=4, label="published with the scan")
    axes.set_xlabel("time after the first frame (s)")
    axes.set_ylabel("plasma concentration (mM)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(target, dpi=110)


if __name__ == "__main__":
    main()
