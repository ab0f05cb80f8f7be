"""Check that the installed dcejax computes on this machine what it should.

  dcejax-selfcheck [--reference=DIR]

Compares convolution, models, gradients, signal, T1, arterial inputs, fits and bounds with closed forms, limits and
independent statements in float64. With --reference also with other groups' data (OSIPI, QIBA, published maps of real
scans). Prints a table, the cases that miss, and one line that sums up.

Exit codes: 0 all checks passed; 1 a check missed; 2 bad flags, or a folder that is not the reference data.
"""

import copy
import sys
import time
from pathlib import Path

from absl import flags

# Flags of this command only: another command's module may define the same names in the same process.
_FLAGS = flags.FlagValues()
flags.DEFINE_string(
    "reference", None, "Folder of the reference data, with osipi/, qiba_v6/ and so on.", flag_values=_FLAGS
)
flags.DEFINE_boolean("help", False, "Show this text.", short_name="h", flag_values=_FLAGS)


def _parse(argv: list[str]) -> flags.FlagValues:
    values = copy.deepcopy(_FLAGS)
    try:
        _, *words = values(argv)
    except flags.Error as error:
        raise ValueError(f"{error}; see --help") from error
    if words:
        raise ValueError(f"expected flags only, found {words[0]!r}; see --help")
    if values.reference == "":
        raise ValueError("--reference: expected the folder of reference data, found nothing; see --help")
    return values


def _run(argv: list[str]) -> int:
    values = _parse(argv)
    if values.help:
        print(f"{__doc__}\nFlags:\n{values.get_help()}")
        return 0
    import jax

    from dcejax.cli.console import Console
    from dcejax.selfcheck import suite, table

    started = time.perf_counter()
    folder = None if values.reference is None else Path(values.reference)
    results = suite.run_all(folder, Console())
    device = jax.devices()[0]
    print(f"jax {jax.__version__} on {len(jax.devices())} × {device.platform} ({device.device_kind})\n")
    print(table.render(results, suite.NOT_COVERED if folder else (), time.perf_counter() - started))
    return int(any(result.failures for result in results))


def main(argv: list[str] | None = None) -> None:
    """Run the command and exit with its code.

    Args:
        argv: program name and arguments; those of the process if absent.
    """
    try:
        code = _run(sys.argv if argv is None else argv)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
