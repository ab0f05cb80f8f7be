"""The acquisition of a method that knows one time grid, and what it assumes where a scan does not tell."""

from dataclasses import dataclass

from dcejax.config import require, require_positive
from dcejax.physics import units
from dcejax.types import Acquisition


@dataclass(frozen=True)
class Protocol:
    """The acquisition that weights are made for; every scan is brought to this grid or refused."""

    frames: int = 60
    frame_interval_s: float = 5.0
    max_frame_interval_s: float = 6.0  # a scan with longer frames is refused, not interpolated
    tr_ms: float = 2.8
    flip_angle_deg: float = 10.0
    voxel_mm: tuple[float, float, float] = (0.9375, 0.9375, 3.0)  # of the published cohort; axial slices
    relaxivity_per_mM_s: float = 4.5  # gadobutrol in whole blood at 3 T (Shen 2015)
    t10_s: float = 1.5  # assumed for concentration input without a T1 map (tumour literature)
    tissue_m0: float = 1.0  # proton density of tissue relative to blood; a concentration does not tell
    blood_t10_s: float = 1.65  # arterial blood at 3 T (Lu 2004; Zhang 2013: 1.55-1.85)
    hematocrit: float = 0.42  # large vessels, adults
    scale_percentile: float = 99.99  # signal is divided by it; the maximum would be the noise of one voxel

    def __post_init__(self) -> None:
        require_positive(
            self,
            "frame_interval_s",
            "max_frame_interval_s",
            "tr_ms",
            "relaxivity_per_mM_s",
            "t10_s",
            "tissue_m0",
            "blood_t10_s",
        )
        sizes = len(self.voxel_mm) == 3 and all(0.1 <= size <= 30 for size in self.voxel_mm)
        require(sizes, "voxel_mm", self.voxel_mm, "three sizes of 0.1 to 30 mm")
        require(self.frames >= 2, "frames", self.frames, "at least 2")
        require(0 < self.flip_angle_deg < 180, "flip_angle_deg", self.flip_angle_deg, "0 to 180")
        require(
            self.max_frame_interval_s >= self.frame_interval_s,
            "max_frame_interval_s",
            self.max_frame_interval_s,
            f"at least frame_interval_s = {self.frame_interval_s}",
        )
        require(0 <= self.hematocrit < 1, "hematocrit", self.hematocrit, "0 to below 1")
        require(0 < self.scale_percentile <= 100, "scale_percentile", self.scale_percentile, "above 0 to 100")

    @property
    def duration_s(self) -> float:
        """Time from the first frame to the last, which a scan must at least cover."""
        return (self.frames - 1) * self.frame_interval_s

    @property
    def acquisition(self) -> Acquisition:
        """TR, flip angle and relaxivity in the package's units."""
        return units.acquisition(self.tr_ms, self.flip_angle_deg, self.relaxivity_per_mM_s)
