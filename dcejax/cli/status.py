"""Tell what has become of the cases of a folder of results.

  dcejax-status DIR [--input=PATH...] [--json]

Merges the records of all runs and shards: cases done, bad and failed with their reasons, the rate and, with --input (as
it was given to the command that makes the results), which cases are missing and how long they will take.

Exit codes: 0 every case is done; 1 some are bad, have failed or are missing; 2 bad flags, or a folder without records.
"""

import json
from pathlib import Path

from absl import flags

from dcejax.cli import command

_FLAGS = flags.FlagValues()  # of this command only: others have flags of the same names
flags.DEFINE_multi_string("input", [], "Cases that there should be; repeat or use commas.", flag_values=_FLAGS)
flags.DEFINE_boolean("json", False, "One JSON object in place of text.", flag_values=_FLAGS)
command.define_shared(_FLAGS)


def _run(values: flags.FlagValues, words: list[str]) -> int:
    if len(words) != 1:
        raise ValueError(f"expected one folder of results, found {' '.join(words) or 'none'}; see --help")
    from dcejax.cli import case_flags
    from dcejax.data import cases
    from dcejax.data.facts import Facts
    from dcejax.runner import folder_status

    expected = None
    if values.input:
        expected = [case.case_id for case in cases.enumerate_cases(case_flags.inputs(values, []), Facts())]
    status = folder_status.of_folder(Path(words[0]), expected)
    print(json.dumps(status.to_dict(), ensure_ascii=False) if values.json else folder_status.in_text(status))
    return int(not status.complete)


main = command.entry_point(_run, _FLAGS, __doc__)

if __name__ == "__main__":
    main()
