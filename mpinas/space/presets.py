"""Search spaces that a configuration can call by name: ``space: small_kernels``.

Both are those of Nikulenkov, Khamitov, Popova, "Regularization approach for accelerating Neural
Architecture Search", section 6.2; its networks have 8 million to 1 billion FLOPs. What the paper
leaves open (how deep graphs may grow, how parents merge, how maps become vectors) is our choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FOLLOW: Mapping[str, Any] = {
    "follow": ["none", "max_pool", "dropout"],
    "pool_size": 2,
    "rate": {"min": 0.0, "max": 0.5},
}

_LIMITS: Mapping[str, Any] = {
    "max_module_layers": 3,
    "max_blueprint_nodes": 4,
    "max_flops": 1_000_000_000,
}

SPACES: Mapping[str, Mapping[str, Any]] = {
    "small_kernels": {
        "layers": {
            "conv2d": {"filters": {"min": 16, "max": 68}, "kernel_size": [1, 3, 5], **_FOLLOW}
        },
        "head": {"layers": 1, "units": {"min": 32, "max": 256}},
        **_LIMITS,
    },
    "large_kernels": {
        "layers": {
            "conv2d": {
                "filters": {"min": 16, "max": 128},
                "kernel_size": [2, 4, 7, 9, 11, 13],
                **_FOLLOW,
            }
        },
        "head": {"layers": 2, "units": {"min": 32, "max": 128}},
        **_LIMITS,
    },
}
