"""Maps of a BIDS data set as BIDS derivatives: a BIDS App.

  dcejax-bids BIDS_DIR OUTPUT_DIR participant [--participant-label 01 02 ...] [--session-label 1 ...] [FLAG ...]
  dcejax-bids BIDS_DIR OUTPUT_DIR group

participant: computes maps of every series sub-*/[ses-*/]{perf,anat}/*_{dce,DCE}.nii.gz by dcejax-infer, or with
--analysis=fit by dcejax-fit, and takes all further flags of that command, such as --weights, --model or --shard.
group: joins the tables of all cases into those of the data set, as each run does at its end, too, and writes a page of
all cases, OUTPUT_DIR/group_desc-dcejax_report.html (or desc-fit), with links to those that --report made.

A filter file is JSON such as {"dce": {"run": 1, "acquisition": null}}. Labels may have their sub- and ses-.
Research only; not for clinical decisions.

Exit codes: 0 all done; 1 the program or the machine failed, try again; 2 bad flags, or the only case is bad; 3 some of
several cases are bad (see OUTPUT_DIR/cases.jsonl).
"""

import copy
import re
import sys
from pathlib import Path

from absl import flags

from dcejax.cli import command
from dcejax.data import presence

_FLAGS = flags.FlagValues()  # of this command only: others have flags of the same names
_OWN = {"flag_values": _FLAGS}
flags.DEFINE_enum("analysis", "infer", ["infer", "fit"], "By the networks, or by the conventional fit.", **_OWN)
flags.DEFINE_list("participant_label", [], "Subjects; as --participant-label 01 02, too.", **_OWN)
flags.DEFINE_list("session_label", [], "Sessions; as --session-label 1 2, too.", **_OWN)
flags.DEFINE_string("bids_filter_file", None, "JSON that says which series are taken.", **_OWN)
flags.DEFINE_boolean("skip_bids_validation", False, "Take a folder without dataset_description.json.", **_OWN)
flags.DEFINE_string("work_dir", None, "Accepted and not needed: nothing is written there.", short_name="w", **_OWN)
command.define_shared(_FLAGS)

_LISTS = ("--participant_label", "--session_label")


def as_flags(words: list[str]) -> list[str]:
    """Words as BIDS Apps take them, hyphens in names and several values after a name, as this package's flags."""
    found: list[str] = []
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            found.append(name[:2] + name[2:].replace("-", "_") + equals + value)
        elif found and (taken := re.fullmatch(rf"({'|'.join(_LISTS)})(=.*)?", found[-1])) and word[:1] != "-":
            found[-1] = f"{found[-1]},{word}" if taken[2] else f"{found[-1]}={word}"
        else:
            found.append(word)
    return found


def _participant(values: flags.FlagValues, bids: Path, out: Path, rest: list[str]) -> int:
    from dcejax.cli import fit, infer

    analysis = {"infer": infer, "fit": fit}[values.analysis]
    own = copy.deepcopy(analysis.FLAGS)
    try:
        _, *words = own([values.analysis, *rest])
    except flags.Error as error:
        raise ValueError(f"{error}; see --help, and dcejax-{values.analysis} --help") from error
    if words:
        raise ValueError(f"expected BIDS_DIR OUTPUT_DIR participant and flags, found {words[0]!r} too; see --help")
    for name in ("input", "output_dir", "layout", "demo"):
        if name in own and own[name].present:
            raise ValueError(f"--{name}: expected BIDS_DIR and OUTPUT_DIR to say so, found the flag; leave it out")
    if not values.skip_bids_validation and not presence.is_file(bids / "dataset_description.json"):
        raise ValueError(
            f"{bids}: expected a BIDS data set, found no dataset_description.json; add it, or give "
            "--skip-bids-validation"
        )
    if presence.exists(out) and presence.exists(bids) and out.samefile(bids):
        raise ValueError(f"{out}: expected another folder for the results than that of the data set, found the same")
    from dcejax.data import bids_filter

    filters = bids_filter.read(Path(values.bids_filter_file)) if values.bids_filter_file else {}
    selection = bids_filter.Selection(values.participant_label, values.session_label, filters)
    own.input, own.output_dir, own.layout, own.quiet = [str(bids)], str(out), "bids", values.quiet
    return analysis.run(own, [], selection.of)


def _group(out: Path, rest: list[str]) -> int:
    if rest:
        raise ValueError(f"group: expected no further words or flags, found {rest[0]!r}; leave it out")
    from dcejax.runner.layouts import bids_derivatives

    counts = bids_derivatives.write_group(out)
    if not counts:
        raise ValueError(f"{out}: expected results of dcejax-bids ... participant, found none; run that first")
    from dcejax.evaluation.report import group_report

    for analysis, cases in counts.items():
        print(f"{out}/group_desc-{analysis}_*.tsv: {cases} case(s)")
        try:
            print(group_report.write(out, analysis))
        except ImportError as error:  # the tables are there
            print(f"warning: no page of all cases: {error}", file=sys.stderr)
    return 0


def _run(values: flags.FlagValues, words: list[str]) -> int:
    stated = [word for word in words if not word.startswith("-")][:3]
    if len(stated) < 3 or stated != words[:3] or stated[2] not in ("participant", "group"):
        raise ValueError(
            f"expected BIDS_DIR OUTPUT_DIR and participant or group before further flags, found "
            f"{' '.join(words) or 'nothing'}; see --help"
        )
    bids, out = Path(stated[0]), Path(stated[1])
    if not presence.is_dir(bids):
        raise ValueError(f"{bids}: expected the folder of a BIDS data set, found none; check the path")
    return _participant(values, bids, out, words[3:]) if stated[2] == "participant" else _group(out, words[3:])


main = command.entry_point(_run, _FLAGS, __doc__, rewrite=as_flags, known_only=True)

if __name__ == "__main__":
    main()
