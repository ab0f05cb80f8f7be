"""Whether analyses of the same scans agree, and what changed between a patient's visits; nobody knows the truth."""
