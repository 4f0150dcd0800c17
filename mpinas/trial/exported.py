"""Exported models: what a final training is asked for, and what is written down of one.

Comes in and goes out: records, and the names of files in a folder of models. The JSON of
:class:`Exported` is written last: a model without it, or whose files are not those it tells of,
is not finished. It must know neither TensorFlow nor how a model is trained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpinas.files import remove
from mpinas.records import Costs, Curves, NetworkSpec, from_json

FORMATS: Mapping[str, str] = {
    "keras": ".keras",
    "saved_model": ".saved_model",
    "tflite": ".tflite",
}
"""How a model can be written -> how the name of its file ends; a SavedModel is a folder."""

ALWAYS = "keras"
"""The format that all others are made of."""

FINAL = "final"
"""Runner of final trainings, and the key of :class:`FinalSettings` in ``TrialSpec.settings``."""

_PART_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalSettings:
    """What a final training is asked for, beside the ``trial`` section.

    Attributes:
        folder: where the model goes, absolute.
        name: of its files.
        identity: of all that decides which weights come out; see ``export.py``.
        formats: of ``FORMATS``.
        patience: epochs without a better one after which it ends.
        weights: file of weights to begin with; None for new ones.
        found: how the network was found, for people; goes into the record as it is.
    """

    folder: str
    name: str
    identity: str
    formats: tuple[str, ...]
    patience: int
    weights: str | None = None
    found: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Of the written model, loaded from its file. ``loss``: mean cross entropy in nats."""

    images: int
    accuracy: float
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """All that is known of an exported model; ``NAME.json`` beside it.

    Attributes:
        image_shape: ``(height, width, channels)`` of what it reads: pixels of 0 to 255.
        mean, deviation: of each channel, what the model itself subtracts and divides by.
        validation: of the images that decided when the training ended and which epoch was best.
        costs: of the network; the scaling of the pixels is not counted.
        training: how it was trained.
        best_epoch: whose weights these are, counted from 1.
        data: name, source and SHA-256 of the data, and how many images were learned from.
        found: how the network was found.
        genotype: blueprint and modules.
        files: SHA-256 of each file (of a folder: of all in it) by name.
    """

    schema_version: int = 1
    name: str
    trial_id: str
    identity: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    test: Measures
    validation: Measures
    costs: Costs
    training: Mapping[str, Any]
    curves: Curves
    best_epoch: int
    train_s: float
    data: Mapping[str, Any]
    found: Mapping[str, Any]
    versions: Mapping[str, str]
    genotype: Mapping[str, Any]
    network: NetworkSpec
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """The files of one model."""

    folder: Path
    name: str

    @property
    def record(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def card(self) -> Path:
        return self.folder / f"{self.name}.md"

    @property
    def backup(self) -> Path:
        """What a training that is under way has reached."""
        return self.folder / f".{self.name}.training"

    def model(self, form: str) -> Path:
        """The model in one of ``FORMATS``."""
        return self.folder / f"{self.name}{FORMATS[form]}"

    def temporary(self, form: str) -> Path:
        """Where it is written before it is whole. Its name ends as Keras wants it."""
        return self.folder / f".{self.name}.new{FORMATS[form]}"

    def remove_all(self) -> None:
        """Removes the model, its record first, so that nothing of another training is left."""
        for path in (self.record, self.card, *map(self.model, FORMATS)):
            remove(path)

    def load_record(self) -> Exported | None:
        """What is written down of the model; None where there is nothing that can be read."""
        try:
            return from_json(Exported, self.record.read_bytes())
        except (OSError, ValueError):
            return None

    def missing(self, exported: Exported | None, identity: str, formats: Iterable[str]) -> set[str]:
        """The formats that are not there yet as that training gives them; its own come first."""
        wanted = {ALWAYS, *formats}
        if exported is None or exported.identity != identity or not self._has(exported, ALWAYS):
            return wanted
        return {form for form in wanted if not self._has(exported, form)}

    def _has(self, exported: Exported, form: str) -> bool:
        file = self.model(form)
        return file.exists() and exported.files.get(file.name) == digest_of(file)


def record_beside(model: Path) -> Exported | None:
    """What is written down of a model file, if it stands beside it."""
    return ModelFiles(model.parent, model.stem).load_record()


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files in a folder.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    if path.is_file():
        _add_file(digest, path)
        return digest.hexdigest()
    for file in sorted(one for one in path.rglob("*") if one.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\n{file.stat().st_size}\n".encode())
        _add_file(digest, file)
    return digest.hexdigest()


def _add_file(digest: Any, path: Path) -> None:
    with path.open("rb") as file:
        while part := file.read(_PART_BYTES):
            digest.update(part)
