"""Ratios against alternatives, measured in the same run.

  dcejax-benchmark fit [--osipy_python=PATH]
  dcejax-benchmark infer
  dcejax-benchmark recommended
  dcejax-benchmark train

fit: bounded extended Tofts with standard errors at 60 frames, against scipy.optimize.curve_fit and, where an
interpreter has it, osipy. infer: maps of a volume of 256 x 256 x 40 voxels and 60 frames, against the published
networks in PyTorch with the same weights, where it is installed; up to 8 minutes. recommended: the
recommended model on that volume, against the published networks; a minute or two. train: steps of both stages on
batches in memory, 4 patches (16 are published) of 64 x 64 voxels and 60 frames, and 16 of 64 x 64, against the
published networks in PyTorch with the same losses, where it is installed; up to 4 minutes. The last line of the output
is one JSON object. Nothing else should run meanwhile.

Exit codes: 0 measured; 2 bad flags.
"""

import json

from absl import flags

from dcejax.cli import command

_FLAGS = flags.FlagValues()
_SUBJECTS = ("fit", "infer", "recommended", "train")
flags.DEFINE_string(
    "osipy_python", None, "For fit: interpreter that has osipy; searched on the path if absent.", flag_values=_FLAGS
)
command.define_shared(_FLAGS)


def _show(results: dict) -> None:
    for name, value in results.items():
        shown = f"{value:.4g}" if isinstance(value, float) else value
        print(f"{name:32} {shown}")
    print(json.dumps(results))


def _run(values: flags.FlagValues, words: list[str]) -> int:
    if len(words) != 1 or words[0] not in _SUBJECTS:
        raise ValueError(
            f"expected what to measure, one of {', '.join(_SUBJECTS)}, found {' '.join(words) or 'nothing'}"
        )
    (subject,) = words
    if subject != "fit" and values.osipy_python:
        raise ValueError(f"--osipy_python: expected it with fit only, found it with {subject}; leave it out")
    from dcejax.benchmark import fit_speed, infer_speed, recommended_speed, train_speed
    from dcejax.cli.console import Console

    with Console(quiet=values.quiet) as report:
        if subject == "fit":
            found = fit_speed.run(values.osipy_python, report)
        else:
            others = {"infer": infer_speed, "recommended": recommended_speed, "train": train_speed}
            found = others[subject].run(report)
    _show(found)
    return 0


main = command.entry_point(_run, _FLAGS, __doc__)

if __name__ == "__main__":
    main()
