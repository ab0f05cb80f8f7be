"""Cores: what affinity, control groups, SLURM and the user's own variables leave."""

import os
import subprocess
import sys

import pytest

from dcejax import cores

BOUND = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 64 cores; give it the files of its control groups."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)

    def with_files(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return with_files


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 64),
        ({"proc/self/cgroup": "0::/\n"}, 64),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 64),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "5000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "no numbers\n"}, 64),
        (
            {
                "proc/self/cgroup": "0::/pods/one\n",
                "sys/fs/cgroup/pods/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/pods/one/cpu.max": "max 100000\n",
            },
            4,
        ),
        (
            {
                "proc/self/cgroup": "3:cpuset:/a\n4:cpu,cpuacct:/a\n0::/\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "800000\n",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
    ],
)
def test_control_groups_limit_cores(machine, files, expected):
    assert cores.usable({}, machine(files)) == expected


def test_what_the_user_states_wins_and_slurm_only_limits(machine):
    root = machine({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "800000 100000\n"})
    assert cores.usable({"SLURM_CPUS_PER_TASK": "4"}, root) == 4
    assert cores.usable({"SLURM_CPUS_PER_TASK": "32"}, root) == 8
    assert cores.usable({"SLURM_CPUS_PER_TASK": "?", "NPROC": "0"}, root) == 8
    assert cores.usable({"NPROC": "12", "SLURM_CPUS_PER_TASK": "4"}, root) == 12
    assert cores.usable({"PJRT_NPROC": "3", "NPROC": "12"}, root) == 3


@pytest.mark.skipif(BOUND < 2 or sys.platform != "linux", reason="needs two cores, and Linux, which shows its threads")
def test_xla_starts_threads_for_these_cores_alone():
    shown = (
        "import dcejax, jax, os; jax.numpy.ones(9).sum().block_until_ready(); "
        "print([open(f'/proc/self/task/{task}/comm').read().strip() for task in os.listdir('/proc/self/task')]"
        ".count('tf_XLAEigen'))"
    )
    environment = {name: value for name, value in os.environ.items() if "NPROC" not in name}
    environment |= {"JAX_PLATFORMS": "cpu", "SLURM_CPUS_PER_TASK": "1"}
    told = subprocess.run([sys.executable, "-c", shown], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "1"
