"""The digital reference object as data sets on disk: cohorts of simulated patients with known truth."""
