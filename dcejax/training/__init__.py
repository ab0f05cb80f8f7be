"""Losses, optimiser, state, loop and checkpoints."""
