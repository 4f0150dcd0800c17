"""The shell of a batch script, run with launchers and schedulers that only pretend.

The script is read from standard input, as ``bsub < script`` does, in a folder that is not its own.
What the pretended programs are told stands in a record, a line each.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from searching import config_file, config_of

from mpinas.jobs.request import JobRequest
from mpinas.jobs.script import job_script

LIMIT_S = 120.0

# Ends with $CODE when it got USR1 $SIGNALS times, or by itself after $LASTS seconds.
LAUNCHER = """#!/bin/bash
echo "started $(basename "$0") $*" >>"$RECORD"
sleep "${DEAF:-0}"
received=0
note() {
  echo "got $1" >>"$RECORD"
  received=$((received + 1))
  [ "$received" -lt "${SIGNALS:-1}" ] || exit "$CODE"
}
trap 'note USR1' USR1
trap 'echo "got TERM" >>"$RECORD"; exit 143' TERM
echo "ready $$" >>"$RECORD"
[ -z "${WRITES:-}" ] || { mkdir -p "$WRITES" && echo a result >>"$WRITES/g000.jsonl"; }
end=$((SECONDS + ${LASTS:-20}))
while [ $SECONDS -lt $end ]; do sleep 0.05; done
exit "$CODE"
"""
SCHEDULER = """#!/bin/bash
case "$(basename "$0") $*" in
  "scontrol show "*) printf 'n1\\nn2\\n' && exit ;;
  squeue*) echo "$STATE" && exit ;;
esac
echo "$(basename "$0") $*" >>"$RECORD"
exit "${REFUSED:-0}"
"""
BY_SLURM = {"scheduler": "slurm", "launcher": "mpiexec"}
LAUNCHERS = ("mpiexec", "srun", "jsrun")
REQUEUED = "scontrol requeue 7"


class Machine:
    """A folder with pretended programs, and jobs in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs: list[subprocess.Popen[str]] = []
        (folder / "bin").mkdir()
        (folder / "work").mkdir()
        for name in (*LAUNCHERS, "scontrol", "squeue", "brequeue"):
            program = folder / "bin" / name
            program.write_text(LAUNCHER if name in LAUNCHERS else SCHEDULER)
            program.chmod(0o755)

    def script(self, scheduler: str, settle_s: int = 0, **changes: object) -> str:
        request = JobRequest(
            config=self.folder / "search.yaml",
            directory=self.folder / "work",
            out=self.folder / "out",
            **{"workers": 2, **changes},
        )
        text = job_script(scheduler, request, config_of(self.folder))
        return text.replace("settle_s=10 ", f"settle_s={settle_s} ")

    def start(self, text: str, **variables: object) -> subprocess.Popen[str]:
        """Runs a script; ``CODE`` and the like tell the pretended programs what to do."""
        environment = {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "RECORD": str(self.folder / "record"),
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "n[1-2]",
            "LSB_JOBID": "8",
            "LSB_MCPU_HOSTS": "h1 3 h2 3",
            "CODE": "75",
            "STATE": "RUNNING None",
            **{name: str(value) for name, value in variables.items()},
        }
        (self.folder / "script").write_text(text)
        with (self.folder / "script").open() as script:
            job = subprocess.Popen(
                ["bash"],
                env=environment,
                cwd="/",
                stdin=script,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        self.jobs.append(job)
        return job

    def record(self) -> list[str]:
        file = self.folder / "record"
        return file.read_text().splitlines() if file.exists() else []

    def received(self) -> list[str]:
        """Signals that reached the launcher."""
        return [line.split()[1] for line in self.record() if line.startswith("got ")]

    def requeued(self) -> list[str]:
        return [line for line in self.record() if line.startswith(("scontrol", "brequeue"))]

    def wait_for(self, beginning: str, count: int = 1) -> None:
        deadline = time.monotonic() + LIMIT_S
        while sum(line.startswith(beginning) for line in self.record()) < count:
            assert time.monotonic() < deadline, (beginning, self.record())
            time.sleep(0.02)

    def launcher_pid(self) -> int:
        return next(int(line.split()[1]) for line in self.record() if line.startswith("ready"))

    def clean_up(self) -> None:
        """Ends what is left; launchers have process groups of their own."""
        for line in self.record():
            if line.startswith("ready"):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(int(line.split()[1]), signal.SIGKILL)
        for job in self.jobs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)
            job.communicate()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.clean_up()


def end(job: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code and what was said."""
    said = job.communicate(timeout=LIMIT_S)[1]
    return job.returncode, said


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM])
def test_a_signal_is_passed_on_once_as_usr1_and_the_job_requeued(
    machine: Machine, number: signal.Signals
) -> None:
    job = machine.start(machine.script(**BY_SLURM))
    machine.wait_for("ready")
    job.send_signal(number)
    assert end(job) == (75, "")
    assert machine.received() == ["USR1"]
    assert machine.requeued() == [REQUEUED]


def test_a_second_signal_is_passed_on_too(machine: Machine) -> None:
    job = machine.start(machine.script(**BY_SLURM), SIGNALS=2)
    machine.wait_for("ready")
    job.send_signal(signal.SIGUSR1)
    machine.wait_for("got")
    assert machine.requeued() == []
    job.send_signal(signal.SIGTERM)
    assert end(job)[0] == 75
    assert machine.received() == ["USR1", "USR1"]


@pytest.mark.parametrize("code", [0, 1, 2, 75, 137])
def test_the_exit_code_of_the_launcher_is_that_of_the_job(machine: Machine, code: int) -> None:
    assert end(machine.start(machine.script(**BY_SLURM), LASTS=0, CODE=code)) == (code, "")
    assert machine.requeued() == ([REQUEUED] if code == 75 else [])


def test_a_launcher_that_dies_of_a_signal(machine: Machine) -> None:
    job = machine.start(machine.script(**BY_SLURM))
    machine.wait_for("ready")
    os.kill(machine.launcher_pid(), signal.SIGKILL)
    assert end(job)[0] == 137
    assert machine.requeued() == []


@pytest.mark.parametrize("search", ["", "e1/plain/"])
@pytest.mark.parametrize(
    ("code", "gets_anywhere", "ends_with"),
    [(137, True, 75), (9, True, 75), (137, False, 137), (9, False, 9), (1, True, 1), (2, True, 2)],
)
def test_a_job_of_which_a_rank_was_killed_goes_on_if_it_got_anywhere(
    machine: Machine, code: int, gets_anywhere: bool, ends_with: int, search: str
) -> None:
    """Where every attempt dies before its first result it would be requeued for ever."""
    journal = machine.folder / "out" / f"{search}journal"
    journal.mkdir(parents=True)
    (journal / "g000.jsonl").write_text("a result of the job before\n")
    written = {"WRITES": journal} if gets_anywhere else {}
    job = machine.start(machine.script(**BY_SLURM), LASTS=0, CODE=code, **written)
    assert end(job)[0] == ends_with
    assert machine.requeued() == ([REQUEUED] if ends_with == 75 else [])


@pytest.mark.parametrize("code", [10, 12, 15, 138, 140, 143])
def test_ranks_that_died_of_a_signal_while_they_started_are_started_again(
    machine: Machine, code: int
) -> None:
    """Slurm signals the ranks itself, and Python ends of one before it runs a line of ours."""
    job = machine.start(machine.script("slurm"), LASTS=0, CODE=code)
    assert (end(job)[0], machine.requeued()) == (75, [REQUEUED])


@pytest.mark.parametrize("code", [9, 137])
def test_a_rank_that_was_killed_when_the_job_was_asked_to_end_ends_it_in_order(
    machine: Machine, code: int
) -> None:
    """As MPICH's launcher does with one that has not come to MPI_Init."""
    job = machine.start(machine.script(**BY_SLURM), CODE=code)
    machine.wait_for("ready")
    job.send_signal(signal.SIGUSR1)
    assert (end(job)[0], machine.requeued()) == (75, [REQUEUED])


@pytest.mark.parametrize("is_there", [False, True])
def test_jobs_that_never_come_to_a_run_directory_are_not_begun_for_ever(
    machine: Machine, is_there: bool
) -> None:
    """As where data take longer to prepare than a job has."""
    if is_there:
        (machine.folder / "out").mkdir()

    def run(**written: object) -> tuple[int, str]:
        return end(machine.start(machine.script(**BY_SLURM), LASTS=0, CODE=75, **written))

    assert [run()[0] for _ in range(4)] == [75] * 4
    code, said = run()
    assert (code, len(machine.requeued())) == (1, 4)
    assert f"remove {machine.folder / 'out.fruitless_jobs'}" in said
    left = list((machine.folder / "out").glob("*"))
    assert not left, "it would be taken for something else than a run"
    assert run(WRITES=machine.folder / "out" / "journal")[0] == 75
    assert not list(machine.folder.rglob("*fruitless_jobs"))


@pytest.mark.parametrize("search", ["", "e0/plain/"])
def test_jobs_that_get_nowhere_are_not_begun_for_ever(machine: Machine, search: str) -> None:
    """As where no trial fits into the walltime; of a comparison any search gets somewhere."""
    journal = machine.folder / "out" / f"{search}journal"
    journal.mkdir(parents=True)

    def run(**written: object) -> tuple[int, str]:
        return end(machine.start(machine.script(**BY_SLURM), LASTS=0, CODE=75, **written))

    assert [run()[0] for _ in range(4)] == [75] * 4
    assert run(WRITES=journal)[0] == 75
    assert [run()[0] for _ in range(4)] == [75] * 4
    code, said = run()
    assert (code, len(machine.requeued())) == (1, 9)
    assert "Five jobs in a row had no result" in said


def test_a_signal_before_the_launcher_is_started_starts_none(machine: Machine) -> None:
    activate = machine.folder / "activate"
    activate.write_text("kill -TERM $$\n")
    job = machine.start(machine.script(**BY_SLURM, environment=activate))
    assert end(job) == (75, "")
    assert machine.record() == [REQUEUED]


def test_a_signal_in_the_moment_of_the_start_is_not_lost(machine: Machine) -> None:
    """It comes where the shell has started the launcher and does not know its number yet."""
    text = machine.script(**BY_SLURM)
    moment = "  keeper=$!\n"
    assert text.count(moment) == 1
    text = text.replace(moment, "  pid=$!; sleep 1; kill -TERM $$; true\n  keeper=$pid\n")
    assert end(machine.start(text)) == (75, "")
    assert machine.received() == ["USR1"]


def test_a_launcher_that_is_not_ready_is_not_killed_by_the_signal(machine: Machine) -> None:
    """USR1 ends a program that has not said yet what it does with it."""
    job = machine.start(machine.script(**BY_SLURM, settle_s=3), DEAF=1)
    machine.wait_for("started")
    job.send_signal(signal.SIGUSR1)
    assert end(job)[0] == 75
    assert machine.received() == ["USR1"]


def test_the_settling_time_is_there_for_users() -> None:
    text = (Path(job_script.__code__.co_filename).parent / "templates/parts/pass_on.sh").read_text()
    assert "settle_s=10 " in text


@pytest.mark.parametrize("code", [0, 3, 75])
def test_signals_at_the_moment_of_the_end_do_not_change_the_code(
    machine: Machine, code: int
) -> None:
    job = machine.start(machine.script(**BY_SLURM), LASTS=2, SIGNALS=10**6, CODE=code)
    machine.wait_for("ready")
    while job.poll() is None:
        job.send_signal(signal.SIGUSR1)
        time.sleep(0.005)
    assert end(job) == (code, "")


def test_usr2_to_the_launcher_itself_does_not_kill_it(machine: Machine) -> None:
    """LSF signals all processes of a job, and MPICH's mpiexec would die of it."""
    job = machine.start(machine.script("lsf", without=("requeue",)))
    machine.wait_for("ready")
    os.kill(machine.launcher_pid(), signal.SIGUSR2)
    job.send_signal(signal.SIGUSR2)
    assert end(job)[0] == 75
    assert machine.received() == ["USR1"]
    assert machine.requeued() == ["brequeue 8"]


def test_lsf_requeues_by_exit_code_unless_told_that_it_cannot(machine: Machine) -> None:
    assert end(machine.start(machine.script("lsf"), LASTS=0)) == (75, "")
    assert machine.requeued() == []
    assert end(machine.start(machine.script("lsf", without=("requeue",)), LASTS=0)) == (75, "")
    assert machine.requeued() == ["brequeue 8"]


def test_a_terminal_that_is_closed_stops_the_search_in_order(machine: Machine) -> None:
    job = machine.start(machine.script("local"))
    machine.wait_for("ready")
    job.send_signal(signal.SIGHUP)
    assert end(job)[0] == 75
    assert machine.received() == ["USR1"]


@pytest.mark.parametrize("scheduler", ["lsf", "lsf-jsrun"])
def test_a_job_that_bkill_ends_is_saved_and_stays_ended(machine: Machine, scheduler: str) -> None:
    job = machine.start(machine.script(scheduler, without=("requeue",)))
    machine.wait_for("ready")
    job.send_signal(signal.SIGINT)
    code, said = end(job)
    assert (code, machine.received(), machine.requeued()) == (130, ["USR1"], [])
    assert "submit the job again" in said


def test_under_srun_the_shell_only_outlives_the_signal(machine: Machine) -> None:
    """Slurm has given it to the ranks; a second one would end them at once."""
    job = machine.start(machine.script("slurm"), LASTS=3)
    machine.wait_for("ready")
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
        job.send_signal(number)
        time.sleep(0.1)
    assert end(job)[0] == 75
    assert machine.received() == []
    assert machine.requeued() == [REQUEUED]


def test_a_job_that_cannot_be_requeued_says_what_to_do(machine: Machine) -> None:
    code, said = end(machine.start(machine.script(**BY_SLURM), LASTS=0, REFUSED=1))
    assert (code, said) == (75, "Saved. Unless Slurm requeues it, submit the job again to go on.\n")


@pytest.mark.parametrize(
    ("state", "requeued"),
    [("COMPLETING None", []), ("COMPLETING TimeLimit", [REQUEUED]), ("", [REQUEUED])],
)
def test_a_job_that_scancel_ends_is_saved_and_stays_ended(
    machine: Machine, state: str, requeued: list[str]
) -> None:
    """Slurm would take it back into the queue; a controller that does not answer is no scancel."""
    code, said = end(machine.start(machine.script("slurm"), LASTS=0, STATE=state))
    assert (code, machine.requeued()) == (75, requeued)
    assert ("submit the job again" in said) == (not requeued)


def test_hosts_and_ranks_of_each_launcher(machine: Machine) -> None:
    gpus = {"workers": None, "gpus_per_node": 2, "nodes": 2}
    for scheduler in ("slurm", "lsf"):
        text = machine.script(scheduler, launcher="mpiexec", **gpus)
        assert end(machine.start(text, LASTS=0, CODE=0)) == (0, "")
    starts = [line for line in machine.record() if line.startswith("started")]
    for line, hosts in zip(starts, ("n1:3,n2:2", "h1:3,h2:2"), strict=True):
        assert line.startswith(f"started mpiexec --bind-to none --host {hosts} -n 5 python -m")


@pytest.mark.parametrize(
    ("hosts", "places", "workers"), [(1, ["h1"] * 3, 2), (3, [*["h1"] * 3, *["h2", "h3"] * 2], 6)]
)
@pytest.mark.parametrize("launcher", ["mpiexec", "srun"])
def test_a_job_on_another_number_of_nodes_has_other_workers(
    machine: Machine, launcher: str, hosts: int, places: list[str], workers: int
) -> None:
    """Submitted again, or requeued; no node has more workers than GPUs."""
    names = "\n".join(f"h{number + 1}" for number in range(hosts))
    (machine.folder / "bin/scontrol").write_text(f"#!/bin/bash\necho '{names}'\n")
    srun = machine.folder / "bin/srun"
    srun.write_text(
        '#!/bin/bash\necho "started $*" >>"$RECORD"; cat "$SLURM_HOSTFILE" >"$RECORD.2"\n'
    )
    gpus = {"workers": None, "gpus_per_node": 2, "nodes": 2}
    job = machine.start(machine.script("slurm", launcher=launcher, **gpus), LASTS=0, CODE=0)
    assert end(job) == (0, f"Nodes asked for: 2, given: {hosts}. There are {workers} workers.\n")
    (line,) = (line for line in machine.record() if line.startswith("started"))
    assert f" -n {len(places)} " in line
    if launcher == "srun":
        assert sorted((machine.folder / "record.2").read_text().split()) == sorted(places)
    else:
        counted = ",".join(f"{host}:{places.count(host)}" for host in sorted(set(places)))
        assert f" --host {counted} " in line


@pytest.mark.parametrize("without", [("placement",), ("span",)])
def test_where_ranks_are_not_placed_the_launcher_does(machine: Machine, without) -> None:
    """Without span nobody knows how many slots each host gives."""
    text = machine.script("lsf", workers=4, nodes=2, without=without)
    assert end(machine.start(text, LASTS=0, CODE=0, LSB_MCPU_HOSTS="h1 4 h2 1")) == (0, "")
    assert machine.record()[0].startswith("started mpiexec --bind-to none -n 5 python -m")


def test_a_scheduler_that_names_no_nodes(machine: Machine) -> None:
    text = machine.script("lsf", workers=4, nodes=2)
    code, said = end(machine.start(text, LSB_MCPU_HOSTS=""))
    assert (code, machine.record()) == (2, [])
    assert "--without placement" in said


def test_srun_places_by_a_file_that_is_gone_afterwards(machine: Machine) -> None:
    srun = machine.folder / "bin/srun"
    srun.write_text('#!/bin/bash\ncat "$SLURM_HOSTFILE" >"$RECORD"\necho "$SLURM_HOSTFILE"\n')
    gpus = {"workers": None, "gpus_per_node": 2, "nodes": 2}
    job = machine.start(machine.script("slurm", **gpus), TMPDIR=machine.folder)
    file = job.communicate(timeout=LIMIT_S)[0].strip()
    assert machine.record() == ["n1", "n1", "n1", "n2", "n2"]
    assert Path(file).parents[1] == machine.folder
    assert not Path(file).parent.exists()


def test_jsrun_reads_the_resource_file(machine: Machine) -> None:
    jsrun = machine.folder / "bin/jsrun"
    jsrun.write_text('#!/bin/bash\n[ "$1" = --erf_input ] && cat "$2" >"$RECORD"\n')
    text = machine.script("lsf-jsrun", workers=None, gpus_per_node=1, nodes=2)
    assert end(machine.start(text)) == (0, "")
    assert machine.record()[-3:] == [
        "rank: 0: { host: 1; cpu: {0-3} }",
        "rank: 1: { host: 1; cpu: {0-3}; gpu: {0} }",
        "rank: 2: { host: 2; cpu: {0-3}; gpu: {0} }",
    ]


def test_a_job_without_a_launcher(machine: Machine) -> None:
    (machine.folder / "bin/mpiexec").rename(machine.folder / "bin/python")
    job = machine.start(machine.script("local", launcher="none"))
    machine.wait_for("ready")
    job.send_signal(signal.SIGINT)
    code, said = end(job)
    assert (code, said) == (75, "Stopped early and saved: run this script again to go on.\n")
    assert machine.record()[0].endswith(f"--out {machine.folder}/out --workers 2")
    assert machine.received() == ["USR1"]


def test_a_folder_that_is_gone_is_an_error(machine: Machine) -> None:
    (machine.folder / "work").rmdir()
    assert end(machine.start(machine.script("local")))[0] == 2
    assert machine.record() == []


BSUB = """#!{python}
import os, re, shlex, socket, subprocess, sys
KNOWN = "-J -o -e -n -R -W -r -q -P -m".split()
script = sys.stdin.read()
options = {{}}
for line in re.findall("^#BSUB (.*)", script, re.MULTILINE):
    name, *value = shlex.split(line)
    if name not in KNOWN:
        sys.exit(f"bsub: illegal option {{name}}. Job not submitted.")
    options[name] = " ".join(value)
slots = options["-n"]
job = dict(LSB_JOBID="41", LSB_JOBNAME=options["-J"], LSB_DJOB_NUMPROC=slots)
job |= dict(LSB_MCPU_HOSTS=f"{{socket.gethostname()}} {{slots}}", LS_SUBCWD=os.getcwd())
spooled = os.path.join(os.environ["SPOOL"], "1234567890.41")
open(spooled, "w").write(script)
os.chmod(spooled, 0o700)
with open(options["-o"].replace("%J", "41"), "a") as log:
    code = subprocess.call([spooled], env=os.environ | job, cwd="/", stdout=log, stderr=log)
print(f"Job <41> is submitted to default queue <normal>.")
sys.exit(code)
"""
"""A scheduler that is LSF-compatible and no more: it knows few options, runs a copy of the script
from elsewhere, and, unlike a real one, waits for the job and tells its exit code."""


def submitted(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """``job lsf`` with ``--submit``, where ``bsub`` is the pretended one."""
    config_file(folder)
    (folder / "bsub").write_text(BSUB.format(python=sys.executable))
    (folder / "bsub").chmod(0o755)
    command = [sys.executable, "-m", "mpinas", "job", "lsf", "search.yaml", "--submit"]
    path = f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [*command, *arguments],
        env={**os.environ, "PATH": path, "SPOOL": str(folder), **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_a_compatible_scheduler_runs_a_search(tmp_path: Path) -> None:
    """As docs/clusters.md has it: with the options that such a scheduler does not know left out."""
    done = submitted(
        tmp_path,
        *("--workers", "2", "--walltime", "120", "--without", "gpu,requeue,warning"),
        *("--set", "tuner.generations=1", "--launcher", f"{Path(sys.prefix) / 'bin/mpiexec'}"),
    )
    log = (tmp_path / "small-41.log").read_text()
    assert done.returncode == 0, (done.stderr, log)
    assert "Job <41> is submitted" in done.stdout
    assert "done: " in log
    assert (tmp_path / "runs/small/checkpoints/g000.h5").exists()


def test_what_a_compatible_scheduler_does_not_know_is_told(tmp_path: Path) -> None:
    done = submitted(tmp_path, "--workers", "2", "--walltime", "120")
    assert done.returncode == 1
    assert "bsub: illegal option -wa" in done.stderr
