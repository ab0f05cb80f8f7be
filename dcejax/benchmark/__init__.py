"""Ratios against alternatives, measured in the same run."""
