"""What each map holds: unit, meaning, and identifier in OSIPI's lexicon (CAPLEX)."""

from typing import NamedTuple

from dcejax.types import UNITS

FRACTION = "0-1; CAPLEX gives mL/100 mL, 100 times as much"


class Quantity(NamedTuple):
    """A map's meaning."""

    unit: str
    description: str
    osipi: str | None = None


QUANTITIES = {
    "Ktrans": Quantity(UNITS["Ktrans"], "volume transfer constant", "Q.PH1.008"),
    "vp": Quantity(UNITS["vp"], f"plasma volume fraction, {FRACTION}", "Q.PH1.001.[p]"),
    "ve": Quantity(UNITS["ve"], f"extravascular extracellular volume fraction, {FRACTION}", "Q.PH1.001.[e]"),
    "Fp": Quantity("mL/(mL min)", "plasma flow; CAPLEX gives mL/(100 mL min), 100 times as much", "Q.PH1.002"),
    "PS": Quantity("mL/(mL min)", "permeability-surface product; CAPLEX gives mL/(100 mL min)", "Q.PH1.004"),
    "kep": Quantity("1/min", "rate constant of efflux, Ktrans / ve; CAPLEX gives 1/s", "Q.PH1.009"),
    "delay": Quantity("s", "arrival in tissue after the arterial input", "Q.PH1.007"),
    "IAUC60": Quantity("mM s", "area under the concentration in the 60 s after the arrival of the arterial input"),
    "R2": Quantity("1", "share of the curve's variance that the model explains"),
}
"""Maps by name."""

MAP_OF_FIELD = {"ktrans": "Ktrans", "vp": "vp", "ve": "ve", "fp": "Fp", "ps": "PS"}
"""Map of a field of a model's parameters."""

MODEL_OSIPI = {
    "tofts": "M.IC1.004",
    "extended_tofts": "M.IC1.005",
    "patlak": "M.IC1.006",
    "two_compartment_exchange": "M.IC1.009",
}
"""Identifiers of models that the lexicon has."""
