"""The digital reference object: whole examinations, by other numerical methods than the training generator's."""
