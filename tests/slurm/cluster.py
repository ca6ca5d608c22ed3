"""A real SLURM of one node for the tests: controller, node daemon, accounting and munge, all of it in one folder.

It runs beside whatever SLURM a machine may have: own configuration, own key, free ports. The node says that it has
four CPUs, two GPUs and all the memory that one may ask for; the GPUs are character devices without a use. Memory is
watched, not fenced: a job step above its request is killed.
"""

import getpass
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil

T = TypeVar("T")
DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd")
PROGRAMS = (*DAEMONS, "mariadb-install-db", "sbatch", "srun", "squeue", "sacct", "scancel", "scontrol", "setpriv")
SEARCHED = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# A job that is queued again waits until its credential has expired: two minutes if nothing is said.
AuthInfo=socket={folder}/munge/socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounting_port}
AccountingStoragePass={folder}/munge/socket
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_interval=2,bf_interval=2
# squeue, which is asked for the state of jobs, knows ended ones for so long.
MinJobAge=3600
KillWait=2
# A node comes back by itself after silence alone, not within seconds of being set down by hand.
ReturnToService=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=1000000 Gres=gpu:fake:2 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES PriorityTier=1
PartitionName=gpu Nodes=ALL PriorityTier=1
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF
"""
ACCOUNTING = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={accounting_port}
SlurmUser={user}
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass=slurm
PidFile={folder}/slurmdbd.pid
"""
DATABASE_USER = "GRANT ALL ON *.* TO slurm@127.0.0.1 IDENTIFIED BY 'slurm';\n"
# The node daemon needs a cgroup plugin whatever else is configured; version 1 starts everywhere.
CGROUPS = "CgroupPlugin=cgroup/v1\n"
# Only with a character device behind them do jobs get CUDA_VISIBLE_DEVICES.
GPUS = "AutoDetect=off\nName=gpu Type=fake File=/dev/null\nName=gpu Type=fake File=/dev/zero\n"


def missing_programs() -> list[str]:
    """What of SLURM and munge is not installed."""
    return [name for name in PROGRAMS if shutil.which(name, path=SEARCHED) is None]


class Cluster:
    """A running SLURM; `environment` makes its commands, and a Snakemake, talk to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = socket.gethostname().partition(".")[0]
        self.daemons: list[subprocess.Popen[bytes]] = []
        path = os.pathsep.join([str(folder / "bin"), SEARCHED])
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}

    def start(self) -> None:
        """Write the configuration, start the daemons, wait for the node."""
        for name in ("bin", "munge", "state", "spool"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "munge").chmod(0o700)
        ports = free_ports("controller_port", "node_port", "accounting_port", "database_port")
        words = {"host": self.host, "user": getpass.getuser(), "folder": self.folder, **ports}
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(**words))
        (self.folder / "slurmdbd.conf").write_text(ACCOUNTING.format(**words))
        (self.folder / "slurmdbd.conf").chmod(0o600)
        (self.folder / "cgroup.conf").write_text(CGROUPS)
        (self.folder / "gres.conf").write_text(GPUS)
        # Within a job the plugin takes SLURM_CONF out of the environment before it calls srun.
        srun = self.folder / "bin" / "srun"
        real = shutil.which("srun", path=SEARCHED)
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {real} "$@"\n')
        srun.chmod(0o755)
        munge = self.folder / "munge"
        (munge / "key").write_bytes(os.urandom(1024))
        (munge / "key").chmod(0o400)
        files = [f"--{name}-file={munge / name}" for name in ("key", "pid", "log", "seed")]
        self.daemon("munged", "--foreground", "--force", f"--socket={munge / 'socket'}", *files)
        wait_for(lambda: (munge / "socket").exists(), "munged", 20)
        self.database(ports["database_port"])
        self.daemon("slurmdbd", "-D")
        wait_for(lambda: self.answers("sacctmgr", "show", "cluster"), "the accounting daemon", 60)
        self.daemon("slurmctld", "-D", "-c")
        self.daemon("slurmd", "-D", "-c")
        wait_for(lambda: "idle" in self.run("sinfo", "--noheader", "--format=%t", check=False), "an idle node", 60)

    def database(self, port: int) -> None:
        """Start the database behind the accounting."""
        data, orders = self.folder / "data", self.folder / "user.sql"
        orders.write_text(DATABASE_USER)
        own = ["--no-defaults", f"--user={getpass.getuser()}", f"--datadir={data}"]
        self.run("mariadb-install-db", *own, "--skip-test-db")
        listening = [f"--port={port}", "--bind-address=127.0.0.1", "--skip-name-resolve", f"--socket={data / 'socket'}"]
        self.daemon("mariadbd", *own, *listening, f"--pid-file={data / 'pid'}", f"--init-file={orders}")
        wait_for(lambda: (data / "socket").exists(), "the database", 60)

    def daemon(self, *command: str) -> None:
        """Start a daemon that ends with this process, however it ends."""
        with (self.folder / f"{command[0]}.out").open("wb") as log:
            full = ["setpriv", "--pdeathsig", "TERM", *command]
            self.daemons.append(subprocess.Popen(full, env={**os.environ, **self.environment}, stdout=log, stderr=log))

    def stop(self) -> None:
        """End jobs and daemons, and whatever process is left that belongs to them."""
        self.run("scancel", f"--user={getpass.getuser()}", check=False)
        for daemon in reversed(self.daemons):
            daemon.terminate()
        for daemon in self.daemons:
            try:
                daemon.wait(timeout=10)
            except subprocess.TimeoutExpired:
                daemon.kill()
        for process in psutil.process_iter():
            try:
                if process.environ().get("SLURM_CONF") == self.environment["SLURM_CONF"]:
                    process.kill()
            except (psutil.Error, OSError):
                continue

    def run(self, *command: str, check: bool = True) -> str:
        """What a SLURM command prints."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def answers(self, *command: str) -> bool:
        """Whether a SLURM command has something to say."""
        return bool(self.run(*command, check=False))

    def jobs(self, state: str = "all") -> list[dict[str, str]]:
        """Jobs as `scontrol show job` tells of them."""
        shown = self.run("scontrol", "show", "job", "--oneliner", check=False)
        found = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in shown.splitlines() if line.startswith("JobId=")]
        return [job for job in found if state in ("all", job["JobState"])]

    def wait_for_job(self, rule: str, state: str = "RUNNING", seconds: float = 120) -> dict[str, str]:
        """The newest job of a rule as soon as it is in a state."""

        def newest() -> dict[str, str] | None:
            mine = [job for job in self.jobs() if job.get("Comment", "").startswith(f"rule_{rule}_")]
            last = max(mine, key=lambda job: int(job["JobId"]), default=None)
            return last if last and last["JobState"] == state else None

        return wait_for(newest, f"a job of {rule} that is {state}", seconds)


def wait_for(found: Callable[[], T | None], what: str, seconds: float) -> T:
    """What `found` returns as soon as it is true."""
    end = time.monotonic() + seconds
    while not (result := found()):
        assert time.monotonic() < end, f"{what}: not there after {seconds} seconds"
        time.sleep(0.2)
    return result


def free_ports(*names: str) -> dict[str, int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in names]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return dict(zip(names, ports, strict=True))


@contextmanager
def running(folder: Path) -> Iterator[Cluster]:
    """A cluster that lives as long as the block."""
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
