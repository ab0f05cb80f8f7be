"""Sessions of the reference object with few frames."""

from dcejax import rng
from dcejax.simulation import cohort_definitions
from dcejax.simulation.reference_object import session

SHORT = cohort_definitions.ScanPriors(frames=(20, 20))


def draw(name, tumour_class=0, scan=SHORT, number=0):
    return session.sample_session(rng.stream(0, name), tumour_class, scan, number)
