"""The digital reference object: whole examinations by other numerics than the training generator's."""
