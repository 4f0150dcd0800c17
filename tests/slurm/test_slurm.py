"""Jobs on a real Slurm: whatever it does to them, the search ends as if nothing had happened.

The scripts are those that ``mpinas job slurm`` prints. A run is compared with one that was never
interrupted and had no launcher: which trials there were, and how fit each was.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpi_launcher
import pytest
from cluster import Cluster, ClusterFault, Job
from searching import config_file, found

from mpinas.run_directory import RunDirectory

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
LIMIT_S = 900.0
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")

Trial = tuple[str, str, float | None]


class Submission:
    """A run of a configuration as a job of the cluster, on both nodes unless told otherwise."""

    def __init__(self, cluster: Cluster, folder: Path, config: Path, *sets: str) -> None:
        self._cluster = cluster
        self._folder = folder
        self._config = config
        self._sets = sets
        self._scripts = 0
        self.out = folder / "run"
        self.log = folder / "job.log"
        self.job_id = ""

    def script(
        self, *more: str, nodes: int = 2, workers: int | None = 4, walltime: str = "00:30:00"
    ) -> Path:
        """The batch script as the program prints it, with more of its options."""
        options = [f"--out={self.out}", f"--nodes={nodes}", *more]
        options += [] if workers is None else [f"--workers={workers}"]
        options += [f"--walltime={walltime}", *(f"--set={one}" for one in self._sets)]
        printed = mpi_launcher.run_alone(
            ["-m", "mpinas", "job", "slurm", str(self._config), *options]
        )
        assert printed.returncode == 0, printed.stderr
        self._scripts += 1
        file = self._folder / f"job{self._scripts}.sh"
        file.write_text(printed.stdout)
        return file

    def submit(self, *more: str, **options: Any) -> None:
        """Prints a batch script and submits it."""
        self.submit_script(self.script(*more, **options))

    def submit_script(self, script: Path, *options: str) -> None:
        self.job_id = self._cluster.submit(script, {}, [f"--output={self.log}", *options])

    def cancel(self) -> None:
        """For good; the state of the search is saved."""
        self._cluster.command("scancel", self.job_id)
        self.wait_for_end()

    def wait_for_trials(self, count: int) -> list[Trial]:
        """Waits until so many have ended; what they came to."""
        deadline = time.monotonic() + LIMIT_S
        while len(found(RunDirectory(self.out))) < count:
            job = self._cluster.job(self.job_id)
            assert job.state not in ENDED, f"{job}\n{self.said()}"
            assert time.monotonic() < deadline, f"{job}\n{self.said()}"
            time.sleep(0.1)
        return found(RunDirectory(self.out))

    def wait_until(self, until: Callable[[Job], bool]) -> Job:
        """Waits until the job is as wanted; fails as soon as it has ended without."""
        try:
            job = self._cluster.wait_for(
                self.job_id, lambda now: until(now) or now.state in ENDED, LIMIT_S
            )
        except ClusterFault as error:
            raise AssertionError(f"{error}\n{self.said()}") from error
        assert until(job), f"{job}\n{self.said()}"
        return job

    def wait_for_end(self) -> Job:
        return self.wait_until(lambda job: job.state in ENDED)

    def said(self) -> str:
        """What the job has written so far, requeued ones behind each other."""
        return self.log.read_text() if self.log.exists() else "(no output)"

    def shown(self) -> dict[str, Any]:
        run = mpi_launcher.run_alone(["-m", "mpinas", "show", str(self.out), "--json"])
        assert run.returncode == 0, run.stderr
        view: dict[str, Any] = json.loads(run.stdout)
        return view

    def check_requeued_once(self, before: list[Trial], never: list[Trial]) -> None:
        """The job stops with 75, starts once more and ends; no trial is lost or run twice."""
        job = self.wait_for_end()
        assert (job.state, job.restarts, job.exit_code) == ("COMPLETED", 1, "0:0"), self.said()
        self.check_same(before, never)

    def check_same(self, before: list[Trial], never: list[Trial]) -> None:
        """The run stopped once with 75 and came to what an uninterrupted one came to.

        Args:
            before: trials that had ended when it was stopped.
            never: of the run that was never interrupted.
        """
        said = self.said()
        assert said.count("stopped early and saved") == 1, said
        assert "exit code 75" in said, said
        assert "Traceback" not in said, said
        assert found(RunDirectory(self.out)) == never
        assert set(before) <= set(never)
        lines = [
            line
            for journal in RunDirectory(self.out).journals()
            for line in journal.read_text().splitlines()
        ]
        assert len(lines) == len(never), "a recorded trial was run again"
        assert self.shown()["status"] == "done"


def alone(folder: Path, config: Path, *sets: str) -> list[Trial]:
    """The same search, without a launcher and never interrupted."""
    options = ["--workers", "2", *(f"--set={one}" for one in sets)]
    program = ["-m", "mpinas", "run", str(config), "--out", str(folder / "never"), *options]
    run = mpi_launcher.run_alone(program, limit_s=LIMIT_S)
    assert run.returncode == 0, run.stdout + run.stderr
    return found(RunDirectory(folder / "never"))


SECONDS = "trial.fake.seconds={mean: 0.5, sigma: 0.3}"


@pytest.fixture(scope="module")
def never(tmp_path_factory: pytest.TempPathFactory) -> list[Trial]:
    folder = tmp_path_factory.mktemp("never")
    trials = alone(folder, config_file(folder))
    assert len(trials) == 18
    return trials


@pytest.fixture
def fake(cluster: Cluster, tmp_path: Path) -> Submission:
    """The small fake search, 18 trials of about half a second, not submitted yet."""
    return Submission(cluster, tmp_path, config_file(tmp_path), SECONDS)


def test_a_walltime_stops_a_job_warned_or_not_and_it_goes_on_when_requeued(
    cluster: Cluster, tmp_path: Path
) -> None:
    # The warning comes after one minute, and Slurm looks at its clock twice a minute: however fast
    # the machine is, no search must be done in the first minute and a half. Eight trials one after
    # the other are the least that it takes.
    longer = ("tuner.generations=4", "trial.fake.seconds=13.0")
    jobs = []
    for name in ("warned", "not_warned"):
        (tmp_path / name).mkdir()
        jobs.append(Submission(cluster, tmp_path / name, config_file(tmp_path), *longer))
    warned, not_warned = jobs
    warned.submit(walltime="00:02:00")
    warned.wait_for_trials(1)  # two MPI jobs that begin in the same moment on one host may collide
    not_warned.submit("--without=warning")
    not_warned.wait_for_trials(3)
    # The program does not know of it, as where a machine has lost an hour.
    cluster.command("scontrol", "update", f"JobId={not_warned.job_id}", "EndTime=now")
    before = give_time_when_requeued(cluster, jobs)
    assert "TIME LIMIT" not in warned.said(), "the signal was no warning"
    assert "TIME LIMIT" in not_warned.said(), "there was a warning"
    never = alone(tmp_path, config_file(tmp_path), "tuner.generations=4")
    for job in jobs:
        assert len(before[job]) < len(never) == 24
        job.check_requeued_once(before[job], never)


def give_time_when_requeued(
    cluster: Cluster, jobs: list[Submission]
) -> dict[Submission, list[Trial]]:
    """Gives each job half an hour before it starts again; what had ended by then."""
    before: dict[Submission, list[Trial]] = {}
    deadline = time.monotonic() + LIMIT_S
    while len(before) < len(jobs):
        for job in jobs:
            now = cluster.job(job.job_id)
            assert now.state not in ENDED, f"{now}\n{job.said()}"
            if job not in before and now.restarts == 1:
                cluster.command("scontrol", "update", f"JobId={job.job_id}", "TimeLimit=30")
                before[job] = found(RunDirectory(job.out))
        assert time.monotonic() < deadline, "not requeued"
        time.sleep(0.2)
    return before


def test_a_term_of_the_user_stops_the_job_and_it_is_requeued(
    cluster: Cluster, fake: Submission, never: list[Trial]
) -> None:
    fake.submit()
    before = fake.wait_for_trials(5)
    cluster.command("scancel", "--signal=TERM", fake.job_id)
    fake.check_requeued_once(before, never)
    ranks = {trial["rank"] for trial in fake.shown()["trials"]} - {None}
    assert ranks == {1, 2, 3, 4}, "the ranks of both nodes"


def test_a_requeue_in_the_middle_loses_nothing(
    cluster: Cluster, fake: Submission, never: list[Trial]
) -> None:
    fake.submit()
    before = fake.wait_for_trials(5)
    cluster.command("scontrol", "requeue", fake.job_id)
    fake.check_requeued_once(before, never)


def test_a_cancelled_job_stays_cancelled_and_goes_on_with_half_the_workers(
    cluster: Cluster, fake: Submission, never: list[Trial]
) -> None:
    fake.submit(workers=4)
    before = fake.wait_for_trials(5)
    cluster.command("scancel", fake.job_id)
    cancelled = fake.wait_for_end()
    assert (cancelled.state, cancelled.restarts) == ("CANCELLED", 0), fake.said()
    fake.submit(nodes=1, workers=2)
    finished = fake.wait_for_end()
    assert (finished.state, finished.nodes) == ("COMPLETED", 1), fake.said()
    fake.check_same(before, never)


@pytest.mark.parametrize("launcher", ["srun --mpi=pmi2", "mpiexec"])
def test_the_same_script_on_one_of_two_nodes_has_the_workers_of_one(
    fake: Submission, never: list[Trial], launcher: str
) -> None:
    """Workers are placed as if there were GPUs, of which these nodes have none."""
    places = ("--gpus-per-node=2", "--without=gpu", f"--launcher={launcher}")
    script = fake.script(*places, workers=None)
    fake.submit_script(script)
    before = fake.wait_for_trials(2)
    fake.cancel()
    fake.submit_script(script, "--nodes=1")
    finished = fake.wait_for_end()
    assert (finished.state, finished.nodes) == ("COMPLETED", 1), fake.said()
    assert "Nodes asked for: 2, given: 1. There are 2 workers." in fake.said()
    assert found(RunDirectory(fake.out)) == never
    assert set(before) <= set(never)


def test_a_killed_rank_ends_the_job_which_is_requeued_and_nothing_is_lost(
    cluster: Cluster, fake: Submission, never: list[Trial]
) -> None:
    fake.submit("--launcher=srun --mpi=pmi2 --wait=5")
    before = fake.wait_for_trials(5)
    cluster.rank(2).kill()
    ended = fake.wait_for_end()
    assert (ended.state, ended.restarts) == ("COMPLETED", 1), fake.said()
    assert set(before) <= set(never) == set(found(RunDirectory(fake.out)))


def test_srun_without_the_mpi_of_mpi4py_is_refused_with_the_cure_and_not_requeued(
    fake: Submission,
) -> None:
    script = fake.script()
    script.write_text(script.read_text().replace("--mpi=pmi2", "--mpi=none"))
    fake.submit_script(script)
    job = fake.wait_for_end()
    assert (job.state, job.restarts, job.exit_code) == ("FAILED", 0, "2:0"), fake.said()
    assert "srun --mpi=pmi2" in fake.said()
    assert not fake.out.exists()


@pytest.mark.keras
def test_the_quickstart_runs_over_both_nodes_is_stopped_and_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    job = Submission(cluster, tmp_path, QUICKSTART)
    job.submit(workers=2)
    before = job.wait_for_trials(4)
    assert cluster.job(job.job_id).nodes == 2
    cluster.command("scancel", "--signal=USR1", job.job_id)
    job.wait_until(lambda now: now.restarts == 1)
    never = alone(tmp_path, QUICKSTART)
    assert len(never) == 24
    job.check_requeued_once(before, never)
