"""A network on its way through the shrink, for tests: built, gated, listened to, cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mpinas.assembly.keras_model import build_model
from mpinas.config_shrink import ShrinkConfig
from mpinas.morphnet.channels import ChannelGraph, Mask, graph_of
from mpinas.morphnet.folding import carry
from mpinas.morphnet.gates import weights_of, with_gates
from mpinas.morphnet.plan import Plan, make_plan
from mpinas.morphnet.regularizer import RegularizedModel, Regularizer
from mpinas.morphnet.shrink import rebuild_network, set_weights
from mpinas.morphnet.sources import Sources, find_sources
from mpinas.records import NetworkSpec


@dataclass(frozen=True, kw_only=True)
class Shrinking:
    """``plain`` as it was built; ``model`` has gates in the layers that need one."""

    network: NetworkSpec
    graph: ChannelGraph
    sources: Sources
    plain: keras.Model
    model: keras.Model
    regularizer: Regularizer

    def scale(self, name: str) -> Any:
        """The gamma or gate of a layer."""
        layer = self.model.get_layer(name)
        return layer.gamma if isinstance(layer, keras.layers.BatchNormalization) else layer.gate

    def set_scales(self, **scales: Any) -> None:
        for name, values in scales.items():
            self.scale(name).assign(values)

    def gradients(self, *names: str) -> list[np.ndarray]:
        """Of the regulariser, by the scales of these layers."""
        variables = [self.scale(name).value for name in names]
        with tf.GradientTape() as tape:
            loss = self.regularizer.loss()
        return [gradient.numpy() for gradient in tape.gradient(loss, variables)]

    def alive(self) -> Mask:
        return self.regularizer.read().alive

    def plan(self, **settings: Any) -> Plan:
        reading = self.regularizer.read()
        return make_plan(self.graph, reading.alive, sizes=reading.shares, **settings)

    def cut(self, plan: Plan | None = None) -> tuple[keras.Model, bool]:
        """The narrower model with its weights, and whether it is said to be exact."""
        plan = plan or self.plan()
        gammas = [one.name for one in self.sources.layers if one.source == "gamma"]
        carried = carry(self.graph, plan, weights_of(self.model), gammas)
        small = rebuild_network(self.network, plan, seed=99)
        set_weights(small, carried.weights)
        return small, carried.exact


def shrinking(network: NetworkSpec, *, seed: int = 0, **settings: Any) -> Shrinking:
    """Settings are fields of ``trial.shrink``."""
    wanted = ShrinkConfig(**settings)
    graph = graph_of(network)
    sources = find_sources(graph, wanted.source)
    plain = build_model(network, seed=seed)
    gates = [one.name for one in sources.layers if one.source == "gate"]
    model = with_gates(plain, gates) if gates else plain
    return Shrinking(
        network=network,
        graph=graph,
        sources=sources,
        plain=plain,
        model=model,
        regularizer=Regularizer(graph, sources, model, wanted),
    )


def shuffle_weights(model: keras.Model, seed: int, *, offsets: bool = True) -> None:
    """Batch norms and biases as after a long training; ``offsets``: those that are not zero."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        for weight in layer.weights:
            last = weight.path.split("/")[-1]
            if last in ("gamma", "moving_variance"):
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
            elif last == "moving_mean" or (offsets and last in ("beta", "bias")):
                weight.assign(rng.normal(size=weight.shape) * 0.5)


def silence(one: Shrinking, seed: int) -> None:
    """Scales of a random part of the channels become 0, often those of a whole layer."""
    rng = np.random.default_rng(seed)
    alive = rng.random(one.graph.groups) < 0.6
    for layer in one.graph.makers:
        if rng.random() < 0.3:
            alive[one.graph.outputs[layer.name]] = False
    alive |= ~one.sources.may_die
    for source in one.sources.layers:
        scale = one.scale(source.name)
        scale.assign(np.asarray(scale) * alive[source.ids])


def regularized(one: Shrinking, strength: float) -> RegularizedModel:
    """The model with its regulariser, not compiled."""
    model = RegularizedModel(one.model.inputs, one.model.outputs)
    model.add_regularizer(one.regularizer, strength)
    return model


def fit(model: keras.Model, optimizer: Any, x: Any, y: Any, *, epochs: int = 1, batch: int = 8):
    """Without a compiler, which would take longer than the few steps here."""
    model.compile(
        optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False
    )
    model.optimizer.build(model.trainable_variables)
    return model.fit(x, y, batch_size=batch, epochs=epochs, verbose=0, shuffle=False)


def images(shape: tuple[int, ...], count: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype("float32")


def labels(classes: int, count: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, count)


def largest_difference(before: keras.Model, after: keras.Model, x: Any, **how: Any) -> float:
    """Relative to the largest output; an output of zeros has to stay that."""
    old, new = np.asarray(before(x, **how)), np.asarray(after(x, **how))
    return float(np.abs(new - old).max() / max(np.abs(old).max(), np.finfo("float32").tiny))
