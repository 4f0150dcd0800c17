"""What the doctor makes of faked facts, and of children that hang or die."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from data_files import random_arrays, save_npz
from invoking import invoke
from searching import COMPARED, FAKE_SEARCH, config_file, with_key

from mpinas.cli.doctor import _wish
from mpinas.dispatch import ending
from mpinas.dispatch.devices import Binding, Share
from mpinas.dispatch.placement import Place
from mpinas.dispatch.post import Hello, World
from mpinas.dispatch.settings import WorkerSettings
from mpinas.doctor import children
from mpinas.doctor.children import Told
from mpinas.doctor.clock_checks import walltime_finding
from mpinas.doctor.device_checks import gpu_findings, places_of
from mpinas.doctor.examination import Answer, Order, Report, _device_of
from mpinas.doctor.facts import LONG_MESSAGE, Card, Facts, gather, parse_cards
from mpinas.doctor.findings import Finding, Level, fine, is_wrong, wrong
from mpinas.doctor.storage_checks import kind_of, sight_findings, storage_findings
from mpinas.doctor.tensorflow_checks import gpus_of, tensorflow_findings
from mpinas.doctor.world_checks import (
    Launch,
    launch_findings,
    rank_findings,
    silence_findings,
    skew_findings,
)
from mpinas.records import from_json, to_json
from mpinas.report.doctor_view import finding_lines, number_ranges, to_json_view
from mpinas.trial.visible_devices import VISIBLE
from mpinas.walltime import ScheduledEnd

OPEN_MPI = "Open MPI v5.0.11, package: Open MPI user@localhost Distribution, ident: 5.0.11\0"
MPICH = "MPICH Version:      5.0.2\nMPICH configure:    --with-pm=hydra:gforker\n"
SETTINGS = WorkerSettings(runner="keras")
VERSIONS = {"tensorflow": "2.21.0", "keras": "3.15.1"}
STARTED = {"stage": "started"}
IMPORTED = {"stage": "imported", "seconds": 5.0, "versions": VERSIONS, "gpu_build": True}
ENDED = {"stage": "ended", "code": 0}


def facts_of(
    workers: int = 2,
    visible: Sequence[str | None] | str | None = None,
    environment: Mapping[str, str] | None = None,
    processors: Sequence[Sequence[int]] | None = None,
    cores: int | None = None,
    gpus_present: int = 0,
    **more: Any,
) -> dict[int, Facts]:
    """Of the workers of one node, from rank 1 on."""
    lists = [visible] * workers if visible is None or isinstance(visible, str) else visible
    inherited = processors or [range(16)] * workers
    found: dict[int, Facts] = {}
    for index in range(workers):
        own = {} if lists[index] is None else {"CUDA_VISIBLE_DEVICES": str(lists[index])}
        hello = Hello(
            host="n1",
            process_id=index,
            node=1,
            local_rank=index,
            local_size=workers,
            environment={**(environment or {}), **own},
            gpus_present=gpus_present,
            processors=tuple(inherited[index]),
            cores=len(inherited[index]) if cores is None else cores,
            processors_online=64,
        )
        facts = {"version": "1", "python": "3.12.0", "tensorflow_loaded": False, **more}
        found[index + 1] = Facts(
            rank=index + 1, hello=hello, **{"time_s": 100.0, "service_there": None, **facts}
        )
    return found


def device_findings(
    facts: Mapping[int, Facts], settings: WorkerSettings = SETTINGS
) -> list[Finding]:
    places, findings = places_of(facts, settings)
    return [*findings, *gpu_findings(facts, places, settings)]


def not_fine(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.level is not Level.OK]


def launched(environment: Mapping[str, str], library: str = OPEN_MPI, **more: Any) -> list[Finding]:
    return list(launch_findings(Launch(environment=environment, library=library, **more)))


def refused_family() -> list[Finding]:
    """An MPICH under Open MPI's mpiexec."""
    from mpinas.dispatch.launch import check_family
    from mpinas.errors import LaunchFault

    environment = {"OMPI_COMM_WORLD_SIZE": "4"}
    with pytest.raises(LaunchFault) as error:
        check_family(environment, MPICH)
    return launched(environment, MPICH, error=str(error.value))


def card(mode: str = "Default", used_mb: float = 0.0) -> tuple[Card, ...]:
    return (Card(index="0", name="P100", memory_mb=16000.0, used_mb=used_mb, compute_mode=mode),)


def exclusive_card() -> list[Finding]:
    facts = facts_of(2, "0", cards=card("Exclusive_Process"))
    return device_findings(facts, replace(SETTINGS, workers_per_gpu=2))


def told(*lines: Mapping[str, Any], **more: Any) -> Told:
    return Told(lines=(*lines,), **more)


def on_tensorflow(*lines: Mapping[str, Any], gpus: int = 0, **more: Any) -> list[Finding]:
    return list(tensorflow_findings("n1", told(*lines, **more), gpus))


MISTAKES = [
    pytest.param(
        lambda: device_findings(facts_of(4, "0")),
        Level.WRONG,
        "raise run.workers_per_gpu",
        id="1-all-ranks-use-gpu-0",
    ),
    pytest.param(
        lambda: device_findings(facts_of(3, ["0", "0", "1"])),
        Level.WRONG,
        "set run.gpu_binding=env",
        id="2-launcher-has-narrowed-visibility",
    ),
    pytest.param(
        lambda: device_findings(
            facts_of(4, "0", {"CUDA_MPS_PIPE_DIRECTORY": "/tmp/mps"}, service_there=False)
        ),
        Level.WRONG,
        "nvidia-cuda-mps-control -d",
        id="3-multi-process-service-not-there",
    ),
    pytest.param(
        exclusive_card, Level.WRONG, "run.workers_per_gpu=1", id="3-exclusive-mode-and-two-workers"
    ),
    pytest.param(
        lambda: device_findings(facts_of(1, "0", cards=card(used_mb=9000.0))),
        Level.WARN,
        "nvidia-smi",
        id="4-gpu-memory-is-taken",
    ),
    pytest.param(
        lambda: list(rank_findings(facts_of(2, tensorflow_loaded=True), [1, 2], 60)),
        Level.WRONG,
        "sitecustomize",
        id="4-an-mpi-process-holds-gpu-contexts",
    ),
    pytest.param(
        lambda: launched({"SLURM_STEP_NUM_TASKS": "4"}),
        Level.WRONG,
        "Use srun --mpi=pmix (Open MPI) or srun --mpi=pmi2 (MPICH)",
        id="5-singletons-under-srun",
    ),
    pytest.param(
        lambda: launched({"PMI_SIZE": "4"}),
        Level.WRONG,
        "Use the mpiexec of the MPI that mpi4py has loaded",
        id="6-open-mpi-under-another-mpiexec",
    ),
    pytest.param(
        refused_family,
        Level.WRONG,
        "Use the mpiexec of the MPI that mpi4py has loaded",
        id="6-mpich-under-open-mpis-mpiexec",
    ),
    pytest.param(
        lambda: launched({}, mpiexec="/usr/bin/mpiexec", own_mpiexec="/env/bin/mpiexec"),
        Level.WARN,
        "Start jobs with /env/bin/mpiexec",
        id="6-another-mpiexec-on-the-path",
    ),
    pytest.param(
        lambda: list(silence_findings([2], 60)),
        Level.WRONG,
        "last words",
        id="7-a-rank-has-died-or-hangs",
    ),
    pytest.param(
        lambda: list(rank_findings(facts_of(2, long_message="mpinas"), [1, 2], 60)),
        Level.WRONG,
        "FI_PROVIDER=tcp",
        id="9-the-fabric-damages-messages",
    ),
    pytest.param(
        lambda: on_tensorflow(ending="signal=SIGSEGV"),
        Level.WRONG,
        "RDMAV_FORK_SAFE=1",
        id="10-no-child-after-mpi-init",
    ),
    pytest.param(
        lambda: on_tensorflow(STARTED, IMPORTED, ending=f"{children.LATE} 180 s")[1:],
        Level.WRONG,
        "starts threads while it is loaded",
        id="11-a-fork-after-tensorflow-hangs",
    ),
    pytest.param(
        lambda: device_findings(facts_of(2, processors=[(0,), (1,)])),
        Level.WARN,
        "--bind-to none",
        id="26-every-rank-is-bound-to-one-core",
    ),
    pytest.param(
        lambda: device_findings(
            facts_of(4, processors=[range(4)] * 4), replace(SETTINGS, threads=4)
        ),
        Level.WARN,
        "--cpus-per-task",
        id="26-more-threads-than-processors",
    ),
]


@pytest.mark.parametrize(("findings", "level", "cure"), MISTAKES)
def test_a_launcher_mistake_is_one_line_with_the_cure(
    findings: Any, level: Level, cure: str
) -> None:
    (finding,) = not_fine(findings())
    assert finding.level is level
    assert cure in finding.message
    assert "\n" not in finding.message


def test_workers_that_do_not_end_are_one_line_with_the_cure(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mistake 8: MPI's orderly end would wait for ever, so the job is aborted and says so."""
    codes: list[int] = []

    class Communicator:
        @staticmethod
        def Abort(code: int) -> None:
            codes.append(code)

    class Module:
        COMM_WORLD = Communicator

    monkeypatch.setattr(ending, "OUTPUT_S", 0.0)
    world = World(
        mpi=Module,
        rank=0,
        size=3,
        node=0,
        local_rank=0,
        local_size=1,
    )
    with pytest.raises(SystemExit):
        ending.leave(world, (2,), 75)
    assert codes == [75]
    (record,) = caplog.records
    assert "ranks=[2]" in record.message
    assert "raise run.grace_s" in record.message
    assert "\n" not in record.message


def test_a_healthy_job_has_nothing_to_be_mended() -> None:
    facts = facts_of(2, "0,1", cards=card(), gpus_present=2)
    findings = [
        *launched({"OMPI_COMM_WORLD_SIZE": "3"}, size=3),
        *rank_findings(facts, [1, 2], 60),
        *device_findings(facts),
        *skew_findings(facts),
    ]
    assert not_fine(findings) == []
    lines = [finding.message for finding in findings]
    assert "MPI: Open MPI v5.0.11" in lines
    assert "world: 3 processes, started by mpiexec of Open MPI" in lines
    assert "devices: 2 of 2 workers on a GPU" in lines


@pytest.mark.parametrize(
    ("environment", "size"), [({"SLURM_NTASKS": "8"}, 1), ({"PMI_SIZE": "8"}, 4)]
)
def test_fewer_processes_than_promised_are_told_of(environment: dict[str, str], size: int) -> None:
    (finding,) = not_fine(launched(environment, size=size))
    assert (finding.check, finding.level) == ("world", Level.WARN)
    assert f"=8, size of the world={size}" in finding.message


@pytest.mark.parametrize(
    ("room", "size", "words"),
    [
        ({"SLURM_NTASKS": "8", "SLURM_JOB_NUM_NODES": "2"}, 6, "fewer processes than the job has"),
        ({"SLURM_NTASKS": "8", "SLURM_JOB_NUM_NODES": "2"}, 7, ""),
        ({"SLURM_NTASKS": "8"}, 7, "fewer processes than the job has room for"),
        ({"SLURM_NTASKS": "8"}, 8, ""),
        ({"SLURM_NTASKS": "8"}, 9, "more processes than the job has room for"),
        ({"LSB_DJOB_NUMPROC": "64"}, 9, ""),
        ({"LSB_DJOB_NUMPROC": "8"}, 9, "LSB_DJOB_NUMPROC=8, size of the world=9"),
    ],
)
def test_what_a_launcher_started_is_held_against_the_room_of_the_job(
    room: dict[str, str], size: int, words: str
) -> None:
    """The launcher and MPI agree; both may be about another number than the scheduler."""
    findings = not_fine(launched({"PMI_SIZE": str(size), **room}, size=size))
    assert [finding.level for finding in findings] == [Level.WARN] * bool(words)
    assert words in "".join(finding.message for finding in findings)


def test_no_mpi_library_is_told_of_and_nothing_more() -> None:
    (finding,) = launched({}, library="", error="ImportError: no libmpi.so")
    assert finding.level is Level.WRONG
    assert "error=ImportError: no libmpi.so" in finding.message


def test_different_programs_on_different_nodes_are_wrong() -> None:
    facts = facts_of(2)
    facts[2] = replace(facts[2], version="2")
    (finding,) = not_fine(rank_findings(facts, [1, 2], 60))
    assert finding.level is Level.WRONG
    assert "ranks=[2]" in finding.message


def test_silent_ranks_are_named() -> None:
    (finding,) = not_fine(rank_findings(facts_of(2), [1, 2, 3], 60))
    assert "ranks=[3]" in finding.message


def test_a_clock_of_another_host_that_differs_is_told_of() -> None:
    facts = facts_of(3)
    away = replace(facts[2].hello, host="n2")
    facts = {0: facts[1], 1: replace(facts[2], hello=away, time_s=200.0), 2: facts[3]}
    (finding,) = skew_findings(facts)
    assert finding.level is Level.WARN
    assert "n2" in finding.message
    assert "difference=100 s" in finding.message


def test_gpus_that_no_worker_sees_are_told_of_unless_it_is_meant() -> None:
    facts = facts_of(2, "", gpus_present=4)
    (finding,) = not_fine(device_findings(facts))
    assert finding.level is Level.WARN
    assert "run.gpus=0" in finding.message
    assert not_fine(device_findings(facts, replace(SETTINGS, gpus=0))) == []


def test_the_multi_process_service_is_told_of_and_left_alone() -> None:
    facts = facts_of(4, "0", {"CUDA_MPS_PIPE_DIRECTORY": "/tmp/mps"}, service_there=True)
    findings = device_findings(facts)
    assert not_fine(findings) == []
    assert any("multi-process service" in finding.message for finding in findings)


def test_a_card_that_admits_nobody_is_wrong() -> None:
    (finding,) = not_fine(device_findings(facts_of(1, "0", cards=card("Prohibited"))))
    assert finding.level is Level.WRONG


def test_cards_are_read_off_the_drivers_table() -> None:
    text = "0, Tesla P100-SXM2-16GB, 16280, 3, Default\n1, A100 MIG, [N/A], [N/A], Default\nodd\n"
    first, second = parse_cards(text)
    assert (first.name, first.memory_mb, first.used_mb) == ("Tesla P100-SXM2-16GB", 16280.0, 3.0)
    assert (second.memory_mb, second.compute_mode) == (0.0, "Default")


def test_facts_travel() -> None:
    one = gather({}, rank=3, node=1, local_rank=1, local_size=2)
    assert one.long_message == LONG_MESSAGE
    assert from_json(Facts, to_json(one)) == one
    told_one = told(STARTED, {**IMPORTED, "seconds": 1.5}, ending="signal=SIGSEGV")
    for record in (
        Order(environment={"A": "b"}, threads=1, limit_s=3.0, look_for=""),
        Answer(told=told_one, sees=None),
    ):
        assert from_json(type(record), to_json(record)) == record


CONVOLUTIONS = [
    {"stage": "trying", "device": "/device:CPU:0"},
    {"stage": "convolution", "device": "/device:CPU:0", "seconds": 0.1, "error": ""},
    {"stage": "trying", "device": "/device:GPU:0"},
    {"stage": "convolution", "device": "/device:GPU:0", "seconds": 0.1, "error": ""},
]
DEVICES = {"stage": "devices", "names": ["/device:CPU:0", "/device:GPU:0"]}
NO_KERNEL = {**CONVOLUTIONS[3], "error": "InternalError: No DNN in stream executor"}


def test_a_healthy_tensorflow_has_a_line_a_device() -> None:
    findings = on_tensorflow(STARTED, IMPORTED, DEVICES, *CONVOLUTIONS, ENDED, gpus=1)
    assert not_fine(findings) == []
    assert [finding.message for finding in findings] == [
        "TensorFlow: TensorFlow 2.21.0, Keras 3.15.1 loads in 5.0 s on n1",
        "TensorFlow: a convolution on CPU:0 of n1 in 0.1 s",
        "TensorFlow: a convolution on GPU:0 of n1 in 0.1 s",
    ]


BROKEN = {"stage": "broken", "error": "RuntimeError: no context"}
SICK = [
    pytest.param([], {"ending": "signal=SIGKILL"}, "no child process", id="no-child"),
    pytest.param(
        [STARTED],
        {"ending": "exit code=1", "last_words": "ModuleNotFoundError: no tensorflow"},
        "last words='ModuleNotFoundError: no tensorflow'",
        id="no-tensorflow",
    ),
    pytest.param([STARTED], {"ending": f"{children.LATE} 9 s"}, "--time-limit", id="slow-import"),
    pytest.param([STARTED, IMPORTED], {"ending": "signal=SIGABRT"}, "no device", id="fork-dies"),
    pytest.param(
        [STARTED, IMPORTED, BROKEN, {"stage": "ended", "code": 1}],
        {},
        "error=RuntimeError: no context",
        id="no-devices",
    ),
    pytest.param(
        [STARTED, IMPORTED, DEVICES, CONVOLUTIONS[0], NO_KERNEL, ENDED],
        {},
        "mpinas[gpu-pascal]",
        id="no-kernel",
    ),
    pytest.param(
        [STARTED, IMPORTED, DEVICES, *CONVOLUTIONS[:3], {"stage": "ended", "code": -11}],
        {},
        "tried GPU:0",
        id="crash-on-the-gpu",
    ),
    pytest.param(
        [STARTED, IMPORTED, DEVICES, *CONVOLUTIONS[:3]],
        {"ending": f"{children.LATE} 9 s"},
        "tried GPU:0",
        id="hangs-on-the-gpu",
    ),
    pytest.param(
        [STARTED, {**IMPORTED, "gpu_build": False}, {**DEVICES, "names": []}, ENDED],
        {},
        "seen=0, expected=1, build=without CUDA",
        id="sees-no-gpu",
    ),
    pytest.param(
        [
            STARTED,
            {**IMPORTED, "versions": {**VERSIONS, "keras": "3.4.1"}},
            DEVICES,
            ENDED,
        ],
        {},
        "keras>=3.5",
        id="old-keras",
    ),
]


@pytest.mark.parametrize(("lines", "more", "words"), SICK)
def test_a_sick_tensorflow_is_one_line_with_the_cure(
    lines: list[Mapping[str, Any]], more: Mapping[str, str], words: str
) -> None:
    (finding,) = not_fine(on_tensorflow(*lines, gpus=1, **more))
    assert finding.level is Level.WRONG
    assert words in finding.message


def test_a_slow_import_is_told_of() -> None:
    (finding,) = not_fine(on_tensorflow(STARTED, {**IMPORTED, "seconds": 90.0}, DEVICES, ENDED))
    assert finding.level is Level.WARN


def test_gpus_of_a_device() -> None:
    devices = ("cpu", "gpu:0", "gpu:GPU-5d0a", "gpu:shared", "gpu:0,1,2")
    assert [gpus_of(device) for device in devices] == [0, 1, 1, 1, 3]


FOLDER = {
    "stage": "folder",
    "path": "/runs",
    "folder": "/runs/.x",
    "kind": "lustre",
    "free_mb": 5e6,
    "free_files": 10**6,
}
WRITTEN = [
    {"stage": stage, "seconds": 0.1, "error": ""} for stage in ("write", "unlocked", "locked")
]


def stored(*lines: Mapping[str, Any], **more: Any) -> list[Finding]:
    return list(storage_findings("/runs/a", told(*lines, **more)))


def test_a_healthy_place_for_runs() -> None:
    assert not_fine(stored(STARTED, FOLDER, *WRITTEN)) == []


STORAGE = [
    pytest.param(
        [{"stage": "refused", "path": "/runs", "error": "OSError: Read-only file system"}],
        Level.WRONG,
        "Read-only file system",
        id="read-only",
    ),
    pytest.param([], Level.WRONG, "/runs/a", id="no-answer-at-all"),
    pytest.param([FOLDER], Level.WRONG, "did not come to its end", id="hangs-while-writing"),
    pytest.param([{**FOLDER, "free_mb": 500.0}, *WRITTEN], Level.WARN, "free=500 MB", id="little"),
    pytest.param([{**FOLDER, "free_mb": 5.0}, *WRITTEN], Level.WRONG, "free=5 MB", id="full"),
    pytest.param([{**FOLDER, "free_files": 0}, *WRITTEN], Level.WRONG, "0 files", id="no-inodes"),
    pytest.param(
        [FOLDER, {**WRITTEN[0], "error": "OSError: [Errno 122] Disk quota exceeded"}],
        Level.WRONG,
        "Disk quota exceeded",
        id="quota",
    ),
    pytest.param(
        [FOLDER, {**WRITTEN[0], "seconds": 9.0}, *WRITTEN[1:]], Level.WARN, "slow", id="slow"
    ),
    pytest.param(
        [FOLDER, *WRITTEN[:2], {**WRITTEN[2], "error": "BlockingIOError: errno = 37"}],
        Level.WARN,
        "HDF5_USE_FILE_LOCKING=FALSE",
        id="no-locks",
    ),
    pytest.param([FOLDER, *WRITTEN[:2]], Level.WARN, "had not ended", id="hangs-while-locking"),
]


@pytest.mark.parametrize(("lines", "level", "words"), STORAGE)
def test_a_sick_place_for_runs_is_one_line_with_the_cure(
    lines: list[Mapping[str, Any]], level: Level, words: str
) -> None:
    (finding,) = not_fine(stored(*lines, ending=f"{children.LATE} 9 s"))
    assert finding.level is level
    assert words in finding.message


def test_the_kind_of_a_file_system_is_that_of_its_nearest_mount() -> None:
    mounts = "/dev/a / ext4 rw 0 0\nserver:/x /scratch lustre rw 0 0\nodd\n"
    assert kind_of(Path("/scratch/me/runs"), mounts) == "lustre"
    assert kind_of(Path("/scratchy"), mounts) == "ext4"
    assert kind_of(Path("/scratchy"), "") == "unknown"


def test_nodes_that_do_not_see_the_run_directory_are_named() -> None:
    assert list(sight_findings({"n1": True, "n2": None})) == []
    (finding,) = sight_findings({"n1": True, "n2": False, "n3": False})
    assert finding.level is Level.WRONG
    assert "hosts=n2, n3" in finding.message


@pytest.mark.parametrize(
    ("end", "in_a_job", "level", "words"),
    [
        (None, False, Level.OK, "no scheduler"),
        (None, True, Level.WARN, "--walltime"),
        (ScheduledEnd(end_s=float("inf"), source="squeue"), True, Level.OK, "no limit"),
        (ScheduledEnd(end_s=8300.0, source="squeue"), True, Level.OK, "2 h 02 min"),
        (ScheduledEnd(end_s=1030.0, source="squeue"), True, Level.WARN, "only 30 s"),
        (
            ScheduledEnd(end_s=900.0, source="SLURM_JOB_END_TIME"),
            True,
            Level.WRONG,
            "SLURM_JOB_END_TIME=1970-01-01 00:15:00 UTC",
        ),
    ],
)
def test_the_end_of_the_job(
    end: ScheduledEnd | None, in_a_job: bool, level: Level, words: str
) -> None:
    finding = walltime_finding(end, 1000.0, in_a_job=in_a_job)
    assert finding.level is level
    assert words in finding.message


def test_findings_are_one_line_each() -> None:
    finding = wrong("MPI", "it says\n  much", "error=a\nb", cure="Do\nthis")
    assert finding.message == "MPI: it says much. Received: error=a b. Do this."
    assert is_wrong([fine("a", "b"), finding])
    assert not is_wrong([fine("a", "b")])


def test_numbers_in_a_row_are_a_range() -> None:
    assert number_ranges([8, 0, 1, 2, 3, 5, 6]) == "0-3,5-6,8"
    assert number_ranges([]) == ""


def test_the_report_shows_levels_and_places() -> None:
    facts = facts_of(2, "4,5")
    places, findings = places_of(facts, SETTINGS)
    launch = Launch(environment={}, library=OPEN_MPI)
    bad = wrong("MPI", "no", cure="Do")
    report = Report(findings=(*findings, bad), facts=facts, places=places, launch=launch)
    assert [*finding_lines(report)][-1] == "wrong MPI: no. Do."
    view = to_json_view(report)
    assert view["ok"] is False
    assert [(row["rank"], row["device"]) for row in view["ranks"]] == [(1, "gpu:4"), (2, "gpu:5")]
    assert [row["processors"] for row in view["ranks"]] == [[*range(8)], [*range(8, 16)]]
    assert json.loads(json.dumps(view))["findings"][-1]["level"] == "wrong"


def test_each_gpu_of_a_launcher_that_calls_them_all_alike_is_tried() -> None:
    """Under ``--gpus-per-task`` every worker's GPU is its number 0."""
    own = Place(binding=Binding(device="gpu:0"), share=Share(processors=(0,)))
    assert len({_device_of(rank, own) for rank in range(1, 5)}) == 4
    given = replace(own, binding=Binding(device="gpu:0", environment={VISIBLE: "0"}))
    assert len({_device_of(rank, given) for rank in range(1, 5)}) == 1


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        ({"name": "cifar10"}, "there are no data"),
        ({"name": "cifar10", "path": "nowhere.tar.gz"}, "there is no such file or folder"),
        ({"name": "images", "path": "nowhere"}, "there is no such file or folder"),
        ({"name": "python", "path": "nowhere.py:load"}, "there is no such file or folder"),
        ({"name": "images", "path": "."}, ""),
        ({"name": "digits"}, ""),
    ],
)
def test_data_that_the_run_would_miss_are_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: dict[str, str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "search.yaml").write_text(with_key(FAKE_SEARCH, "problem", **problem))

    found = _wish(tmp_path / "search.yaml", (), None, None, 60.0).missing_data
    assert [words in line for line in found] == [True] * bool(words)


def test_what_has_begun_has_data_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_scheduler: None
) -> None:
    """Of another path it would have to make them, which the doctor tells."""
    monkeypatch.chdir(tmp_path)
    raw = save_npz(random_arrays((8, 8, 1), classes=2, training=80), tmp_path)
    text = with_key(COMPARED, "problem", name="arrays", path=str(raw))
    file = config_file(tmp_path, with_key(text, "trial", batch_size=8))

    def missing(*overrides: str, out: Path | None = None) -> tuple[str, ...]:
        return _wish(file, overrides, out, None, 60.0).missing_data

    assert invoke("run", file).exit_code == 0
    assert invoke("compare", file, "--experiments", "1", "--out", "both").exit_code == 0
    raw.rename(tmp_path / "elsewhere.npz")
    assert missing() == missing(out=Path("both")) == ()
    assert len(missing(out=Path("new"))) == 1
    assert len(missing("problem.path=gone.h5")) == 1
    Path("both").rename("runs/small-comparison")
    Path("runs/small/problem.h5").unlink()
    assert missing() == (), "of the two one has them"
