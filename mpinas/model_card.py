"""The model card: what a reader has to know of an exported model, in Markdown. Pure.

Comes in: ``Exported``. After Mitchell et al. 2019, "Model Cards for Model Reporting": details, use,
data, measures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mpinas.trial.exported import Exported, Measures

EVALUATE = """\
```python
import keras

model = keras.models.load_model("{file}")
probabilities = model.predict(images)  # {shape}, 0 to 255
classes = probabilities.argmax(axis=1)
```"""
MOST_CLASSES = 200
"""Named in the card; the record beside it has all of them."""


def model_card(exported: Exported) -> str:
    """The whole file."""
    return "\n".join(_lines(exported)) + "\n"


def _lines(exported: Exported) -> Iterator[str]:
    yield f"# {exported.name}"
    yield ""
    yield f"A network for {exported.data['problem']}, found and trained by mpinas."
    yield ""
    yield from _table("accuracy", _accuracies(exported))
    yield from _table("cost of one image", _costs(exported))
    yield "## Use"
    yield ""
    shape = ("N", *exported.image_shape)
    yield EVALUATE.format(file=f"{exported.name}.keras", shape=f"({', '.join(map(str, shape))})")
    yield ""
    yield from _input_and_output(exported)
    yield from _table("data", _data(exported))
    yield from _table("training", _training(exported))
    yield from _table("how it was found", _found(exported))
    yield from _table("versions", exported.versions.items())
    yield "## Files"
    yield ""
    yield f"`{exported.name}.json` has the genotype, the network and all figures. SHA-256:"
    yield ""
    yield from (f"- `{name}` {digest}" for name, digest in sorted(exported.files.items()))


def _table(title: str, rows: Iterable[tuple[str, object]]) -> Iterator[str]:
    yield f"## {title[0].upper()}{title[1:]}"
    yield ""
    yield "| | |"
    yield "|---|---|"
    for name, value in rows:
        yield f"| {_cell(name)} | {_cell(value)} |"
    yield ""


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def _accuracies(exported: Exported) -> Iterator[tuple[str, str]]:
    yield "on the test set, looked at once, after the training", _measured(exported.test)
    yield (
        "on the validation images, which decided which epoch was best",
        _measured(exported.validation),
    )
    fitness = exported.found.get("fitness")
    if fitness is not None:
        yield "on those of the search, after its short training", f"{fitness:.4f}"


def _measured(measures: Measures) -> str:
    return (
        f"{measures.accuracy:.4f} ({measures.images:,} images, cross entropy {measures.loss:.4f})"
    )


def _costs(exported: Exported) -> Iterator[tuple[str, str]]:
    before = exported.found.get("costs")
    costs = exported.costs
    flops, parameters = f"{costs.flops:,}", f"{costs.parameters:,}"
    if before is not None and before["flops"] != costs.flops:
        flops += f" ({costs.flops / before['flops']:.0%} of {before['flops']:,} before the shrink)"
        parameters += (
            f" ({costs.parameters / before['parameters']:.0%} of {before['parameters']:,})"
        )
    yield "FLOPs (2 x multiply-adds)", flops
    yield "parameters", parameters


def _input_and_output(exported: Exported) -> Iterator[str]:
    height, width, channels = exported.image_shape
    colours = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    yield (
        f"**Input**: images of {height} x {width} pixels, {colours}, as they are: whole numbers or "
        "floats from 0 to 255. The model scales them itself; its first layer, Keras's "
        "`Normalization`, has mean and variance of the training images, and it was trained with "
        "that layer."
    )
    yield ""
    count = len(exported.class_names)
    yield f"**Output**: the probability of each of {count} classes, in this order:"
    yield ""
    shown = exported.class_names[:MOST_CLASSES]
    rest = "" if len(shown) == count else f", ... ({exported.name}.json has all)"
    yield ", ".join(_cell(name) for name in shown) + rest
    yield ""


def _data(exported: Exported) -> Iterator[tuple[str, object]]:
    data = exported.data
    yield "problem", data["problem"]
    yield "source", data["source"]
    yield "SHA-256 of the data", f"`{data['checksum']}`"
    yield (
        "images",
        (
            f"{data['training_images']:,} training, {exported.validation.images:,} validation, "
            f"{exported.test.images:,} test"
        ),
    )


def _training(exported: Exported) -> Iterator[tuple[str, object]]:
    told = exported.training
    epochs = len(exported.curves.training_loss)
    yield "begun with", told["begun_with"]
    yield "optimizer", f"{told['optimizer']}, batches of {told['batch_size']}, {told['precision']}"
    yield "learning rate", f"{told['learning_rate']:.3g}, {told['schedule']}"
    yield "epochs", f"{epochs} of at most {told['epochs']}, patience {told['patience']}"
    yield "weights", f"of epoch {exported.best_epoch}, the best by {told['best_by']}"
    yield "copies of each image", exported.data["copies"]
    yield "seed", told["seed"]
    yield "time", f"{exported.train_s:.0f} s"


def _found(exported: Exported) -> Iterator[tuple[str, object]]:
    found = exported.found
    yield "run", f"{found['run']}, seed {found['seed']}"
    yield (
        "search",
        (
            f"{found['tuner']}, {found['generations']} generations; {found['trials']} trials of "
            f"{found['epochs']} epochs when this was made"
        ),
    )
    yield "trial", f"{exported.trial_id}, generation {found['generation']}"
    shrink = {None: "none", "shrunk": "shrunk", "nothing_removed": "nothing removed"}
    outcome = shrink.get(found["shrink"], "broken: trained unshrunk")
    yield "shrink", f"{outcome}; exported unshrunk" if found["unshrunk"] else outcome
    yield "network hash", f"`{exported.network.hash}`"
