"""``predict``: what image files show, by an exported model."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import click
from rich.console import Console

from mpinas.cli.common import EXIT_DONE, EXIT_FAILED, end_orderly, exit_code
from mpinas.problems.decoding import Unreadable, decode
from mpinas.problems.images import Images, numbered_names
from mpinas.report.predictions_view import (
    Prediction,
    prediction_table,
    printable,
    to_json_view,
)
from mpinas.trial.exported import digest_of, record_beside
from mpinas.trial.forkserver import silence

BATCH_IMAGES = 256
"""Decoded and in memory at once."""
WIDEST = 10_000
"""Columns of the table: more than names of files and classes have."""


@click.command("predict")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="The N most probable classes of each image.",
)
@click.option("--json", "as_json", is_flag=True, help="The machine-readable form.")
def predict(model: Path, images: tuple[Path, ...], top: int, as_json: bool) -> None:
    """Classify image files with MODEL, a .keras file that `export` wrote.

    Files are read as those of an image folder: turned as their EXIF says, made grey or RGB, scaled
    and cropped to what the model reads. Class names are those of MODEL's .json, if it is beside
    it. Exit code 1 if a file cannot be read, or the model gives no numbers for it.
    """
    sys.exit(exit_code(lambda: _predict(model, images, top, as_json=as_json)))


def _predict(model: Path, files: Sequence[Path], top: int, *, as_json: bool) -> int:
    end_orderly()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with silence():  # TensorFlow writes of processors and drivers; what goes wrong is an exception
        from mpinas.trial.predicting import Classifier

        classifier = Classifier(model)
    names = _class_names(model, classifier.classes)
    predictions: list[Prediction] = []
    unread = iter(files)
    while batch := list(islice(unread, BATCH_IMAGES)):
        read = list(_read(batch, classifier.image_shape))
        images = [image for _, image in read if not isinstance(image, str)]
        rows = iter(classifier.probabilities(images) if images else ())
        for file, image in read:
            if isinstance(image, str):
                predictions.append(Prediction(file=str(file), error=image))
            else:
                shares = list(zip(names, map(float, next(rows)), strict=True))
                predictions.append(Prediction.of(str(file), shares, top))
    _show(predictions, as_json=as_json)
    return EXIT_FAILED if any(one.error for one in predictions) else EXIT_DONE


def _class_names(model: Path, classes: int) -> Sequence[str]:
    """Of the record beside the model; numbers where there is none that fits."""
    exported = record_beside(model)
    record = model.with_suffix(".json")
    if exported is None or len(exported.class_names) != classes:
        click.echo(f"{record}: no class names there; classes are numbers", err=True)
        return numbered_names(classes)
    if digest_of(model) not in exported.files.values():
        click.echo(f"{record}: tells of another file; its class names may be others", err=True)
    return exported.class_names


def _read(
    files: Sequence[Path], image_shape: tuple[int, int, int]
) -> Iterator[tuple[Path, Images | str]]:
    """Each file with its pixels, or why it has none."""
    *size, channels = image_shape
    for file in files:
        try:
            yield file, decode(file.read_bytes(), size=(size[0], size[1]), channels=channels)
        except Unreadable as error:
            yield file, f"cannot be read: {error.reason}"
        except OSError as error:
            yield file, f"cannot be read: {error.strerror or error}"


def _show(predictions: Sequence[Prediction], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(to_json_view(predictions), allow_nan=False))
        return
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # not every terminal has every letter
    console = Console(highlight=False, soft_wrap=True, width=WIDEST)  # names are not cut short
    console.print(prediction_table(predictions))
    for one in predictions:
        if one.error:
            click.echo(f"{printable(one.file)}: {one.error}", err=True)
