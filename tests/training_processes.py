"""Runs of `dcejax-train` with the toy method, in real processes on this machine, as the pods of an Indexed Job."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
from training_examples import make_batch

from dcejax.training import batch_pool

TESTS = Path(__file__).resolve().parent


def write_pool(folder):
    """Batches that need no simulator."""

    def source(key):
        return make_batch((4, 8, 8), seed=int(jax.random.bits(key)) % 1009)

    batch_pool.write_pool(folder, lambda split: source, 8, 0, {"what": "random"})


def environment(index=0, processes=1, devices=1, port=0):
    """Variables of one of the processes of a run."""
    own = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
    }
    job = {
        "JOB_COMPLETION_INDEX": str(index),
        "JOB_COMPLETIONS": str(processes),
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
    }
    return own | (job if processes > 1 else {})


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def launch(config, workdir, variables, *flags):
    """One process."""
    words = [f"--config={config}", f"--workdir={workdir}", *flags]
    command = [sys.executable, "-m", "dcejax.cli.train", *words]
    return subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def start(config, workdir, processes=1, devices=1, *flags):
    """All processes of a run."""
    port = free_port()
    return [
        launch(config, workdir, environment(index, processes, devices, port), "--distributed=auto", *flags)
        for index in range(processes)
    ]


def end(processes, code=0):
    """What each process has told once all have ended with the code."""
    told = [process.communicate(timeout=240)[1] for process in processes]
    assert [process.returncode for process in processes] == [code] * len(processes), told
    return told


def losses(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [(r["stage"], r["epoch"], r["training"]["loss"], r["validation"]["loss"]) for r in rows]
