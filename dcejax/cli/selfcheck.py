"""Check that the installed dcejax computes on this machine what it should.

  dcejax-selfcheck [--reference=DIR]

Compares convolution, models, gradients, signal, T1, arterial inputs, fits and bounds with closed forms, limits and
independent statements in float64. With --reference also with other groups' data (OSIPI, QIBA, published maps of real
scans). Prints a table, the cases that miss, and one line that sums up.

Exit codes: 0 all checks passed; 1 a check missed; 2 bad flags, or a folder that is not the reference data.
"""

import time
from pathlib import Path

from absl import flags

from dcejax.cli import command

_FLAGS = flags.FlagValues()  # of this command only: others have flags of the same names
flags.DEFINE_string(
    "reference", None, "Folder of the reference data, with osipi/, qiba_v6/ and so on.", flag_values=_FLAGS
)
command.define_shared(_FLAGS)


def _run(values: flags.FlagValues, words: list[str]) -> int:
    command.refuse_words(words)
    if values.reference == "":
        raise ValueError("--reference: expected the folder of reference data, found nothing; see --help")
    import jax

    from dcejax.cli.console import Console
    from dcejax.selfcheck import check_table, suite

    started = time.perf_counter()
    folder = None if values.reference is None else Path(values.reference)
    with Console(quiet=values.quiet) as report:
        results = suite.run_all(folder, report)
    device = jax.devices()[0]
    print(f"jax {jax.__version__} on {len(jax.devices())} × {device.platform} ({device.device_kind})\n")
    print(check_table.render(results, suite.NOT_COVERED if folder else (), time.perf_counter() - started))
    return int(any(result.failures for result in results))


main = command.entry_point(_run, _FLAGS, __doc__)

if __name__ == "__main__":
    main()
