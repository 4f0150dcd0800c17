"""Binding workers to devices, over what launchers leave in the environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mpinas.dispatch.devices import READ_VARIABLES, Binding, bind, count_gpus, share_processors
from mpinas.errors import LaunchFault

VISIBLE = "CUDA_VISIBLE_DEVICES"
UUIDS = ("GPU-5d0a1111-aaaa", "GPU-77bb2222-cccc")
MIGS = ("MIG-3f9c0000-0001", "MIG-GPU-5d0a1111-aaaa/2/0")


def bind_each(
    workers: int, visible: str | None, more: Mapping[str, str] | None = None, **options: Any
) -> list[Binding]:
    environment = {**({} if visible is None else {VISIBLE: visible}), **(more or {})}
    return [bind(rank, workers, environment, **options) for rank in range(workers)]


def set_to(bindings: Sequence[Binding]) -> list[str | None]:
    return [binding.environment.get(VISIBLE) for binding in bindings]


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        ("0,1,2,3", ["0", "1", "2", "3"]),
        ("2,3", ["2", "3"]),
        ("3,1", ["3", "1"]),
        (" 4 , 5 ", ["4", "5"]),
        (",".join(UUIDS), list(UUIDS)),
        (",".join(MIGS), list(MIGS)),
        ("0,1,-1,3", ["0", "1"]),
        ("0,0,1", ["0", "1"]),
    ],
)
def test_each_worker_gets_its_own_entry_of_the_inherited_list(
    visible: str, devices: list[str]
) -> None:
    bindings = bind_each(len(devices), visible)
    assert set_to(bindings) == devices
    assert [binding.device for binding in bindings] == [f"gpu:{device}" for device in devices]


def test_fewer_workers_than_devices_take_the_first() -> None:
    assert set_to(bind_each(2, "4,5,6")) == ["4", "5"]


@pytest.mark.parametrize("visible", ["", "-1", "NoDevFiles"])
def test_a_list_without_a_device_means_the_processor(visible: str) -> None:
    bindings = bind_each(3, visible, gpus_present=4)
    assert [binding.device for binding in bindings] == ["cpu"] * 3
    assert set_to(bindings) == [None] * 3


def test_an_unset_list_means_what_the_machine_has() -> None:
    assert set_to(bind_each(2, None, gpus_present=2)) == ["0", "1"]
    assert bind_each(2, None, gpus_present=0) == [Binding(device="cpu")] * 2


def test_more_workers_than_devices_are_refused_with_the_cure() -> None:
    with pytest.raises(LaunchFault) as error:
        bind(0, 3, {VISIBLE: "0,1"})
    message = str(error.value)
    assert "Received: workers=3, gpus=2, workers_per_gpu=1." in message
    assert "run.workers_per_gpu" in message


def test_every_surplus_worker_is_refused_not_only_the_last() -> None:
    for rank in range(3):
        with pytest.raises(LaunchFault):
            bind(rank, 3, {VISIBLE: "0,1"})


def test_workers_share_devices_evenly_where_they_may() -> None:
    assert set_to(bind_each(4, "6,7", workers_per_gpu=2)) == ["6", "7", "6", "7"]
    assert set_to(bind_each(3, "6,7", workers_per_gpu=2)) == ["6", "7", "6"]
    with pytest.raises(LaunchFault):
        bind_each(5, "6,7", workers_per_gpu=2)


def test_a_device_named_twice_is_not_two() -> None:
    with pytest.raises(LaunchFault, match="workers=2, gpus=1"):
        bind_each(2, "0,0")


def test_workers_that_share_a_device_share_its_memory() -> None:
    for options in ({}, {"gpu_binding": "env"}):
        binding = bind_each(1, "6", workers_per_gpu=2, **options)[0]
        assert binding.environment["MPINAS_WORKERS_PER_GPU"] == "2"
        assert binding.environment["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"


@pytest.mark.parametrize(
    ("visible", "options"),
    [
        ("6", {}),
        ("", {"workers_per_gpu": 2}),
        ("", {"workers_per_gpu": 2, "gpu_binding": "env"}),
        ("6", {"workers_per_gpu": 2, "gpus": 0}),
        ("6", {"workers_per_gpu": 2, "gpu_binding": "none"}),
    ],
)
def test_memory_is_not_limited_where_nothing_is_shared(
    visible: str, options: dict[str, Any]
) -> None:
    assert "MPINAS_WORKERS_PER_GPU" not in bind_each(1, visible, **options)[0].environment


@pytest.mark.parametrize(
    "hint",
    [
        {"SLURM_GPUS_PER_TASK": "1"},
        {"SLURM_TRES_PER_TASK": "cpu:4,gres/gpu:1"},
        {"SLURM_GPU_BIND": "single:1"},
        {"SLURM_GPU_BIND": "verbose,single:1"},
        {"SLURM_GPU_BIND": "closest"},
        {"SLURM_GPU_BIND": "map:0,1,2,3"},
        {"SLURM_GPU_BIND": "per_task:1"},
        {"SLURM_NTASKS_PER_GPU": "1"},
        {"SLURM_TRES_BIND": "gres/gpu:single:1"},
        {"SLURM_TRES_BIND": "gpu:single"},
        {"SLURM_TRES_BIND": "gres/nic:none+gres/gpu:verbose,map:0,1,2,3"},
        {"JSM_NAMESPACE_SIZE": "4"},
    ],
)
def test_a_single_device_of_the_same_name_everywhere_is_kept(hint: dict[str, str]) -> None:
    """The launcher gave each task its own GPU, and each calls it 0."""
    bindings = bind_each(4, "0", hint)
    assert {binding.device for binding in bindings} == {"gpu:0"}
    assert all(value in (None, "0") for value in set_to(bindings))


@pytest.mark.parametrize(
    "hint",
    [
        {"SLURM_NTASKS_PER_GPU": "2"},
        {"SLURM_GPU_BIND": "single:2"},
        {"SLURM_TRES_BIND": "gres/gpu:single:2"},
    ],
)
def test_tasks_that_share_a_device_are_workers_that_do(hint: dict[str, str]) -> None:
    """Without a limit of memory the first would take all of it."""
    with pytest.raises(LaunchFault, match=r"raise run\.workers_per_gpu"):
        bind_each(4, "0", hint)
    for binding in bind_each(4, "0", hint, workers_per_gpu=2):
        assert binding.device == "gpu:0"
        assert binding.environment["MPINAS_WORKERS_PER_GPU"] == "2"


@pytest.mark.parametrize(
    "no_hint",
    [
        {"SLURM_TRES_PER_TASK": "cpu:4"},
        {"SLURM_GPU_BIND": "none"},
        {"SLURM_GPU_BIND": "verbose,none", "SLURM_GPUS_PER_TASK": "1"},
        {"SLURM_TRES_BIND": "gres/gpu:none", "SLURM_NTASKS_PER_GPU": "1"},
        {"SLURM_TRES_BIND": "gres/nic:closest"},
        {"SLURM_NTASKS_PER_GPU": ""},
    ],
)
def test_other_settings_of_tasks_say_nothing_of_devices(no_hint: dict[str, str]) -> None:
    with pytest.raises(LaunchFault):
        bind_each(4, "0", no_hint)


def test_a_single_device_shared_by_accident_is_refused() -> None:
    with pytest.raises(LaunchFault, match="gpu_binding=env"):
        bind_each(4, "0")


def test_lists_that_differ_between_neighbours_are_kept() -> None:
    lists = ["0", "1", "2,3", "2,3"]
    bindings = [
        bind(rank, 4, {VISIBLE: visible}, neighbours=lists) for rank, visible in enumerate(lists)
    ]
    assert set_to(bindings) == ["0", "1", "2", "3"]


def test_a_list_shared_by_too_many_neighbours_is_refused() -> None:
    lists = ["0", "1", "1"]
    assert set_to([bind(0, 3, {VISIBLE: "0"}, neighbours=lists)]) == ["0"]
    with pytest.raises(LaunchFault, match="workers=2, gpus=1"):
        bind(2, 3, {VISIBLE: "1"}, neighbours=lists)


SERVICE = {"CUDA_MPS_PIPE_DIRECTORY": "/tmp/mps"}


@pytest.mark.parametrize("visible", ["0", "3", UUIDS[0], MIGS[0]])
def test_the_one_device_of_the_multi_process_service_is_left_alone(visible: str) -> None:
    """Its clients may have been given it under another name than the daemon."""
    bindings = bind_each(6, visible, SERVICE, workers_per_gpu=3)
    assert {binding.device for binding in bindings} == {"gpu:shared"}
    assert set_to(bindings) == [None] * 6
    assert {binding.environment["MPINAS_WORKERS_PER_GPU"] for binding in bindings} == {"3"}
    assert bind_each(4, visible, SERVICE)[3].environment == {}


@pytest.mark.parametrize(
    ("visible", "devices"),
    [
        ("0,1", ["0", "1"]),
        ("2,3", ["2", "3"]),
        (",".join(UUIDS), list(UUIDS)),
        (",".join(MIGS), list(MIGS)),
        (None, ["0", "1"]),
    ],
)
def test_several_devices_of_the_service_are_divided_as_without_it(
    visible: str | None, devices: list[str]
) -> None:
    """Left alone, every trial would use the first one."""
    bindings = bind_each(6, visible, SERVICE, gpus_present=2, workers_per_gpu=3)
    assert set_to(bindings) == devices * 3
    assert [binding.device for binding in bindings] == [f"gpu:{one}" for one in devices * 3]
    first = bind_each(3, visible, SERVICE, gpus_present=2, workers_per_gpu=3, gpus=1)
    assert set_to(first) == [devices[0]] * 3
    with pytest.raises(LaunchFault, match="more workers than GPUs"):
        bind_each(3, visible, SERVICE, gpus_present=2)


def test_who_binds_devices_to_the_service_himself_is_not_disturbed() -> None:
    bindings = bind_each(2, "0,1", SERVICE, gpu_binding="none")
    assert bindings == [Binding(device="gpu:0,1")] * 2


def test_a_service_for_each_task_keeps_the_task_s_device() -> None:
    environments = [{VISIBLE: str(rank), **SERVICE} for rank in range(2)]
    neighbours = [one[VISIBLE] for one in environments]
    for rank, environment in enumerate(environments):
        binding = bind(rank, 2, environment, neighbours=neighbours)
        assert binding == Binding(device="gpu:shared")


@pytest.mark.parametrize(
    "lists",
    [["0,1", "0,1,2"], ["0", "0,1"], [None, "0"], ["1,0", "0"]],
)
def test_workers_with_some_devices_in_common_are_refused(lists: list[str | None]) -> None:
    """Each took the first of its own list, and two the same."""
    environment = {} if lists[0] is None else {VISIBLE: lists[0]}
    with pytest.raises(LaunchFault, match="some devices in common and not all"):
        bind(0, 2, environment, neighbours=lists, gpus_present=2)


@pytest.mark.parametrize("lists", [["0,1", "0, 1"], ["0,1", "1,0"], [None, "0,1"]])
def test_one_list_however_it_is_written_is_divided(lists: list[str | None]) -> None:
    bindings = [
        bind(rank, 2, {} if one is None else {VISIBLE: one}, neighbours=lists, gpus_present=2)
        for rank, one in enumerate(lists)
    ]
    assert set_to(bindings) == ["0", "1"]


def test_a_launcher_that_has_bound_nothing_is_not_taken_at_its_word() -> None:
    with pytest.raises(LaunchFault, match="several workers would use the first"):
        bind_each(2, "0,1", gpu_binding="env")
    assert bind_each(1, "0,1", gpu_binding="env")[0].device == "gpu:0,1"


def test_more_devices_than_exist_are_refused() -> None:
    for visible, present in (("0,1", 0), (None, 2), ("0,1", 8)):
        with pytest.raises(LaunchFault, match=r"Received: gpus=3\. Visible here: 2"):
            bind_each(1, visible, gpus_present=present, gpus=3)
    with pytest.raises(LaunchFault, match=r"Visible here: 0 \(none\)"):
        bind_each(1, None, gpus=1)


def test_only_the_devices_asked_for_are_used() -> None:
    assert set_to(bind_each(2, "4,5,6", gpus=2)) == ["4", "5"]
    with pytest.raises(LaunchFault):
        bind_each(3, "4,5,6", gpus=2)


def test_no_device_asked_for_hides_them_all() -> None:
    bindings = bind_each(5, "0,1", gpus=0)
    assert set_to(bindings) == [""] * 5
    assert {binding.device for binding in bindings} == {"cpu"}


def test_the_launchers_choice_is_kept() -> None:
    bindings = bind_each(4, "0", gpu_binding="env")
    assert set_to(bindings) == [None] * 4
    assert bindings[0].device == "gpu:0"
    assert bind_each(1, "", gpu_binding="env")[0].device == "cpu"
    with pytest.raises(LaunchFault, match="has not set CUDA_VISIBLE_DEVICES"):
        bind_each(1, None, gpu_binding="env", gpus_present=2)


def test_no_binding_checks_and_changes_nothing() -> None:
    bindings = bind_each(9, "0,1", gpu_binding="none", gpus=5)
    assert set_to(bindings) == [None] * 9
    assert bindings[0].device == "gpu:0,1"


def test_nothing_else_of_the_environment_is_read() -> None:
    class Watched(dict[str, str]):
        def get(self, key: str, default: Any = None) -> Any:
            assert key in READ_VARIABLES
            return super().get(key, default)

        def __getitem__(self, key: str) -> str:
            assert key in READ_VARIABLES
            return super().__getitem__(key)

        def __contains__(self, key: object) -> bool:
            assert key in READ_VARIABLES
            return super().__contains__(key)

    bind(0, 2, Watched({VISIBLE: "0", "SLURM_GPUS_PER_TASK": "1"}))


def processors_of(*inherited: Sequence[int]) -> list[tuple[int, ...]]:
    return [share_processors(rank, inherited).processors for rank in range(len(inherited))]


def test_workers_divide_the_processors_that_they_have_in_common() -> None:
    assert processors_of(*[range(8)] * 4) == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert processors_of(*[(0, 4, 1, 5)] * 2) == [(0, 4), (1, 5)]
    share = share_processors(1, [(0, 4, 1, 5)] * 2)
    assert (share.environment, share.each) == ({"MPINAS_PROCESSORS": "1,5"}, 2)


@pytest.mark.parametrize(("processors", "workers"), [(7, 2), (7, 3), (64, 5), (5, 5)])
def test_no_processor_is_left_out_or_given_twice(processors: int, workers: int) -> None:
    shares = processors_of(*[range(processors)] * workers)
    assert sorted(one for share in shares for one in share) == list(range(processors))
    assert {len(share) for share in shares} <= {processors // workers, -(-processors // workers)}


def test_processors_that_the_launcher_has_bound_are_kept() -> None:
    inherited = [(0, 1), (2, 3), (8, 9, 10, 11), (8, 9, 10, 11)]
    assert processors_of(*inherited) == [(0, 1), (2, 3), (8, 9), (10, 11)]
    assert share_processors(0, inherited).environment == {}


def test_a_worker_alone_is_not_pinned() -> None:
    share = share_processors(0, [range(4)])
    assert (share.processors, share.environment, share.each) == ((0, 1, 2, 3), {}, 4)


def test_more_workers_than_processors_are_left_to_the_kernel() -> None:
    for rank in range(3):
        share = share_processors(rank, [(0, 1)] * 3)
        assert (share.processors, share.environment, share.each) == ((0, 1), {}, 0)


def test_counting_devices(tmp_path: Path) -> None:
    assert count_gpus(tmp_path) == 0
    devices = tmp_path / "dev"
    devices.mkdir()
    for name in ("nvidia0", "nvidia1", "nvidia10", "nvidiactl", "nvidia-uvm"):
        (devices / name).touch()
    assert count_gpus(tmp_path) == 3
    listed = tmp_path / "proc/driver/nvidia/gpus"
    (listed / "0000:0b:00.0").mkdir(parents=True)
    assert count_gpus(tmp_path) == 1
