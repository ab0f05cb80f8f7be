"""How the processes of one run find each other: as the scheduler that started them says."""

import os
import re
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import jax

APART = 4
"""Exit code of processes that do not meet, or lose each other: to be tried again, unlike bad input."""

MEETING_S = 300.0
"""Seconds within which all processes have to be there."""

_SHUTDOWN_S = 60  # in which the others may end too; what they had to write is written
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")  # of a step of srun


def _integer(environment: Mapping[str, str], name: str) -> int:
    try:
        return int(environment[name])
    except (KeyError, ValueError):
        found = repr(environment[name]) if name in environment else "none"
        raise ValueError(
            f"--distributed=auto: expected a whole number in the variable {name}, found {found}; see docs/clusters.md"
        ) from None


def _tasks_of_node(environment: Mapping[str, str]) -> int:
    """How many tasks of a step of SLURM are on this node: the variable says it of all nodes, as 2(x3),1."""
    found = environment.get("SLURM_STEP_TASKS_PER_NODE", "1")
    counts = []
    for part in found.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if match is None:
            raise ValueError(
                "--distributed=auto: expected numbers such as 2(x3),1 in the variable SLURM_STEP_TASKS_PER_NODE, found "
                f"{found!r}; see docs/clusters.md"
            )
        counts += [int(match[1])] * int(match[2] or 1)
    if len(set(counts)) == 1:
        return counts[0]
    node = _integer(environment, "SLURM_NODEID")
    if node not in range(len(counts)):
        raise ValueError(
            f"--distributed=auto: expected one of the {len(counts)} nodes of SLURM_STEP_TASKS_PER_NODE={found} in the "
            f"variable SLURM_NODEID, found {node}; see docs/clusters.md"
        )
    return counts[node]


def _devices_of_task(environment: Mapping[str, str]) -> list[int] | None:
    """Which of the GPUs that a task of SLURM sees are its own; None where it sees none.

    JAX would take one for each task.
    """
    seen = len(list(filter(None, environment.get("CUDA_VISIBLE_DEVICES", "").split(","))))
    if not seen:
        return None
    tasks = _tasks_of_node(environment)
    if seen % tasks or "SLURM_GPUS_PER_TASK" in environment or seen < tasks:  # the scheduler has shared them out
        return list(range(seen))
    own, task = seen // tasks, _integer(environment, "SLURM_LOCALID")
    return list(range(task * own, (task + 1) * own))


def arguments(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """Arguments for `jax.distributed.initialize`; None for a process that is alone.

    Raises:
        ValueError: variables of a scheduler that do not say enough.
    """
    if "JOB_COMPLETION_INDEX" in environment:
        index, count = (_integer(environment, f"JOB_COMPLETION{name}") for name in ("_INDEX", "S"))
        address = environment.get("JAX_COORDINATOR_ADDRESS")
        if not address:
            raise ValueError(
                "--distributed=auto: expected the address of the first pod and a port in the variable "
                "JAX_COORDINATOR_ADDRESS, found none; see docs/clusters.md, or use --distributed=off"
            )
        return {"coordinator_address": address, "num_processes": count, "process_id": index}
    if all(name in environment for name in _SLURM):
        if _integer(environment, "SLURM_NTASKS") == 1:
            return None
        return {"cluster_detection_method": "slurm", "local_device_ids": _devices_of_task(environment)}
    if "TPU_WORKER_HOSTNAMES" in environment or _on_tpu_vm():
        return {}  # JAX asks the machine
    return None


def _on_tpu_vm() -> bool:
    return os.path.exists("/dev/accel0") or os.path.exists("/dev/vfio/0")


def join(within_s: float | None = None) -> bool:
    """Meet the other processes of the run, if the scheduler has started any; call it before JAX looks for devices.

    The process ends with the code `APART` where they do not meet in time. Returns whether there are others.

    Raises:
        ValueError: variables of a scheduler that do not say enough.
    """
    found = arguments(os.environ)
    if found is None:
        return False
    within_s = MEETING_S if within_s is None else within_s
    for name in [name for name in os.environ if name.lower() in _PROXIES]:
        del os.environ[name]  # the processes would look for each other behind the proxy
    # JAX would end the process itself, with a stack of its own in place of words.
    timer = threading.Timer(within_s, _give_up, (within_s, found))
    timer.daemon = True
    timer.start()
    try:
        jax.distributed.initialize(
            **found, initialization_timeout=int(within_s) + 60, shutdown_timeout_seconds=_SHUTDOWN_S
        )
    except ValueError as error:
        raise ValueError(f"--distributed=auto: {error}; see docs/clusters.md, or use --distributed=off") from error
    finally:
        timer.cancel()
    return True


def _give_up(seconds: float, found: Mapping[str, Any]) -> None:
    address = found.get("coordinator_address", "a port of the step's first host")
    text = (
        f"error: the processes of this run did not meet within {seconds:g} s at {address}. Are all of them started, "
        "with --distributed=auto and the same command? Can they reach that port? Under SLURM, JAX_COORDINATOR_PORT "
        "chooses another; docs/clusters.md has recipes\n"
    )
    os.write(sys.stderr.fileno(), text.encode())
    os._exit(APART)


def part(within_s: float | None = None) -> None:
    """Wait until all processes are done, and let go of them; without it one that ends first would end the others.

    JAX ends the process itself where the others are not there after a minute. A process that has to leave in any case
    waits so many seconds only.
    """
    if within_s is None:
        jax.distributed.shutdown()
        return

    def leave() -> None:
        with suppress(Exception):  # others have gone
            jax.distributed.shutdown()

    parting = threading.Thread(target=leave, daemon=True)
    parting.start()
    parting.join(within_s)
