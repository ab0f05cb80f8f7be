"""Measures of maps against the truth, of agreement, diagnosis and uncertainty."""
