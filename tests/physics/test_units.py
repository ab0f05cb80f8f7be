"""Conversions at the edge, and what they refuse."""

import math

import pytest

from dcejax.physics.units import acquisition


def test_protocol_sheet_to_package_units():
    found = acquisition(tr_ms=6000.0, flip_angle_deg=90.0, relaxivity_per_mM_s=4.5)
    assert found.tr == pytest.approx(0.1)
    assert found.flip_angle == pytest.approx(math.pi / 2)
    assert found.relaxivity == pytest.approx(270.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tr_ms", 0.0),
        ("tr_ms", -2.8),
        ("tr_ms", math.nan),
        ("flip_angle_deg", 0.0),
        ("flip_angle_deg", 180.0),
        ("flip_angle_deg", math.nan),
        ("relaxivity_per_mM_s", 0.0),
        ("relaxivity_per_mM_s", -1.0),
        ("relaxivity_per_mM_s", math.nan),
    ],
)
def test_impossible_values_are_named(name, value):
    protocol = {"tr_ms": 2.8, "flip_angle_deg": 10.0, "relaxivity_per_mM_s": 4.5, name: value}
    with pytest.raises(ValueError, match=rf"{name}.*found {value}"):
        acquisition(**protocol)
