"""A real Slurm as two virtual nodes on this machine, for the length of a test session.

Everything it writes is in one folder, its ports are free ones, and it has a munged of its own, so
that it stands beside a Slurm of the machine and beside other sessions. It installs nothing.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

NODES = ("n1", "n2")
CPUS_OF_A_NODE = 8
START_LIMIT_S = 60.0
STOP_LIMIT_S = 20.0
COMMAND_LIMIT_S = 60.0
_DIES_WITH_PARENT = (
    "import os, sys; from mpinas.signals import die_with_parent;"
    " die_with_parent(int(sys.argv[1])); os.execvp(sys.argv[2], sys.argv[2:])"
)
MOST_FIRST_JOB_ID = 60_000_000
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "squeue")
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# MPICH names its shared memory after the job's id, which must be nobody else's on this machine.
# A requeued job waits for `cred_expire` before it starts again: 120 seconds by default. A node may
# claim more processors than the machine has only with `config_overrides`.
CONFIGURATION = """\
ClusterName=mpinas
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdSpoolDir={folder}/spool.%n
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=2
ReturnToService=2
JobRequeue=1
KillWait=20
MpiDefault=none
FirstJobId={first_job_id}
NodeName={nodes} NodeAddr=127.0.0.1 NodeHostname={host} Port={node_ports} CPUs={cpus}
PartitionName=test Nodes={nodes} Default=YES MaxTime=60 State=UP
"""


class ClusterFault(Exception):
    """Slurm did not do what it was told to; its words are in the message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What ``scontrol show job`` says of a job."""

    job_id: str
    state: str
    restarts: int
    nodes: int
    exit_code: str


def missing_programs() -> tuple[str, ...]:
    """The programs of Slurm that this machine has not; empty where it is installed."""
    path = os.pathsep.join([os.environ.get("PATH", ""), SYSTEM_FOLDERS])
    return tuple(name for name in PROGRAMS if shutil.which(name, path=path) is None)


class Cluster:
    """Two nodes, each with room for eight processes; use it as a context manager.

    Args:
        folder: an empty one, readable by this user alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._daemons: list[subprocess.Popen[bytes]] = []
        path = os.pathsep.join([os.environ.get("PATH", ""), SYSTEM_FOLDERS])
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SLURM_", "SBATCH_", "PMI"))
        }
        self.environment = {**inherited, "PATH": path, "SLURM_CONF": str(folder / "slurm.conf")}

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _start(self) -> None:
        """Starts all daemons and waits until both nodes can be used."""
        self._configure()
        (self.folder / "munge.key").touch(mode=0o600)
        (self.folder / "munge.key").write_bytes(secrets.token_bytes(128))
        options = [f"--{name}={self.folder}/munge.{name[:-5]}" for name in _MUNGE_FILES]
        self._daemon(
            "munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *options
        )
        _wait(lambda: (self.folder / "munge.socket").exists(), START_LIMIT_S, self.logs)
        self._daemon("slurmctld", "-D")
        for node in NODES:
            self._daemon("slurmd", "-D", "-N", node)
        _wait(self._is_up, START_LIMIT_S, self.logs)

    def _configure(self) -> None:
        for name in ("state", *(f"spool.{node}" for node in NODES)):
            (self.folder / name).mkdir()
        controller_port, *node_ports = _free_ports(1 + len(NODES))
        text = CONFIGURATION.format(
            folder=self.folder,
            host=socket.gethostname().split(".")[0],
            user=psutil.Process().username(),
            controller_port=controller_port,
            first_job_id=1 + secrets.randbelow(MOST_FIRST_JOB_ID),
            node_ports=",".join(map(str, node_ports)),
            nodes=",".join(NODES),
            cpus=CPUS_OF_A_NODE,
        )
        (self.folder / "slurm.conf").write_text(text)

    def _daemon(self, program: str, *arguments: str) -> None:
        log = self.folder / f"{program}{len(self._daemons)}.log"
        with log.open("wb") as stream:
            self._daemons.append(
                subprocess.Popen(
                    [
                        sys.executable,
                        "-c",
                        _DIES_WITH_PARENT,
                        str(os.getpid()),
                        program,
                        *arguments,
                    ],
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=stream,
                    start_new_session=True,
                )
            )

    def _is_up(self) -> bool:
        """Whether both nodes wait for jobs; raises where a daemon has ended."""
        for daemon in self._daemons:
            if daemon.poll() is not None:
                raise ClusterFault(f"{daemon.args!r} ended with {daemon.returncode}\n{self.logs()}")
        states = self._try("sinfo", "--noheader", "--Node", "--format=%T").stdout.split()
        return states == ["idle"] * len(NODES)

    def stop(self) -> None:
        """Ends all jobs and daemons at once; nothing of them is meant to last."""
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait()
        self._daemons.clear()
        deadline = time.monotonic() + STOP_LIMIT_S
        while (left := self.leftovers()) and time.monotonic() < deadline:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=1.0)

    def leftovers(self) -> list[psutil.Process]:
        """Processes of this machine that were started for this cluster, daemons included."""
        own = f"SLURM_CONF={self.folder / 'slurm.conf'}"
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                environment = Path(f"/proc/{process.pid}/environ").read_text(errors="replace")
                if process.pid != os.getpid() and own in environment.split("\0"):
                    found.append(process)
        return found

    def rank(self, number: int) -> psutil.Process:
        """The process of a rank of the MPI job that runs; there must be one job only."""
        ranks = []
        for process in self.leftovers():
            with contextlib.suppress(psutil.Error):
                is_program = "mpinas" in process.cmdline()
                if is_program and process.environ().get("PMI_RANK") == str(number):
                    ranks.append(process)
        if len(ranks) != 1:
            raise ClusterFault(f"not one process of rank {number}. Received: {ranks}")
        return ranks[0]

    def command(self, *arguments: str) -> str:
        """What a command of Slurm prints.

        Raises:
            ClusterFault: it failed.
        """
        run = self._try(*arguments)
        if run.returncode != 0:
            raise ClusterFault(f"{arguments!r} ended with {run.returncode}: {run.stderr}")
        return run.stdout

    def _try(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            arguments,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )

    def submit(self, script: Path, more: Mapping[str, str], options: Sequence[str] = ()) -> str:
        """Submits a batch script as a user would; returns the id of its job."""
        run = subprocess.run(
            ["sbatch", "--parsable", *options, str(script)],
            env={**self.environment, **more},
            cwd=script.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=False,
        )
        if run.returncode != 0:
            raise ClusterFault(f"sbatch {script} ended with {run.returncode}: {run.stderr}")
        return run.stdout.strip()

    def job(self, job_id: str) -> Job:
        """How a job stands."""
        words = self.command("scontrol", "--oneliner", "show", "job", job_id).split()
        said = dict(word.split("=", 1) for word in words if "=" in word)
        return Job(
            job_id=job_id,
            state=said["JobState"],
            restarts=int(said["Restarts"]),
            nodes=int(said["NumNodes"].split("-")[0]),
            exit_code=said["ExitCode"],
        )

    def wait_for(self, job_id: str, until: Callable[[Job], bool], limit_s: float) -> Job:
        """Waits until a job is as wanted.

        Raises:
            ClusterFault: it is not so in time.
        """
        latest: list[Job] = []

        def reached() -> bool:
            latest[:] = [self.job(job_id)]
            return until(latest[0])

        _wait(reached, limit_s, lambda: f"{latest}\n{self.logs()}")
        return latest[0]

    def logs(self) -> str:
        """The last lines of every daemon."""
        parts = []
        for log in sorted(self.folder.glob("*.log")):
            lines = log.read_text(errors="replace").splitlines()[-20:]
            parts.append("\n".join([f"-- {log.name}", *lines]))
        return "\n".join(parts)


_MUNGE_FILES = ("key-file", "log-file", "pid-file", "seed-file")


def _wait(reached: Callable[[], bool], limit_s: float, words: Callable[[], str]) -> None:
    deadline = time.monotonic() + limit_s
    while not reached():
        if time.monotonic() > deadline:
            raise ClusterFault(f"not reached in {limit_s:g} s\n{words()}")
        time.sleep(0.2)


def _free_ports(count: int) -> Iterator[int]:
    """Ports nobody listens on; all are held until the last one is known."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            ports.append(listener.getsockname()[1])
    yield from ports
