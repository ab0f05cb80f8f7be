"""A tracer-kinetic model as a user of the package would add one: a curve, its parameters, and one record."""

import dataclasses
from typing import NamedTuple

from dcejax.physics.convolution import exponential_convolution, exponential_convolution_at
from dcejax.physics.tracer_models import FP, PLASMA_ONLY, VP, Quantity, TracerModel


class OneCompartment(NamedTuple):
    fp: float
    vp: float


def one_compartment(params, times, aif, *, delay=0.0):
    rate = params.fp / params.vp
    if isinstance(delay, float) and delay == 0:
        return params.fp * exponential_convolution(rate, times, aif)
    return params.fp * exponential_convolution_at(times - delay, rate, times, aif)[1]


ONE_COMPARTMENT = TracerModel(
    name="one_compartment",
    description="plasma with a flow, and no leakage",
    curve=one_compartment,
    typical=OneCompartment(0.5, 0.05),
    quantities=(FP, dataclasses.replace(VP, bounds=(0.001, 1.0))),  # as the flow is divided by it
    linear=("exponential", None),
    rate=Quantity("kp", "1/min", "plasma flow per plasma volume, the inverse of the mean transit time"),
    nested=(PLASMA_ONLY,),
    osipi="M.IC1.002",
)
