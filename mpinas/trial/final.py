"""The final training of a winner, in its child process: trained, tested, written as a model.

Comes in: ``TrialSpec`` whose settings hold ``FinalSettings`` beside the ``trial`` section. Comes
out: files of a model of Keras's own layers, which reads raw images and gives probabilities, and
``Exported`` beside them; the ``TrialResult`` says whether that worked. The only module that looks
at the test set, once, after the training. Like ``run.py`` it can be preloaded.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from mpinas import __version__
from mpinas.assembly.keras_model import build_model
from mpinas.assembly.shapes import network_costs
from mpinas.config import TrialConfig
from mpinas.errors import MpinasError, fault
from mpinas.files import remove
from mpinas.problems import PreparedProblem, open_prepared
from mpinas.problems.images import Images, Labels
from mpinas.problems.splits import Indices
from mpinas.records import (
    Curves,
    Failure,
    Times,
    TrialResult,
    TrialSpec,
    TrialStatus,
    canonical_json,
    from_plain,
    to_json,
)
from mpinas.trial.adapting import with_pixels
from mpinas.trial.batches import Parts, open_parts
from mpinas.trial.exported import (
    ALWAYS,
    FINAL,
    Exported,
    FinalSettings,
    Measures,
    ModelFiles,
    digest_of,
)
from mpinas.trial.final_backup import (
    Array,
    Backup,
    Rows,
    best_epoch,
    is_over,
    load_backup,
    save_backup,
)
from mpinas.trial.inputs import MOST_RESIDENT_BYTES, around, one_pass
from mpinas.trial.model_formats import put_in_place, write_model
from mpinas.trial.run import as_result, failed, start_trial, versions
from mpinas.trial.training import OPTIMIZERS, Bench, Observer, Report, compile_model

CHUNK_IMAGES = 4096
"""Of the test set in memory at once; a multiple of the batches in which Keras predicts."""
SMALLEST_PROBABILITY = 1e-7
"""For a loss that stays finite, as in Keras."""


def run_trial(spec: TrialSpec, report: Report) -> TrialResult:
    """Trains one network fully and writes it down; goes on where an earlier attempt was.

    Args:
        spec: what to do.
        report: called after each epoch, whose state is on disk by then.

    Returns:
        ``COMPLETE``, with the validation accuracy of the written model as its fitness, once all
        files are there; else as ``run.run_trial`` says.
    """
    return as_result(spec, lambda result: _finish(spec, report, result))


def _finish(spec: TrialSpec, report: Report, result: TrialResult) -> TrialResult:
    plain = dict(spec.settings)
    wish = from_plain(FinalSettings, plain.pop(FINAL))
    settings = TrialConfig.model_validate_json(canonical_json(plain))
    files = ModelFiles(Path(wish.folder), wish.name)
    on_gpu = start_trial(settings, spec.seed)
    exported = files.load_record()
    missing = files.missing(exported, wish.identity, wish.formats)
    try:
        if ALWAYS in missing or exported is None:
            trained = _Training(spec, settings, wish, report, on_gpu=on_gpu)
            trained.go_on()
            if trained.not_finite:
                files.backup.unlink(missing_ok=True)
                return failed(result, Failure.NOT_A_NUMBER, trained.not_finite)
            result = replace(result, curves=_curves(trained.rows), times=trained.times())
            exported = trained.write()
            missing -= {ALWAYS}
        _write_others(files, exported, missing)
    except _OtherWeights as error:
        return failed(result, Failure.ERROR, str(error))  # on every worker alike
    except OSError as error:
        reason = f"{files.model(ALWAYS)} cannot be written: {error}"
        return failed(result, Failure.INFRASTRUCTURE, reason)
    files.backup.unlink(missing_ok=True)
    fitness = exported.validation.accuracy
    return replace(result, status=TrialStatus.COMPLETE, failure=None, fitness=fitness)


def _write_others(files: ModelFiles, exported: Exported, formats: set[str]) -> None:
    """Writes the other formats that are wanted, from the model's own file, and the record."""
    if formats:
        model = keras.models.load_model(files.model(ALWAYS), compile=False)
        for form in sorted(formats):
            write_model(model, files, form)
    found = {form: files.model(form) for form in sorted(formats)}
    digests = {file.name: digest_of(file) for file in found.values()}
    _write_record(files, replace(exported, files={**exported.files, **digests}))


def _write_record(files: ModelFiles, exported: Exported) -> None:
    temporary = files.record.with_name(f".{files.record.name}.new")
    temporary.write_bytes(to_json(exported))
    put_in_place(temporary, files.record)


class _OtherWeights(MpinasError):
    """The file to begin with is damaged, or of another network."""


class _Training:
    """A network in its final training.

    Attributes:
        rows: figures of all epochs, those of earlier attempts first.
        not_finite: as ``training.Observer`` has it.
    """

    def __init__(
        self,
        spec: TrialSpec,
        settings: TrialConfig,
        wish: FinalSettings,
        report: Report,
        *,
        on_gpu: bool,
    ) -> None:
        self.not_finite = ""
        self.rows: list[Mapping[str, float]] = []
        self._spec, self._settings, self._wish = spec, settings, wish
        self._files = ModelFiles(Path(wish.folder), wish.name)
        most_bytes = MOST_RESIDENT_BYTES if on_gpu else 0
        self._parts = open_parts(spec.problem, settings.batch_size, most_resident_bytes=most_bytes)
        self._bench = Bench(
            spec=replace(spec, weights_path=None),  # it keeps the best ones itself
            settings=settings,
            parts=with_pixels(self._parts, "raw"),  # the network scales them itself
            report=report,
            on_gpu=on_gpu,
        )
        self._network = self._build()
        self._model = around(self._network, self._bench.parts)
        optimizer = OPTIMIZERS[settings.optimizer](cast(float, self._schedule()))
        compile_model(self._model, optimizer, settings, self._bench.parts, on_gpu=on_gpu)
        self._best: Sequence[Array] = ()
        self._resume()

    def _build(self) -> keras.Model:
        """The network behind the layer that scales pixels, with the weights to begin with."""
        scaling = keras.layers.Normalization(
            mean=[float(value) for value in self._parts.mean],
            variance=[float(value) ** 2 for value in self._parts.deviation],
            dtype="float32",  # half precision could not count the grey levels
            name="scale_pixels",
        )
        seed = self._spec.seed
        network = build_model(self._spec.network, seed=seed, front=[scaling])
        if self._wish.weights is not None:
            bare = build_model(self._spec.network, seed=seed)
            _load_weights(bare, self._wish.weights)
            network.set_weights(bare.get_weights())
        return network

    def _schedule(self) -> keras.optimizers.schedules.LearningRateSchedule:
        """From the candidate's own rate to 0 along half a cosine (Loshchilov and Hutter 2017)."""
        steps = self._settings.epochs * len(self._parts.training)
        return keras.optimizers.schedules.CosineDecay(self._spec.learning_rate, decay_steps=steps)

    def _resume(self) -> None:
        """Takes over what an earlier attempt had reached, if anything tells and it fits."""
        backup = load_backup(self._files.backup, self._wish.identity)
        if backup is None:
            return
        targets = [*self._network.variables, *self._model.optimizer.variables]
        values = [*backup.network, *backup.optimizer]
        if [tuple(one.shape) for one in targets] != [one.shape for one in values]:
            return  # written by another version of Keras
        for target, value in zip(targets, values, strict=True):
            target.assign(value)
        self.rows, self._best = list(backup.rows), backup.best

    def go_on(self) -> None:
        """Trains to the end, unless that was reached before; the best weights are in place."""
        before, settings = len(self.rows), self._settings
        if not is_over(self.rows, epochs=settings.epochs, patience=self._wish.patience):
            observer = Observer(self._bench, self._network, before, settings.epochs)
            self._model.fit(
                one_pass(lambda: observer.training),
                validation_data=one_pass(lambda: self._bench.parts.validation),
                epochs=settings.epochs - before,
                callbacks=[_Keeper(self, observer), observer],
                shuffle=False,  # the observer shuffles
                verbose=0,
            )
            self.not_finite = observer.not_finite
        if not self.not_finite:
            for variable, value in zip(self._network.variables, self._best, strict=True):
                variable.assign(value)

    def keep(self, row: Mapping[str, float]) -> bool:
        """Takes an epoch in and saves what is reached; whether the training is over."""
        self.rows.append(dict(row))
        network = [np.asarray(one) for one in self._network.variables]
        if best_epoch(self.rows) == len(self.rows) - 1:
            self._best = network
        save_backup(
            self._files.backup,
            Backup(
                identity=self._wish.identity,
                rows=self.rows,
                network=network,
                optimizer=[np.asarray(one) for one in self._model.optimizer.variables],
                best=self._best,
            ),
        )
        return is_over(self.rows, epochs=self._settings.epochs, patience=self._wish.patience)

    def times(self) -> Times:
        """Of all attempts."""
        return Times(train_s=sum(row["time_s"] for row in self.rows))

    def write(self) -> Exported:
        """Writes the model, and measures what was written."""
        probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")
        model = keras.Model(
            self._network.input, probabilities(self._network.output), name="mpinas_model"
        )
        temporary = self._files.temporary(ALWAYS)
        remove(temporary)
        try:
            model.save(temporary)
            exported = self._measured(keras.models.load_model(temporary, compile=False))
            self._files.remove_all()  # of a training with other settings
            put_in_place(temporary, self._files.model(ALWAYS))
        finally:
            remove(temporary)
        digest = digest_of(self._files.model(ALWAYS))
        exported = replace(exported, files={self._files.model(ALWAYS).name: digest})
        _write_record(self._files, exported)
        return exported

    def _measured(self, model: keras.Model) -> Exported:
        spec, wish, parts = self._spec, self._wish, self._parts
        prepared = open_prepared(Path(spec.problem.path))
        everything = np.arange(len(prepared.y_test))
        return Exported(
            name=wish.name,
            trial_id=spec.trial_id,
            identity=wish.identity,
            class_names=prepared.class_names,
            image_shape=prepared.image_shape,
            mean=tuple(map(float, parts.mean)),
            deviation=tuple(map(float, parts.deviation)),
            test=measure_on(model, prepared.x_test, prepared.y_test, everything),
            validation=measure_on(
                model, prepared.x_train, prepared.y_train, parts.validation.order
            ),
            costs=network_costs(spec.network),
            training=self._account(),
            curves=_curves(self.rows),
            best_epoch=best_epoch(self.rows) + 1,
            train_s=self.times().train_s,
            data=_account_of_data(prepared, spec, parts),
            found=wish.found,
            versions={"mpinas": __version__, **versions()},
            genotype=spec.candidate,
            network=spec.network,
            files={},
        )

    def _account(self) -> Mapping[str, Any]:
        settings = self._settings
        return {
            "epochs": settings.epochs,
            "patience": self._wish.patience,
            "batch_size": settings.batch_size,
            "optimizer": settings.optimizer,
            "learning_rate": self._spec.learning_rate,
            "schedule": "cosine to 0 over all epochs",
            "best_by": "validation accuracy, then validation loss",
            "precision": settings.precision,
            "augment": dict(self._spec.problem.augment),
            "seed": self._spec.seed,
            "begun_with": "the weights of the trial" if self._wish.weights else "new weights",
        }


class _Keeper(keras.callbacks.Callback):  # type: ignore[misc]
    """Saves each epoch before it is reported, and ends the training in time."""

    def __init__(self, training: _Training, observer: Observer) -> None:
        super().__init__()
        self._training = training
        self._observer = observer
        self._began_s = 0.0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._began_s = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        row = {name: float(value) for name, value in (logs or {}).items()}
        row["time_s"] = time.perf_counter() - self._began_s
        if self._observer.not_finite or not math.isfinite(row["val_loss"]):
            return
        if self._training.keep(row):
            self.model.stop_training = True


def measure_on(model: keras.Model, images: Images, labels: Labels, chosen: Indices) -> Measures:
    """How good a model from raw images to probabilities is, in batches as Keras's ``predict``."""
    right, loss = 0, 0.0
    for start in range(0, len(chosen), CHUNK_IMAGES):
        part = chosen[start : start + CHUNK_IMAGES]
        given = np.asarray(model.predict(images[part], verbose=0))
        wanted = given[np.arange(len(part)), labels[part]]
        right += int(np.sum(np.argmax(given, axis=1) == labels[part]))
        loss -= float(np.sum(np.log(np.maximum(wanted, SMALLEST_PROBABILITY))))
    return Measures(images=len(chosen), accuracy=right / len(chosen), loss=loss / len(chosen))


def _load_weights(model: keras.Model, file: str) -> None:
    try:
        model.load_weights(file)
    except Exception as error:  # of damaged files Keras makes many kinds of errors
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise _OtherWeights(
            fault(
                file,
                "no weights of this network",
                f"error={said}",
                cure="Leave --inherit out: the training begins with new weights then",
            )
        ) from error


def _account_of_data(prepared: PreparedProblem, spec: TrialSpec, parts: Parts) -> Mapping[str, Any]:
    return {
        "problem": spec.problem.name,
        "source": prepared.source,
        "checksum": prepared.checksum,
        "training_images": spec.problem.training_images,
        "copies": parts.training.augment.copies,
    }


def _curves(rows: Rows) -> Curves:
    def column(name: str) -> tuple[float, ...]:
        return tuple(row[name] for row in rows)

    return Curves(
        training_loss=column("loss"),
        training_accuracy=column("accuracy"),
        validation_loss=column("val_loss"),
        validation_accuracy=column("val_accuracy"),
    )
