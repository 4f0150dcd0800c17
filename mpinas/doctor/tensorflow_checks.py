"""What became of the child that loaded TensorFlow and tried its devices. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mpinas.doctor.children import Told
from mpinas.doctor.findings import Finding, doubtful, fine, wrong

PROGRAM = "mpinas.doctor.tensorflow_probe"
SLOW_IMPORT_S = 60.0
OLDEST = {"tensorflow": (2, 18), "keras": (3, 5)}
"""As pyproject.toml has it."""
CHECK = "TensorFlow"
FORK_CURE = (
    "Set RDMAV_FORK_SAFE=1 (InfiniBand) or FI_EFA_FORK_SAFE=1 (EFA) for all ranks; where memory is "
    "short, ask for more"
)


def gpus_of(device: str) -> int:
    """How many GPUs a worker's trials have to see, by its ``Binding.device``; at least."""
    if device == "cpu":
        return 0
    return device.count(",") + 1


def tensorflow_findings(where: str, told: Told, gpus: int) -> Iterator[Finding]:
    """All that the child's end says.

    Args:
        where: the host and the device, for people.
        gpus: how many have to be seen; see :func:`gpus_of`.
    """
    imported = told.find("imported")
    ended = told.find("ended")
    if told.find("started") is None:
        rule = f"no child process can be started on {where}"
        yield wrong("children", rule, _ending(told), cure=FORK_CURE)
    elif imported is None:
        yield _not_imported(where, told)
    else:
        yield _imported(where, imported)
        yield from _version_findings(imported["versions"])
        if told.find("devices") is None:
            yield _not_forked(where, told)
        else:
            yield from _device_findings(where, told, gpus, imported)
            if told.ending or ended is None or ended["code"] != 0:
                yield _cut_off(where, told)


def _ending(told: Told) -> str:
    ended = told.find("ended")
    ending = told.ending or (
        f"exit code={ended['code']}" if ended and ended["code"] else "it ended"
    )
    return f"{ending}, last words={told.last_words!r}" if told.last_words else ending


def _not_imported(where: str, told: Told) -> Finding:
    if told.late:
        return wrong(
            CHECK,
            f"it does not load on {where}",
            told.ending,
            cure="Put the environment on a local disk or into a container: thousands of small "
            "files come slowly from a parallel file system; or give more time with --time-limit",
        )
    return wrong(
        CHECK,
        f"it cannot be loaded on {where}",
        _ending(told),
        cure='Install it anew for this machine: pip install "mpinas[gpu]", or "mpinas[gpu-pascal]" '
        "for a P100, or mpinas alone where there is no GPU",
    )


def _imported(where: str, imported: Mapping[str, Any]) -> Finding:
    seconds = imported["seconds"]
    if seconds > SLOW_IMPORT_S:
        return doubtful(
            CHECK,
            f"it takes long to load on {where}, once in each worker",
            f"seconds={seconds:.0f}",
            cure="Put the environment on a local disk or into a container",
        )
    versions = imported["versions"]
    names = f"TensorFlow {versions['tensorflow']}, Keras {versions['keras']}"
    return fine(CHECK, f"{CHECK}: {names} loads in {seconds:.1f} s on {where}")


def _version_findings(versions: Mapping[str, str]) -> Iterator[Finding]:
    for name, oldest in OLDEST.items():
        numbers = tuple(int(part) for part in re.findall(r"\d+", versions[name])[:2])
        if numbers < oldest:
            least = ".".join(map(str, oldest))
            cure = f'Install a newer one: pip install "{name}>={least}"'
            yield wrong(CHECK, f"{name} is too old", f"{name}={versions[name]}", cure=cure)


def _not_forked(where: str, told: Told) -> Finding:
    """Loading it has started what a forked process cannot go on with."""
    broken = told.find("broken")
    found = f"error={broken['error']}" if broken else _ending(told)
    return wrong(
        CHECK,
        f"a process that is forked after it was loaded comes to no device on {where}",
        found,
        cure="See what runs operations or starts threads while it is loaded (plug-ins, "
        "sitecustomize, profilers) and leave that out; on a GPU, see nvidia-smi for its state",
    )


def _device_findings(
    where: str, told: Told, gpus: int, imported: Mapping[str, Any]
) -> Iterator[Finding]:
    names = told.find("devices") or {"names": []}
    seen = [name for name in names["names"] if ":GPU:" in name]
    if len(seen) < gpus:
        build = "" if imported["gpu_build"] else ", build=without CUDA"
        yield wrong(
            CHECK,
            f"it does not see the GPUs on {where}",
            f"seen={len(seen)}, expected={gpus}{build}",
            cure='Install its CUDA libraries (pip install "mpinas[gpu]", for a P100 '
            '"mpinas[gpu-pascal]"), unload other CUDA modules, and see nvidia-smi',
        )
    for line in told.lines:
        if line.get("stage") == "convolution":
            yield _convolution_finding(where, line)


def _convolution_finding(where: str, line: Mapping[str, Any]) -> Finding:
    device = _short(line["device"])
    if line["error"]:
        return wrong(
            CHECK,
            f"a convolution fails on {device} of {where}",
            f"error={line['error']}",
            cure="Install the cuDNN that has kernels for this card: "
            '"mpinas[gpu-pascal]" for a P100 (cuDNN below 9.11), else "mpinas[gpu]"; where memory '
            "is short, end what else is on the GPU",
        )
    return fine(CHECK, f"{CHECK}: a convolution on {device} of {where} in {line['seconds']:.1f} s")


def _cut_off(where: str, told: Told) -> Finding:
    """It hung or died after it had seen its devices."""
    tried = [line["device"] for line in told.lines if line.get("stage") == "trying"]
    device = _short(tried[-1]) if tried else "its devices"
    broken = told.find("broken")
    return wrong(
        CHECK,
        f"the process that tried {device} of {where} did not come to its end",
        f"error={broken['error']}" if broken else _ending(told),
        cure="See nvidia-smi and the kernel's log (dmesg: Xid) for the state of the card, and "
        "leave the node out; on processors, ask for more memory",
    )


def _short(device: str) -> str:
    """``GPU:0`` of ``/device:GPU:0``."""
    return device.rpartition("device:")[2].lstrip("/")
