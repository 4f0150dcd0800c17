"""Which devices ``CUDA_VISIBLE_DEVICES`` names: one rule, for workers and for trials. Pure."""

from __future__ import annotations

import re

VISIBLE = "CUDA_VISIBLE_DEVICES"


def named_devices(text: str) -> tuple[str, ...]:
    """The devices that CUDA would show: a list ends at its first invalid entry, such as -1 or the
    ``NoDevFiles`` of Slurm.

    An entry that is there twice is one device, and must not become those of two workers.
    """
    devices: list[str] = []
    for entry in (part.strip() for part in text.split(",")):
        if not re.fullmatch(r"\d+|(GPU|MIG)-.+", entry):
            break
        if entry not in devices:
            devices.append(entry)
    return tuple(devices)
