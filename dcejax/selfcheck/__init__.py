"""Whether an installed dcejax computes on this machine what it should."""
