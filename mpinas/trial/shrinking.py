"""The shrink of a trial: regularised training, the cut, and what is to be trained afterwards.

Comes in: a network and the trial's bench. Comes out: :class:`Ready`, the network that the trial
goes on with (narrower, or as it was) and the record of what happened (the paper, section 4).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from mpinas.assembly.keras_model import build_model
from mpinas.assembly.narrow import narrow
from mpinas.assembly.shapes import network_costs
from mpinas.morphnet.channels import ChannelGraph, graph_of
from mpinas.morphnet.folding import carry
from mpinas.morphnet.gates import weights_of
from mpinas.morphnet.optimizer import with_scale_rate
from mpinas.morphnet.plan import Plan, make_plan
from mpinas.morphnet.regularizer import RegularizedModel, with_regularizer
from mpinas.morphnet.shrink import difference, estimate_statistics, rebuild_network, set_weights
from mpinas.morphnet.sources import NothingToShrink, Sources, find_sources
from mpinas.records import Costs, Shrink, ShrinkOutcome, Times
from mpinas.trial.inputs import around, pass_over
from mpinas.trial.measuring import Measured, measure
from mpinas.trial.training import Bench, UntilNotFinite, compile_model, wrapped

ERROR_BATCHES = 2
"""Of training images, to tell what the cut changed."""

EXACT = 1e-5
"""A smaller relative change of the logits is one of rounding."""

STATISTICS_BATCHES = 8
"""Of training images, for the statistics of batch norms: those gathered while scales fall are of
another network by the end, most of all after few steps, and so are those behind an inexact cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A network that is to be trained.

    Attributes:
        model: of ``training.wrapped``, around ``network``.
        epochs: left to train; ``epochs_before`` are over.
        times: that went into it.
        costs: of the network, where the shrink may have changed them.
        record: what the shrink did; None where there was none.
    """

    network: keras.Model
    model: keras.Model
    epochs: int
    epochs_before: int = 0
    times: Times = field(default_factory=Times)
    costs: Costs | None = None
    record: Shrink | None = None

    @classmethod
    def of(cls, bench: Bench, network: keras.Model) -> Ready:
        """The network as it is, from the start."""
        started = time.perf_counter()
        model = wrapped(bench, network)
        times = Times(build_s=time.perf_counter() - started)
        return cls(network=network, model=model, epochs=bench.settings.epochs, times=times)


def shrink_network(bench: Bench, network: keras.Model) -> Ready:
    """Shrinks a network by regularised training.

    A network that this breaks is trained unshrunk, from the start; one without a channel that may
    die as if nothing had been asked for. The record says so.

    Args:
        network: built from ``bench.spec.network``, not trained.
    """
    full = network_costs(bench.spec.network)
    graph = graph_of(bench.spec.network)
    try:
        sources = find_sources(graph, bench.settings.shrink.source)
    except NothingToShrink as reason:
        record = Shrink(
            outcome=ShrinkOutcome.NOTHING_REMOVED,
            steps=0,
            widths=make_plan(graph, graph.all_alive()).widths,
            alive_flops_at_start=full.flops,
            warnings=(str(reason),),
        )
        return replace(Ready.of(bench, network), costs=full, record=record)
    phase = _Phase(bench, network, graph, sources)
    record = phase.train(full)
    measured = phase.measure()
    record = replace(record, accuracy_before_cut=measured.accuracy)
    times = Times(shrink_s=phase.train_s, evaluate_s=phase.measure_s)
    if why := phase.why_broken(measured):
        warning = f"no better than guessing after {record.steps} regularised steps: {why}"
        record = replace(record, outcome=ShrinkOutcome.BROKEN, warnings=(*record.warnings, warning))
        started = time.perf_counter()
        fresh = Ready.of(bench, build_model(bench.spec.network, seed=bench.spec.seed))
        times = replace(times, build_s=time.perf_counter() - started)
        return replace(fresh, times=times, record=record)
    phase.tell(measured)
    return phase.cut(record, times)


class _Phase:
    """A network in its regularised training, until it is cut."""

    def __init__(
        self, bench: Bench, network: keras.Model, graph: ChannelGraph, sources: Sources
    ) -> None:
        self.train_s = self.measure_s = 0.0
        self._last: Mapping[str, float] = {}
        self._started = time.perf_counter()
        self._bench = bench
        self._graph = graph
        self._sources = sources
        settings = bench.settings.shrink
        self._network, self._regularizer = with_regularizer(network, graph, sources, settings)
        steps_per_epoch = len(bench.parts.training)
        self._steps = settings.steps(steps_per_epoch)
        self._epochs = math.ceil(settings.epochs)
        self._model = around(self._network, bench.parts, RegularizedModel)
        self._model.add_regularizer(self._regularizer, settings.strength)
        optimizer = with_scale_rate(
            bench.optimizer(), self._regularizer.scales, settings.scale_rate(steps_per_epoch)
        )
        compile_model(self._model, optimizer, bench.settings, bench.parts, on_gpu=bench.on_gpu)

    def train(self, full: Costs) -> Shrink:
        """All steps of the regularised training, as far as the loss is a number.

        Args:
            full: costs of the network.
        """
        at_start = self._graph.cost(self._regularizer.read().alive, "flops")
        warnings = []
        if at_start < full.flops:
            warnings.append(
                f"before the first step {at_start} of {full.flops} FLOPs are alive: the threshold "
                "removes by initialiser, not by learning"
            )
        left = self._steps
        for epoch in range(math.ceil(left / len(self._bench.parts.training))):
            if self._model.stop_training:
                break
            batches = self._bench.shuffled(epoch)
            fitted = self._model.fit(
                pass_over(batches).take(left),
                callbacks=[UntilNotFinite()],
                shuffle=False,
                verbose=0,
            )
            self._last = {name: values[-1] for name, values in fitted.history.items()}
            self._bench.log.shrink_epoch(epoch + 1, self._last)
            left -= len(batches)
        self.train_s = time.perf_counter() - self._started
        return Shrink(
            outcome=ShrinkOutcome.NOTHING_REMOVED,
            steps=int(self._model.optimizer.iterations),
            alive_flops_at_start=at_start,
            warnings=tuple(warnings),
        )

    def measure(self) -> Measured:
        """The network as it stands, on the validation part."""
        started = time.perf_counter()
        self._estimate_statistics(self._network, self._model)
        measured = measure(self._model, self._bench.parts.validation)
        self.measure_s = time.perf_counter() - started
        return measured

    def why_broken(self, measured: Measured) -> str:
        """What the training did to the network; empty where it is better than guessing."""
        if self._model.stop_training:
            return f"a training loss that is no number, {measured.said}"
        return measured.said if measured.is_guessing else ""

    def tell(self, measured: Measured) -> None:
        """Reports the regularised epochs as over; their loss has the regulariser in it."""
        epochs = self._bench.settings.epochs
        self._bench.log.before_cut(self._epochs, measured.accuracy)
        self._bench.tell(
            self._epochs,
            self._epochs + self._bench.settings.shrink.epochs_after(epochs),
            {**self._last, "val_accuracy": measured.accuracy},
        )

    def cut(self, record: Shrink, times: Times) -> Ready:
        """Leaves out what is not alive, and gives the narrower network its weights."""
        started = time.perf_counter()
        settings = self._bench.settings.shrink
        reading = self._regularizer.read()
        plan = make_plan(
            self._graph,
            reading.alive,
            sizes=reading.shares,
            min_filters=settings.min_filters,
            round_to=settings.round_to,
        )
        spec = self._bench.spec
        network = rebuild_network(spec.network, plan, seed=spec.seed)
        ready = Ready.of(self._bench, network)
        record = replace(record, widths=plan.widths)
        if not plan.removes_nothing:
            record = replace(record, outcome=ShrinkOutcome.SHRUNK)
        evaluated_s = 0.0
        if settings.inherit_weights:
            record = replace(record, cut_error=self._hand_over(network, ready.model, plan))
            evaluation_started = time.perf_counter()
            record = replace(record, accuracy_after_cut=self._accuracy(ready.model))
            evaluated_s = time.perf_counter() - evaluation_started
        return replace(
            ready,
            epochs=settings.epochs_after(self._bench.settings.epochs),
            epochs_before=self._epochs,
            times=replace(
                times,
                rebuild_s=time.perf_counter() - started - evaluated_s,
                evaluate_s=times.evaluate_s + evaluated_s,
            ),
            costs=network_costs(narrow(spec.network, plan.widths)),
            record=record,
        )

    def _hand_over(self, network: keras.Model, model: keras.Model, plan: Plan) -> float:
        """Gives the network its weights; returns how much the cut changed its logits."""
        gammas = self._sources.named("gamma")
        carried = carry(self._graph, plan, weights_of(self._network), gammas)
        set_weights(network, carried.weights)
        error = difference(self._model, model, self._sample(ERROR_BATCHES))
        if error > EXACT or not carried.exact:
            self._estimate_statistics(network, model)
        return error

    def _estimate_statistics(self, network: keras.Model, model: keras.Model) -> None:
        estimate_statistics(network, model, self._sample(STATISTICS_BATCHES))

    def _sample(self, most: int) -> Sequence[Any]:
        return self._bench.parts.training.sample(self._bench.spec.seed, most)

    def _accuracy(self, model: keras.Model) -> float:
        batches = self._bench.parts.validation
        measured = model.evaluate(pass_over(batches), verbose=0, return_dict=True)
        return float(measured["accuracy"])
