"""The shrink of a Keras model that mpinas did not make: one regularised run, one cut, training.

Comes in: a model file, a problem, and what is wanted of it. Comes out: a file of a plain Keras
model within the FLOP target, and the record of what was done (Gordon et al. 2018, section 3). The
test set is not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mpinas.assembly.from_keras import describe_model, unsupported
from mpinas.config import TrialConfig
from mpinas.config_shrink import Source, drift_warnings
from mpinas.config_values import RangeDomain
from mpinas.errors import MpinasError, UserMustChange, fault
from mpinas.morphnet.channels import ChannelGraph
from mpinas.morphnet.folding import carry
from mpinas.morphnet.gates import weights_of
from mpinas.morphnet.optimizer import with_scale_rate
from mpinas.morphnet.regularizer import RegularizedModel, Regularizer, with_regularizer
from mpinas.morphnet.shrink import estimate_statistics, rebuild_model, set_weights
from mpinas.morphnet.sources import NothingToShrink, Sources, find_sources
from mpinas.morphnet.target import check_reach, meet_target, target_flops, widened
from mpinas.problems.prepared import open_prepared
from mpinas.records import ProblemSpec
from mpinas.trial.adaptation import Adapted, Pixels, Size, Wish
from mpinas.trial.batches import Parts, open_parts
from mpinas.trial.inputs import MOST_RESIDENT_BYTES, around, pass_over
from mpinas.trial.measuring import Measured, measure
from mpinas.trial.model_file import check_fit, save_model
from mpinas.trial.shrinking import STATISTICS_BATCHES
from mpinas.trial.training import OPTIMIZERS, UntilNotFinite, compile_model

GREY_LEVELS = 255.0
SMALLEST_SCALE_OF_UNIT = 0.1
"""A first layer that multiplies by less has grey levels in front of it, not numbers up to 1."""


def adapt(model: keras.Model, problem: ProblemSpec, settings: TrialConfig, wish: Wish) -> Adapted:
    """Shrinks, trains and writes a model; the given one stays as it is on disk, not in memory.

    Args:
        model: of ``model_file.load_model``, which its ``check_fit`` found no fault in.
        settings: of training, and of the regularised one.

    Raises:
        UserMustChange: the target cannot be met, or no channel may be cut.
        MpinasError: a loss was no number.
        OSError: the file cannot be written.
    """
    descriptions = describe_model(model)
    scaling = scaling_layer(model)
    pixels = wish.pixels or ("standardised" if scaling is None else "raw")
    graph = ChannelGraph(descriptions)
    before = _size(model, graph)
    target = target_flops(wish.flops, before.flops)
    keras.utils.set_random_seed(wish.seed)
    workshop = _Workshop(model, problem, settings, pixels, wish.seed)
    accuracy_before = workshop.accuracy(workshop.compiled(model))
    try:
        sources = find_sources(graph, settings.shrink.source)
    except NothingToShrink as reason:
        raise UserMustChange(fault(f"model '{model.name}'", str(reason))) from reason
    cut_target = target // 2 if wish.expand else target
    check_reach(graph, sources.may_die, cut_target, settings.shrink.min_filters)
    gated, regularizer = with_regularizer(model, graph, sources, settings.shrink)
    accuracy_regularised, warnings = workshop.regularise(gated, regularizer, sources)
    cut = meet_target(
        graph,
        regularizer.read().shares,
        cut_target,
        min_filters=settings.shrink.min_filters,
        round_to=settings.shrink.round_to,
    )
    plan, multiplier = widened(graph, cut.plan, target) if wish.expand else (cut.plan, None)
    small = rebuild_model(model, graph, plan)
    trained = workshop.compiled(small)
    accuracy_after_cut = None
    if not wish.expand:
        carried = carry(graph, plan, weights_of(gated), sources.named("gamma"))
        set_weights(small, carried.weights)
        workshop.estimate_statistics(small, trained)
        accuracy_after_cut = workshop.accuracy(trained)
    workshop.fit(trained, wish.epochs * workshop.steps_per_epoch, workshop.epochs_over)
    accuracy = workshop.accuracy(trained)
    save_model(small, wish.out)
    return Adapted(
        before=before,
        after=_size(small, ChannelGraph(describe_model(small))),
        pixels=pixels,
        target=target,
        threshold=cut.threshold,
        multiplier=multiplier,
        accuracy_before=accuracy_before,
        accuracy_regularised=accuracy_regularised,
        accuracy_after_cut=accuracy_after_cut,
        accuracy=accuracy,
        unknown=tuple(name for name in unsupported(descriptions) if name != scaling),
        warnings=warnings,
    )


def _size(model: keras.Model, graph: ChannelGraph) -> Size:
    return Size(
        flops=graph.cost(graph.all_alive(), "flops"),
        parameters=model.count_params(),
        widths={one.name: one.width for one in graph.makers},
    )


class _Workshop:
    """The data, and training on it as the configuration has it.

    Attributes:
        steps_per_epoch: of training.
        epochs_over: of regularised training, a begun one counted whole.
    """

    def __init__(
        self,
        model: keras.Model,
        problem: ProblemSpec,
        settings: TrialConfig,
        pixels: Pixels,
        seed: int,
    ) -> None:
        self._on_gpu = bool(tf.config.list_physical_devices("GPU"))
        most_bytes = MOST_RESIDENT_BYTES if self._on_gpu else 0
        parts = open_parts(problem, settings.batch_size, most_resident_bytes=most_bytes)
        self._parts = with_pixels(parts, pixels)
        prepared = open_prepared(Path(problem.path))
        self._from_logits = not check_fit(model, prepared.image_shape, prepared.classes)
        self._settings = settings
        self._seed = seed
        self.steps_per_epoch = len(parts.training)
        self.epochs_over = math.ceil(
            settings.shrink.steps(self.steps_per_epoch) / self.steps_per_epoch
        )

    def compiled(self, network: keras.Model) -> keras.Model:
        """The network behind its input preparation, to be trained and measured."""
        model = around(network, self._parts)
        self._compile(model, self._optimizer())
        return model

    def regularise(
        self, network: keras.Model, regularizer: Regularizer, sources: Sources
    ) -> tuple[float, tuple[str, ...]]:
        """The whole regularised run; returns accuracy and warnings."""
        shrink = self._settings.shrink
        model = around(network, self._parts, RegularizedModel)
        model.add_regularizer(regularizer, shrink.strength)
        rate = shrink.scale_rate(self.steps_per_epoch)
        self._compile(model, with_scale_rate(self._optimizer(), regularizer.scales, rate))
        self.fit(model, shrink.steps(self.steps_per_epoch), 0)
        self.estimate_statistics(network, model)
        measured = self._measured(model)
        warnings = self._drift_warnings({one.source for one in sources.layers})
        if measured.is_guessing:
            warnings += (
                "after the regularised training the model is no better than guessing: "
                f"{measured.said}; what is cut says little then",
            )
        return measured.accuracy, warnings

    def _drift_warnings(self, kinds: Collection[Source]) -> tuple[str, ...]:
        """Of the kinds of sources that the model has."""
        shrink = self._settings.shrink.model_copy(update={"enabled": True})
        lines: dict[str, None] = {}
        for batch_norm in (True, False):
            if shrink.source_with(batch_norm=batch_norm) in kinds:
                found = drift_warnings(
                    shrink,
                    batch_norm=batch_norm,
                    learning_rate=middle_rate(self._settings),
                    optimizer=self._settings.optimizer,
                    steps_per_epoch=self.steps_per_epoch,
                )
                lines.update(dict.fromkeys(found))
        return tuple(lines)

    def fit(self, model: keras.Model, steps: int, epochs_before: int) -> None:
        """Trains for so many steps, each epoch in an order of its own.

        Raises:
            MpinasError: a loss was no number.
        """
        for epoch, left in enumerate(range(steps, 0, -self.steps_per_epoch), epochs_before):
            batches = self._parts.training.shuffled(self._seed, epoch)
            history = model.fit(
                pass_over(batches).take(left),
                callbacks=[UntilNotFinite()],
                shuffle=False,
                verbose=0,
            )
            if not math.isfinite(history.history["loss"][-1]):
                raise MpinasError(
                    f"the loss was no number in epoch {epoch + 1}; a lower trial.learning_rate "
                    "or other --pixels may help"
                )

    def accuracy(self, model: keras.Model) -> float:
        """On the validation part, 0..1."""
        return self._measured(model).accuracy

    def _measured(self, model: keras.Model) -> Measured:
        return measure(model, self._parts.validation, from_logits=self._from_logits)

    def estimate_statistics(self, network: keras.Model, model: keras.Model) -> None:
        """Those of batch norms, anew: of the network as it is now."""
        sample = self._parts.training.sample(self._seed, STATISTICS_BATCHES)
        estimate_statistics(network, model, sample)

    def _optimizer(self) -> keras.optimizers.Optimizer:
        return OPTIMIZERS[self._settings.optimizer](middle_rate(self._settings))

    def _compile(self, model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
        compile_model(
            model,
            optimizer,
            self._settings,
            self._parts,
            on_gpu=self._on_gpu,
            from_logits=self._from_logits,
        )


def scaling_layer(model: keras.Model) -> str | None:
    """The name of a first layer that scales grey levels, as in all models of ``export``."""
    inner = (one for one in model.layers if not isinstance(one, keras.layers.InputLayer))
    first = next(inner, None)
    if isinstance(first, keras.layers.Normalization):
        scale = 1 / np.sqrt(np.max(keras.ops.convert_to_numpy(first.variance)))
    elif isinstance(first, keras.layers.Rescaling):
        scale = np.max(first.scale)
    else:
        return None
    return str(first.name) if scale < SMALLEST_SCALE_OF_UNIT else None


def with_pixels(parts: Parts, pixels: Pixels) -> Parts:
    """The parts with images as the model reads them."""
    if pixels == "standardised":
        return parts
    deviation = GREY_LEVELS if pixels == "unit" else 1.0
    return replace(
        parts,
        mean=np.zeros_like(parts.mean),
        deviation=np.full_like(parts.deviation, deviation),
    )


def middle_rate(settings: TrialConfig) -> float:
    """The learning rate, or the geometric middle of those that a search would draw from."""
    rate = settings.learning_rate
    if isinstance(rate, RangeDomain):
        return math.sqrt(rate.min * rate.max)
    return math.sqrt(min(rate) * max(rate)) if isinstance(rate, tuple) else rate
