"""Simulated patients with known truth: a digital reference object of gliomas as a BIDS-like data set.

  dcejax-simulate --cohort=NAME --size={slab,half,full} --output_dir=DIR [--limit=N] [--shard=i/n]

NAME is train (with --limit), train-165, val-62, test-102, test-1000, retest, ood-aif, ood-2cxm, ood-motion or
ood-protocol. DIR receives a folder for each patient: the series with brain mask, tumour labels, tissues, T1, B1,
arterial input, true Ktrans, vp and ve, and a record of every setting. dcejax-infer and dcejax-fit take DIR as --input.
The same flags give the same bytes, however the work is shared; cases that are done are skipped, and a larger --limit
adds patients. Simulated; not clinical evidence.

--labels renders another anatomy: a 3-D NIfTI whose labels a table with the tab-separated columns index and name
maps to tissues (white matter, grey matter, CSF, tumour, necrotic core, oedema, artery, vein, dura, choroid plexus,
mucosa, skull, scalp, muscle and skin, air). Every patient has it, with kinetics, input and scanner of his own.

Exit codes: 0 all done; 1 the program or the machine failed, try again; 2 bad flags, or a folder that cannot be written
or holds another data set.
"""

from pathlib import Path

from absl import flags

from dcejax.cli import case_flags, command

_FLAGS = flags.FlagValues()  # of this command only: others have flags of the same names
case_flags.define_run(_FLAGS)
_OWN = {"flag_values": _FLAGS}
flags.DEFINE_string("cohort", None, "Which patients.", **_OWN)
flags.DEFINE_string("size", None, "full: 256x256x40 voxels; half: 128x128x20; slab: 6 slices of half.", **_OWN)
flags.DEFINE_integer("limit", None, "The first patients only.", **_OWN)
flags.DEFINE_string("labels", None, "3-D NIfTI of labels, instead of the patients' own anatomy.", **_OWN)
flags.DEFINE_string("label_names", None, "Table (index, name) of the labels' tissues.", **_OWN)
flags.DEFINE_list("label_voxel_mm", None, "Size of the labels' voxels, x,y,z in mm, if the header is wrong.", **_OWN)
flags.DEFINE_integer("seed", 0, "Root of all random streams.", **_OWN)


def _labels(values: flags.FlagValues):
    """The label map, if one is given."""
    if values.labels is None:
        if values.label_names or values.label_voxel_mm:
            raise ValueError("--labels: expected a NIfTI with --label_names and --label_voxel_mm, found none; give it")
        return None
    if values.label_names is None:
        raise ValueError("--label_names: expected a table with the columns index and name, found none; give one")
    size = None
    if values.label_voxel_mm is not None:
        try:
            size = tuple(float(text) for text in values.label_voxel_mm)
        except ValueError:
            size = ()
        if len(size) != 3 or not min(size) > 0:
            found = ",".join(values.label_voxel_mm)
            raise ValueError(f"--label_voxel_mm: expected three positive sizes such as 1,1,5, found {found!r}")
    from dcejax.cohorts.label_files import read_labels

    return read_labels(Path(values.labels), Path(values.label_names), size)


def _run(values: flags.FlagValues, words: list[str]) -> int:
    command.refuse_words(words)
    for name in ("cohort", "size"):
        if values[name].value is None:
            raise ValueError(f"--{name}: expected a name, found none; see --help")
    how = case_flags.run_settings(values)
    from dcejax.cli.console import Console
    from dcejax.cohorts import simulate_cases

    settings = simulate_cases.SimulateSettings(
        cohort=values.cohort,
        size=values.size,
        limit=values.limit,
        seed=values.seed,
        labels=_labels(values),
    )
    planned = simulate_cases.plan(settings)
    if how.dry_run:
        print(planned.describe(how))
    with Console(quiet=values.quiet) as report:
        return simulate_cases.run(planned, how, report)


main = command.entry_point(_run, _FLAGS, __doc__)

if __name__ == "__main__":
    main()
