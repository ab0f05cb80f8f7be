"""The digital reference object: simulated patients with known truth."""
