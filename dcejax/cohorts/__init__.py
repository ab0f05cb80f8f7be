"""Simulated data sets as files: cohorts of patients with known truth."""
