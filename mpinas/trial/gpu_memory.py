"""How much of a GPU's memory one of several trials on it may take. Asks the driver, no library.

Knows nothing of TensorFlow, which by itself would take all of it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

from mpinas.records import BYTES_PER_MB

SHARERS = "MPINAS_WORKERS_PER_GPU"
"""Variable that says how many workers share a GPU; unset for one."""
SHARED_PART = 0.9
"""Of the memory; the rest is for what the driver keeps for each process, some 0.3 to 0.5 GB."""
DRIVER = "libcuda.so.1"


def memory_limit_mb(
    environment: Mapping[str, str], load: Callable[[str], Any] = ctypes.CDLL
) -> int | None:
    """What one trial may take, in MB of 2**20 bytes; None where it has the GPU to itself.

    Args:
        environment: of the trial; the first device that it makes visible counts.
        load: opens a shared library.

    Raises:
        RuntimeError: the driver does not tell.
    """
    sharers = int(environment.get(SHARERS, "1"))
    if sharers == 1:
        return None
    return int(_total_bytes(load) * SHARED_PART / sharers / BYTES_PER_MB)


def _total_bytes(load: Callable[[str], Any]) -> int:
    """Memory of the first visible device. Makes no context, so that it takes no memory itself."""
    device, total = ctypes.c_int(), ctypes.c_size_t()
    try:
        driver = load(DRIVER)
    except OSError as error:
        raise RuntimeError(f"{DRIVER} cannot be opened: {error}") from error
    for name, arguments in (
        ("cuInit", (0,)),
        ("cuDeviceGet", (ctypes.byref(device), 0)),
        ("cuDeviceTotalMem_v2", (ctypes.byref(total), device)),
    ):
        code = getattr(driver, name)(*arguments)
        if code != 0:
            raise RuntimeError(f"{DRIVER}: {name} fails with error {code}")
    return total.value
