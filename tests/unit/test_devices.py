"""Binding workers to devices, over what launchers leave in the environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from mpinas.dispatch.devices import READ_VARIABLES, Binding, bind, count_gpus
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


@pytest.mark.parametrize(
    "hint",
    [
        {"SLURM_GPUS_PER_TASK": "1"},
        {"SLURM_TRES_PER_TASK": "cpu:4,gres/gpu:1"},
        {"SLURM_GPU_BIND": "single:1"},
        {"JSM_NAMESPACE_SIZE": "4"},
    ],
)
def test_a_single_device_of_the_same_name_everywhere_is_kept(hint: dict[str, str]) -> None:
    """The launcher gave each task its own GPU, and each calls it 0."""
    bindings = bind_each(4, "0", hint)
    assert {binding.device for binding in bindings} == {"gpu:0"}
    assert all(value in (None, "0") for value in set_to(bindings))


@pytest.mark.parametrize("no_hint", [{"SLURM_TRES_PER_TASK": "cpu:4"}, {"SLURM_GPU_BIND": "none"}])
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


def test_multi_process_service_is_left_alone() -> None:
    """NVIDIA forbids its clients to set the variable; sharing is what it is for."""
    bindings = bind_each(6, "0,1", {"CUDA_MPS_PIPE_DIRECTORY": "/tmp/mps"})
    assert {binding.device for binding in bindings} == {"gpu:shared"}
    assert set_to(bindings) == [None] * 6


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
