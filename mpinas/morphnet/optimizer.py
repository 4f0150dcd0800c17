"""One optimizer, two learning rates: gammas and gates have an Adam of their own.

A scale has to travel from 1 to 0 within the few steps of the regularised training; at such a rate
all other weights would break the network. Under Adam a scale moves by about the learning rate a
step, whatever the strength of the regulariser (Kingma and Ba 2015, section 2.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


def with_scale_rate(
    optimizer: keras.optimizers.Optimizer, scales: Sequence[keras.Variable], rate: float
) -> keras.optimizers.Optimizer:
    """An optimizer like the given one, except for some variables.

    Args:
        optimizer: not used yet; it stays as it is.
        scales: get Adam with the learning rate ``rate``, and no weight decay: that would be a
            second penalty on them.
    """
    base = type(optimizer)
    scale_adam = keras.optimizers.Adam(rate)
    stepped: set[int] = set()

    class WithScaleRate(base):  # type: ignore[misc, valid-type]
        """Steps the scales by themselves."""

        def build(self, variables: Sequence[keras.Variable]) -> None:
            if scales and self.weight_decay:
                self.exclude_from_weight_decay(var_list=list(scales))
            super().build(variables)
            scale_adam.build(list(scales))

        def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> Any:
            result = super().apply(grads, trainable_variables)
            if len(stepped) < len(scales):
                # Else nothing would be cut, and nobody would know why.
                raise RuntimeError(
                    f"Keras {keras.__version__} hands the optimizer other objects than the "
                    "model's variables: the scales cannot have a learning rate of their own"
                )
            return result

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            known = [index for index, scale in enumerate(scales) if _same(variable, scale)]
            if not known:
                super().update_step(gradient, variable, learning_rate)
                return
            stepped.update(known)
            scale_adam.iterations.assign(self.iterations)
            scale_adam.update_step(gradient, variable, scale_adam.learning_rate)

    return WithScaleRate.from_config(optimizer.get_config())


def _same(variable: Any, scale: keras.Variable) -> bool:
    """Backends hand either their own variable or Keras's to an update."""
    return variable is scale or variable is scale.value
