"""Which share of the cases a process takes: stated, or as the scheduler that started it counts its tasks.

SLURM numbers the tasks of an array from any first number in any steps; Kubernetes numbers the pods of an Indexed Job
from 0 and does not tell their number, which the job has to state as `JOB_COMPLETIONS`.
"""

import re
from collections.abc import Mapping

AUTO = "auto"


def _integer(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment[name])
    except (KeyError, ValueError):
        found = repr(environment[name]) if name in environment else "none"
        raise ValueError(f"--shard=auto: expected a whole number in the variable {name}, found {found}") from None


def of_scheduler(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """This task's index from 0 and the number of tasks, or None where no scheduler counts any.

    Raises:
        ValueError: variables that say no such thing.
    """
    if "SLURM_ARRAY_TASK_ID" in environment:
        task, first, count = (_integer(environment, f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN", "COUNT"))
        step = _integer(environment, "SLURM_ARRAY_TASK_STEP") if "SLURM_ARRAY_TASK_STEP" in environment else 1
        index, rest = divmod(task - first, step)
        if rest or not 0 <= index < count:
            raise ValueError(
                f"--shard=auto: expected a task of an array of {count} from {first} in steps of {step}, found {task}; "
                "state --shard=i/n, as an array with gaps needs"
            )
        return index, count
    if "JOB_COMPLETION_INDEX" in environment:
        return _integer(environment, "JOB_COMPLETION_INDEX"), _integer(environment, "JOB_COMPLETIONS")
    return None


def parse(text: str, environment: Mapping[str, str]) -> tuple[int, int]:
    """Index from 0 and number of shares.

    Raises:
        ValueError: text of another form, or `auto` where no scheduler counts tasks.
    """
    if text == AUTO:
        found = of_scheduler(environment)
        if found is None:
            raise ValueError(
                "--shard=auto: expected a task of a SLURM array (SLURM_ARRAY_TASK_ID) or of a Kubernetes Indexed Job "
                "(JOB_COMPLETION_INDEX), found neither; state --shard=i/n"
            )
        return found
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match:
        raise ValueError(f"--shard: expected i/n such as 0/4, or auto, found {text!r}")
    return int(match[1]), int(match[2])


def warning(environment: Mapping[str, str]) -> str | None:
    """What to tell a process that takes all cases though it is one of many tasks."""
    if "SLURM_ARRAY_TASK_ID" in environment or "JOB_COMPLETION_INDEX" in environment:
        return (
            "this is a task of many, and each does all the cases it is given; --shard=auto shares them, --shard=0/1 "
            "says that this is meant"
        )
    return None
