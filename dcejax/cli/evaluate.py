"""How good maps are, on simulated patients with known truth: tables, figures and one self-contained report.

  dcejax-evaluate --cohort=(FOLDER | NAME --size=...) [--weights=FILE ...] [--maps=LABEL=FOLDER ...] --output_dir=DIR
  dcejax-evaluate --maps=LABEL=FOLDER [--maps=LABEL=FOLDER ...] --output_dir=DIR

FOLDER is a data set that dcejax-simulate wrote; NAME, one of its cohorts, is rendered on the fly. Compared are maps of
zeros, the median of each true class, the data set's readers, three conventional fits (true arterial input; true input,
T1 and flip angle; population input), every set of weights (those in the package if neither --weights nor --maps is
given), and every folder of maps, named <case>_desc-mean_* with _desc-std_* as dcejax-infer writes them, or
<case>_desc-fit_* with _desc-se_* as dcejax-fit does; cases that a folder lacks are left out of its arm only.

Without --cohort nobody knows the truth: how analyses of the same scans agree, by voxels, in the regions of their
segmentation and over patients, and what changed between visits of a patient (sub-<id>_ses-<n>), of one folder, too.

DIR receives report.html, results.json, tables/*.csv, figures/*.png and, for each examination, cases/<case>.json and
.npz: what is scored stays scored until the examination, an arm, a flag or the code changes. --retest names a cohort or
data set whose patients were examined twice. --limit takes the first patients. Simulated; not clinical evidence.

Exit codes: 0 all done; 1 the program or the machine failed, try again; 2 bad flags, the only examination is bad, or a
folder that cannot be written; 3 some of several examinations are bad (see DIR/cases.jsonl); the report covers the
others.
"""

from pathlib import Path

from absl import flags

from dcejax.cli import case_flags, command

_FLAGS = flags.FlagValues()  # of this command only: others have flags of the same names
case_flags.define_run(_FLAGS)
_OWN = {"flag_values": _FLAGS}
flags.DEFINE_string("cohort", None, "Folder of a simulated data set, or name of a cohort.", **_OWN)
flags.DEFINE_string("retest", None, "The same, of patients who were examined twice.", **_OWN)
flags.DEFINE_string("size", None, "full, half or slab: of images that are rendered on the fly.", **_OWN)
flags.DEFINE_integer("limit", None, "The first patients only, of each cohort.", **_OWN)
flags.DEFINE_integer("cohort_seed", 0, "Root of all random streams of cohorts rendered on the fly.", **_OWN)
flags.DEFINE_multi_string(
    "weights", [], "Weights (.npz with its .json), default-v5 or paper-v1; repeat for more.", **_OWN
)
flags.DEFINE_multi_string("maps", [], "LABEL=FOLDER of maps; repeat for more.", **_OWN)
flags.DEFINE_integer("num_samples", 4, "Latent samples of each network, an even number.", **_OWN)
flags.DEFINE_integer("seed", 0, "Root of the latent samples and of resampling.", **_OWN)

_OF_COHORTS = ("retest", "size", "limit", "cohort_seed", "weights", "num_samples")


def _maps(texts: list[str]) -> tuple[tuple[str, Path], ...]:
    found = []
    for text in texts:
        label, equals, folder = text.partition("=")
        if not (label and equals and folder) or not label.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise ValueError(
                f"--maps: expected LABEL=FOLDER with a label of letters, digits, '.', '_' and '-', found {text!r}"
            )
        found.append((label, Path(folder)))
    return tuple(found)


def _compare(values: flags.FlagValues) -> int:
    for name in _OF_COHORTS:
        if values[name].present:
            raise ValueError(f"--{name}: expected --cohort beside it, found none; give one, or leave it out")
    if not 0 <= values.seed < 2**32:
        raise ValueError(f"--seed: expected 0 to 2**32 - 1, found {values.seed}")
    how = case_flags.run_settings(values)
    maps = _maps(values.maps)
    from dcejax.cli.console import Console
    from dcejax.evaluation.agreement import compare_folders

    with Console(quiet=values.quiet) as report:
        return compare_folders.run(maps, values.seed, how, report)


def _run(values: flags.FlagValues, words: list[str]) -> int:
    command.refuse_words(words)
    if values.cohort is None and values.maps:
        return _compare(values)
    if values.cohort is None:
        raise ValueError("--cohort: expected a folder or a name, or --maps without truth, found neither; see --help")
    how = case_flags.run_settings(values)
    maps = _maps(values.maps)
    from dcejax.cli.console import Console
    from dcejax.evaluation import evaluate_cases
    from dcejax.evaluation.evaluate_settings import EvaluateSettings

    settings = EvaluateSettings(
        cohort=values.cohort,
        retest=values.retest,
        size=values.size,
        limit=values.limit,
        cohort_seed=values.cohort_seed,
        weights=tuple(values.weights),
        maps=maps,
        num_samples=values.num_samples,
        seed=values.seed,
    )
    with Console(quiet=values.quiet) as report:
        return evaluate_cases.run(settings, how, report)


main = command.entry_point(_run, _FLAGS, __doc__)

if __name__ == "__main__":
    main()
