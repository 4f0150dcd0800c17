"""What thresholds on weights remove before anything is trained: the initialiser's doing.

Run by hand:

    python tests/benchmarks/dead_at_start.py configs/cifar10.yaml --prepared data/cifar10.h5

Draws random networks of the configuration's search space without batch norm, as the paper lists
none, builds them, and prints what share of their FLOPs each rule leaves alive at step 0.
"""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence

import numpy as np
from shrink_study import Network, draw_networks

from mpinas.config_file import load_config
from mpinas.config_shrink import ShrinkConfig, Source
from mpinas.morphnet.channels import graph_of
from mpinas.morphnet.plan import make_plan
from mpinas.morphnet.sources import find_sources
from mpinas.opening import KNOWLEDGE

RULES: Sequence[tuple[Source, float]] = (
    ("max_weight", 0.1),
    ("max_weight", 0.05),
    ("group_lasso", 0.1),
    ("group_lasso", 0.05),
)


def alive_share(network: Network, source: Source, threshold: float) -> float:
    """Of the network's FLOPs, at least one filter a layer."""
    from mpinas.assembly.keras_model import build_model
    from mpinas.morphnet.regularizer import Regularizer

    graph = graph_of(network.spec)
    settings = ShrinkConfig.model_validate({"source": source, "threshold": threshold})
    model = build_model(network.spec, seed=1)
    reading = Regularizer(graph, find_sources(graph, source), model, settings).read()
    plan = make_plan(graph, reading.alive, sizes=reading.shares)
    everything = graph.cost(graph.all_alive(), "flops")
    return graph.cost(plan.alive, "flops", plan.gone) / everything


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=pathlib.Path)
    parser.add_argument("--prepared", required=True)
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--mflops", type=float, nargs=2, default=(1.5, 60.0))
    options = parser.parse_args()
    config = load_config(options.config, (f"problem.path={options.prepared}",), KNOWLEDGE)
    bare = config.space.model_copy(update={"batch_norm": False})
    config = config.model_copy(update={"space": bare})
    networks = draw_networks(config, options.networks, tuple(options.mflops))
    print("rule, threshold: mean, median, least, most FLOPs alive at step 0; networks left whole")
    for source, threshold in RULES:
        shares = [alive_share(network, source, threshold) for network in networks]
        told = (np.mean(shares), np.median(shares), min(shares), max(shares))
        whole = sum(share == 1 for share in shares)
        print(f"{source} {threshold}: {', '.join(f'{one:.3f}' for one in told)}; {whole}")


if __name__ == "__main__":
    main()
