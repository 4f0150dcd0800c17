"""In a child: loads TensorFlow as a worker does, forks as it does for a trial, and tries devices.

Tells a line a stage (``doctor.children``), so that it is known how far it came.
"""

from __future__ import annotations

import os
import time
from typing import Any

from mpinas.doctor.children import one_line, tell
from mpinas.signals import die_with_parent

IMAGE, KERNEL, SUM = (1, 8, 8, 3), (3, 3, 3, 4), 27.0
"""A convolution of ones: each output is the number of weights that it sums over."""


def main(threads: int) -> None:
    """The child's work.

    Args:
        threads: of a trial.
    """
    begun_at = time.perf_counter()
    import keras
    import tensorflow as tf

    from mpinas.trial import training

    tell(
        "imported",
        seconds=time.perf_counter() - begun_at,
        versions={"tensorflow": tf.__version__, "keras": keras.__version__},
        gpu_build=tf.test.is_built_with_cuda(),
    )
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _try_devices(tf, training, parent, threads)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    tell("ended", code=code)


def _try_devices(tf: Any, training: Any, parent_pid: int, threads: int) -> None:
    """In the forked process, as a trial; never returns."""
    code = 1
    try:
        die_with_parent(parent_pid)
        training.start_tensorflow(threads)
        devices = tf.config.list_logical_devices()
        tell("devices", names=[device.name for device in devices])
        for device in devices:
            _convolve(tf, device.name)
        code = 0
    except BaseException as error:
        tell("broken", error=one_line(error))
    finally:
        os._exit(code)


def _convolve(tf: Any, device: str) -> None:
    begun_at, error = time.perf_counter(), ""
    tell("trying", device=device)
    try:
        with tf.device(device):
            sums = tf.nn.conv2d(tf.ones(IMAGE), tf.ones(KERNEL), 1, "VALID").numpy()
        if abs(sums - SUM).max() > 1e-3:
            error = f"the convolution of ones is {sums.flat[0]}, and not {SUM}"
    except Exception as caught:
        error = one_line(caught)
    tell("convolution", device=device, seconds=time.perf_counter() - begun_at, error=error)
