"""Ratios against alternatives, measured in the same run.

  dcejax-benchmark fit [--osipy_python=PATH]

fit: bounded extended Tofts with standard errors at 60 frames, against scipy.optimize.curve_fit and, where an
interpreter has it, osipy. The last line of the output is one JSON object. Nothing else should run meanwhile.

Exit codes: 0 measured; 2 bad flags.
"""

import copy
import json
import sys

from absl import flags

_FLAGS = flags.FlagValues()
_SUBJECTS = ("fit",)


def _define() -> None:
    own = {"flag_values": _FLAGS}
    flags.DEFINE_string("osipy_python", None, "Interpreter that has osipy; searched on the path if absent.", **own)
    flags.DEFINE_boolean("help", False, "Show this text.", short_name="h", **own)


_define()


def _show(results: dict) -> None:
    for name, value in results.items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        print(f"{name:32} {shown}")
    print(json.dumps(results))


def _run(argv: list[str]) -> int:
    values = copy.deepcopy(_FLAGS)
    try:
        _, *words = values(argv)
    except flags.Error as error:
        raise ValueError(f"{error}; see --help") from error
    if values.help:
        print(f"{__doc__}\nFlags:\n{values.get_help()}")
        return 0
    if len(words) != 1 or words[0] not in _SUBJECTS:
        raise ValueError(
            f"expected what to measure, one of {', '.join(_SUBJECTS)}, found {' '.join(words) or 'nothing'}"
        )
    from dcejax.benchmark import fit
    from dcejax.cli.console import Console

    _show(fit.run(values.osipy_python, Console()))
    return 0


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
