"""A few small patients with tumours, made by hand in a second, for the tests of evaluation."""

from pathlib import Path

import jax
import numpy as np

from dcejax.data import dataset, provenance
from dcejax.physics import kinetics, units
from dcejax.physics.aif import parker
from dcejax.physics.kinetics import ExtendedTofts
from dcejax.physics.signal import spgr
from dcejax.simulation.priors import TISSUES
from dcejax.types import Scan, SimulatedScan

SHAPE, FRAMES, DT_S = (40, 36, 6), 60, 5.0
TIMES = np.arange(FRAMES) * DT_S / 60
TR_MS, FLIP_DEG = 2.8, 10.0
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
NAMES = tuple(tissue.name for tissue in TISSUES)
WHITE, GREY, CSF, TUMOUR, CORE, OEDEMA, ARTERY, AIR = (
    NAMES.index(name)
    for name in ("white matter", "grey matter", "CSF", "tumour", "necrotic core", "oedema", "artery", "air")
)
PEOPLE = (
    {"sex": "M", "age": 61, "diagnosis": "glioblastoma", "idh": "wildtype", "grade": 4},
    {"sex": "F", "age": 43, "diagnosis": "astrocytoma", "idh": "mutant", "grade": 4},
    {"sex": "M", "age": 57, "diagnosis": "glioblastoma", "idh": "wildtype", "grade": 3},
    {"sex": "F", "age": 39, "diagnosis": "oligodendroglioma", "idh": "mutant", "grade": 3},
    {"sex": "M", "age": 70, "diagnosis": "oligodendroglioma", "idh": "mutant", "grade": 2},
)
SILENT = 4
"""The patient whose tumour does not enhance."""

_curves = jax.jit(jax.vmap(kinetics.extended_tofts, (0, None, None)))


def _geometry(number: int):
    """Mask, tissue and labels; the tumour differs in size."""
    x, y, z = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in SHAPE), indexing="ij")
    radius = np.hypot(x / 17, y / 15)
    mask = (radius < 1) & (np.abs(z) < 2.0)  # the first and last slice hold no brain
    tissue = np.select([~mask, radius > 0.8, radius < 0.25], [AIR, GREY, CSF], WHITE).astype(np.uint8)
    tissue[mask & (np.hypot(x + 10, y + 3) < 1.5)] = ARTERY
    distance = np.sqrt((x - 7) ** 2 + (y - 3) ** 2 + (1.5 * z) ** 2)
    size = 4.0 + 0.4 * number
    labels = np.select([~mask, distance < 1.6, distance < size, distance < size + 2], [0, 2, 1, 3], 0)
    tissue = np.select([labels == 2, labels == 1, labels == 3], [CORE, TUMOUR, OEDEMA], tissue.astype(int)).astype(
        np.uint8
    )
    if number == SILENT:
        labels = np.where(labels > 0, 3, 0)
    return mask, tissue, labels.astype(np.uint8)


def simulate(number: int, session: int = 0) -> SimulatedScan:
    """A patient; another session has other noise and another arterial input."""
    rng = np.random.default_rng([number, session])
    own = np.random.default_rng(1000 + number)
    mask, tissue, labels = _geometry(number)
    medians = np.array([(t.ktrans.median, t.vp.median, t.ve.median) for t in TISSUES])
    medians[TUMOUR] = np.array([0.08, 0.04, 0.25]) * np.exp(own.normal(0, 0.5, 3))
    medians[ARTERY] = 0.0, 0.58, 0.0
    truth = medians[tissue] * np.exp(own.normal(0, 0.2, (*SHAPE, 3)))
    truth = np.where(mask[..., None], np.clip(truth, 0, 1), 0).astype(np.float32)
    plasma = np.asarray(parker(TIMES, arrival=0.5), np.float64) * np.exp(rng.normal(0, 0.2))
    voxels = truth[mask]
    params = ExtendedTofts(voxels[:, 0], voxels[:, 1], np.maximum(voxels[:, 2], 0.005))
    concentration = np.zeros((*SHAPE, FRAMES), np.float32)
    concentration[mask] = np.asarray(_curves(params, TIMES, plasma))
    t1 = np.array([t.t10_s.median for t in TISSUES])[tissue] / 60
    b1 = np.broadcast_to(np.linspace(0.9, 1.1, SHAPE[0])[:, None, None], SHAPE).astype(np.float32)
    acquisition = units.acquisition(TR_MS, FLIP_DEG, 4.5)
    signal = np.asarray(spgr(concentration, t1[..., None], acquisition, s0=16_000.0, b1=b1[..., None]))
    signal = np.where(mask[..., None], signal, 0.0) + rng.normal(0, 8.0, signal.shape)
    readers = {
        name: (truth * np.exp(rng.normal(0, 0.4, 3))).clip(0, 1).astype(np.float32) for name in ("reader1", "reader2")
    }
    name = f"sub-{number:02d}"
    scan = Scan(
        case_id=name,
        values=np.abs(signal).round().astype(np.int16),
        quantity="signal",
        times=TIMES,
        mask=mask,
        affine=AFFINE,
        t1_map=t1.astype(np.float32),
        segmentation=labels,
    )
    sidecar = {
        "VolumeTiming": (TIMES * 60).round(6).tolist(),
        "RepetitionTimeExcitation": TR_MS / 1e3,
        "FlipAngle": FLIP_DEG,
    }
    return SimulatedScan(
        scan, truth, b1, tissue, NAMES, plasma, sidecar, {"tumour": {"class": "made"}}, "made by hand", readers
    )


def write(folder: Path, people=PEOPLE, sessions: int = 1, prefix: str = "", readers: bool = True) -> Path:
    """Write a data set."""
    subjects = {f"sub-{prefix}{number:02d}": person for number, person in enumerate(people)}
    dataset.write_root(folder, "Patients made by hand", subjects)
    for number, subject in enumerate(subjects):
        for session in range(sessions):
            label = f"ses-{session + 1}" if sessions > 1 else None
            made = simulate(number, session)
            if not readers:
                made.readers.clear()
            dataset.write_examination(folder, subject, label, made)
            record = {
                "hash": provenance.digest({"subject": subject, "session": session, "readers": readers}),
                "description": made.description,
                "settings": made.settings,
            }
            dataset.write_record(folder, subject, label, record)
    return folder
