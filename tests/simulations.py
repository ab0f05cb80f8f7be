"""Small simulated cohorts through the command, with the true renderer on a coarse grid."""

import commands

from dcejax.cli import simulate as command
from dcejax.simulation.scanner import imaging

COARSE = imaging.Size((24, 24, 20), 24, slab=2)
"""One size for all tests that need no finer image: to compile the renderer for another takes half a minute."""


def simulate(folder, *arguments, **flags):
    """Run the command; returns its exit code, stdout and stderr. The fixture `coarse_slab` makes its slab coarse."""
    flags = {"cohort": "retest", "size": "slab", "limit": 2, "output_dir": folder} | flags
    return commands.call(command.main, *arguments, **flags)
