"""The conventional analysis: from a series and an arterial input to fitted maps with standard errors."""
