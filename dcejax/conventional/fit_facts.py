"""What a user may state about a case of the conventional analysis."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcejax.data import ranges, sidecars
from dcejax.data.facts import GRID_FILE, NUMBER, POSITIVE, Facts, fact, number

POPULATION_INPUTS = ("parker", "georgiou", "weinmann")


@dataclass(frozen=True)
class ArterialSource:
    """Where the arterial input comes from."""

    kind: str  # "file", "roi", "auto" or one of POPULATION_INPUTS
    path: Path | None = None  # of the CSV or of the region's mask

    def __str__(self) -> str:
        if self.path is None:
            return self.kind
        return f"roi:{self.path}" if self.kind == "roi" else str(self.path)


def _arterial_source(text: str, folder: Path) -> ArterialSource:
    if (name := text.lower()) in ("auto", *POPULATION_INPUTS):
        return ArterialSource(name)
    if text.startswith("roi:") and len(text) > len("roi:"):
        return ArterialSource("roi", folder / text.removeprefix("roi:"))
    if text.endswith(".csv"):
        return ArterialSource("file", folder / text)
    raise ValueError(text)


def _angles(text: str, folder: Path) -> tuple[float, ...]:
    return tuple(float(word) for word in text.replace(",", " ").split())


def _check_t1(value: float, where: str) -> None:
    ranges.check_t1(where if where.startswith("--") else f"{where}: t1_s", value)


_ARTERIAL_SOURCE = fact(_arterial_source, f"FILE.csv, roi:MASK.nii.gz, auto, {', '.join(POPULATION_INPUTS)}")
_T1 = number(positive=True, check=_check_t1)
_ANGLES = fact(_angles, "numbers separated by commas or spaces")


@dataclass(frozen=True)
class FitFacts(Facts):
    """The facts of every command, with T1 from a series or a number, and any arterial input."""

    aif: ArterialSource | None = field(default=None, metadata=_ARTERIAL_SOURCE)
    aif_arrival_s: float | None = field(default=None, metadata=NUMBER)  # after the first frame, population inputs only
    vfa: Path | None = field(default=None, metadata=GRID_FILE)  # [X, Y, Z, A] signal at A flip angles
    vfa_flip_angles_deg: tuple[float, ...] | None = field(default=None, metadata=_ANGLES)
    vfa_tr_ms: float | None = field(default=None, metadata=POSITIVE)
    t1_s: float | None = field(default=None, metadata=_T1)

    def siblings(self) -> dict[str, str]:
        """Files beside a series of a BIDS folder that are of use, by role and ending of the name."""
        endings = super().siblings() | {"aif": "_aif.csv"}
        if self.input_quantity == "concentration":
            return {role: ending for role, ending in endings.items() if role not in ("t1_map", "b1_map")}
        t1 = {"t1_map": "_T1map.nii.gz", "vfa": "_VFA.nii.gz"}
        t1_is_stated = any(stated is not None for stated in (self.vfa, self.t1_s, self.t1_map))
        return endings | {"b1_map": "_B1map.nii.gz"} | ({} if t1_is_stated else t1)

    def either(self) -> tuple[tuple[str, str], ...]:
        """Pairs of files beside a series of which only the first is used, where both are there."""
        return (("t1_map", "vfa"),)

    def files(self) -> dict[str, Path]:
        """Every file stated, by role, and the sidecars of `vfa` if there are any."""
        files = super().files()
        if self.aif is not None and self.aif.path:
            files["aif"] = self.aif.path
        return files if self.vfa is None else files | sidecars.by_role(self.vfa, "vfa_sidecar")

    def on_grid(self) -> list[str]:
        """Names of the files stated that lie on one image's grid."""
        return super().on_grid() + (["aif"] if self.aif is not None and self.aif.kind == "roi" else [])

    def values(self) -> dict[str, Any]:
        """All that is neither a file nor the quantity, stated or None, ready for JSON."""
        return super().values() | {"aif": self.aif and self.aif.kind}
