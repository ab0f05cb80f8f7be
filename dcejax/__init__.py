"""dcejax: pharmacokinetic maps with uncertainty from DCE-MRI, in JAX."""
