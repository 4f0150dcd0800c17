"""The sections of a configuration: every key known, every default written here.

Comes in: plain values, as ``config_file.py`` reads them. Comes out: frozen models, or pydantic's
``ValidationError``, which ``config_faults.py`` words. What only lower layers can judge (does this
layer kind exist, is this tuner known) is not judged here; see ``config_file.Knowledge``.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    SerializeAsAny,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from typing_extensions import Self

from mpinas.config_comparison import ComparisonConfig
from mpinas.config_fake import FakeConfig
from mpinas.config_shrink import ShrinkConfig
from mpinas.config_values import (
    DomainConfig,
    RangeDomain,
    Section,
    as_tuple,
    domain_form,
    parse_walltime_s,
)

Share = Annotated[float, Field(ge=0, le=1)]
Pixels = Annotated[int, Field(gt=0, le=4096)]


class AugmentConfig(Section):
    """Random variants of the training images, made anew each epoch on the device."""

    copies: int = Field(
        default=1,
        ge=1,
        le=100,
        description="how often an image appears in an epoch: once as it is, else as a variant",
    )
    flip: bool = Field(
        default=True, description="variants are mirrored left to right, half of them"
    )
    shift: float = Field(
        default=0.125,
        ge=0,
        le=0.5,
        description="moved by up to this share of height and width; the border is reflected",
    )
    brightness: Share = Field(
        default=0.2, description="up to this share of the full range is added or taken away"
    )
    contrast: Share = Field(
        default=0.2,
        description="differences from the image's mean times 1 - contrast to 1 + contrast",
    )
    saturation: Share = Field(
        default=0.2,
        description="of RGB images: differences from grey times 1 - saturation to 1 + saturation",
    )


class ProblemConfig(Section):
    """What is learned."""

    name: str = Field(
        description="a standard data set, or your own: images (a folder or an archive), arrays (a "
        ".npz or HDF5 file), python (a function of yours)"
    )
    path: str | None = Field(
        default=None,
        description="a prepared file, or the data themselves; null: what `prepare` wrote, "
        "`data/<name>.h5`; of python: `file.py:function`",
    )
    classes: int | None = Field(
        default=None, ge=2, description="use only the first so many classes; null: all"
    )
    image_size: Annotated[tuple[Pixels, Pixels], BeforeValidator(as_tuple)] | None = Field(
        default=None,
        description="[height, width] to which image files are scaled and cropped; null: their own, "
        "or the median where they differ",
    )
    channels: Literal[1, 3] | None = Field(
        default=None, description="of image files: 1 grey, 3 RGB; null: 1 if all are grey, else 3"
    )
    skip_unreadable: bool = Field(
        default=False, description="leave image files out that cannot be read; prepare names them"
    )
    train_images: int | None = Field(
        default=None, gt=0, description="use only so many training images, validation not counted"
    )
    train_fraction: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="use only this share of the training images, validation included",
    )
    validation: float = Field(
        default=0.15,
        gt=0,
        description="held-out part of the training data: a share (below 1) or a number of images",
    )
    stage: bool = Field(
        default=False,
        description="copy the prepared file to $TMPDIR once on each node; for parallel file "
        "systems, where random reads are slow",
    )
    augment: AugmentConfig = AugmentConfig()

    @field_validator("path")
    @classmethod
    def _can_be_a_path(cls, path: str | None) -> str | None:
        if path is None:
            return None
        if not path:
            raise ValueError(f"path is empty. Received: path={path!r}")
        if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in path):
            raise ValueError(f"path has characters that cannot be shown. Received: path={path!r}")
        try:
            Path(path).expanduser()
        except RuntimeError as error:
            raise ValueError(f"the user's home is not known. Received: path={path}") from error
        return path

    @model_validator(mode="after")
    def _one_way_to_use_less(self) -> Self:
        if self.train_images is not None and self.train_fraction is not None:
            raise ValueError(
                "train_images and train_fraction cannot both be given. "
                f"Received: train_images={self.train_images}, train_fraction={self.train_fraction}"
            )
        return self

    @field_validator("validation")
    @classmethod
    def _whole_number_of_images(cls, validation: float) -> float:
        if validation >= 1 and validation != int(validation):
            raise ValueError(
                "validation is a share below 1 or a whole number of images. "
                f"Received: validation={validation}"
            )
        return validation


class HeadConfig(Section):
    """The layers between the evolved part and the class logits."""

    reduce: Annotated[
        tuple[Literal["flatten", "global_average_pool"], ...], BeforeValidator(as_tuple)
    ] = Field(
        default=("flatten", "global_average_pool"),
        min_length=1,
        description="how a map becomes a vector; of several, blueprints choose",
    )
    layers: int = Field(
        default=1, ge=0, le=8, description="dense layers before the logits, each with ReLU"
    )
    units: DomainConfig = Field(
        default=RangeDomain(min=32, max=256),
        description="of each of these layers: whole numbers from 1 to 65536",
    )


class SpaceConfig(Section):
    """What may be built."""

    layers: dict[str, dict[str, DomainConfig]] = Field(
        min_length=1, description="Searchable layer kinds, each with the domains of its parameters."
    )
    merge: Annotated[tuple[Literal["add", "concatenate"], ...], BeforeValidator(as_tuple)] = Field(
        default=("add", "concatenate"),
        min_length=1,
        description="how several parents of a node become one tensor; of several, genomes choose",
    )
    head: HeadConfig = HeadConfig()
    batch_norm: bool = Field(
        default=True,
        description="batch norm between each convolution or dense layer and its ReLU",
    )
    max_module_layers: int = Field(
        default=4, ge=1, le=64, description="nodes of the largest module; each is a layer"
    )
    max_blueprint_nodes: int = Field(
        default=6, ge=1, le=64, description="nodes of the largest blueprint; each becomes a module"
    )
    max_parameters: int | None = Field(
        default=None,
        gt=0,
        description="weights of the largest network that is trained; larger ones are infeasible; "
        "null: no limit",
    )
    max_flops: int | None = Field(
        default=None,
        gt=0,
        description="2 x multiply-adds for one image of the largest network; null: no limit",
    )
    max_activation_mb: float | None = Field(
        default=None,
        gt=0,
        description="of one training batch, all layer outputs in float32; null: no limit",
    )


class TunerConfig(Section):
    """What every tuner has; each tuner adds keys of its own in ``tuners/<name>.py``."""

    name: str = Field(description="the tuner")
    generations: int = Field(
        gt=0, description="rounds of proposing, trying and learning; may be raised later"
    )
    individuals: int = Field(gt=0, description="networks trained in each generation")
    postprocess: Literal["none", "shrink"] = Field(
        default="none",
        description="shrink: the networks of the last generation are shrunk as `trial.shrink` "
        "says, enabled or not; `generations` cannot be raised later then",
    )

    def of_populations(self) -> dict[str, Any]:
        """What populations follow from: all but how long the search is and how it ends."""
        return self.model_dump(mode="json", exclude={"generations", "postprocess"})


LearningRate = Annotated[float, Field(gt=0)]
LearningRates = Annotated[tuple[LearningRate, ...], Field(min_length=1), BeforeValidator(as_tuple)]


class TrialConfig(Section):
    """One trial. All of it but `tensorboard` defines the search."""

    runner: Literal["keras", "fake"] = Field(
        default="keras", description="fake: nothing is trained, fitness follows from the network"
    )
    epochs: int = Field(default=5, gt=0, description="of training")
    batch_size: int = Field(default=128, gt=0, description="images in one step of the optimizer")
    optimizer: Literal["adam", "sgd", "rmsprop", "adamw", "nadam"] = Field(
        default="adam", description="Keras's, with its defaults; sgd with Nesterov momentum 0.9"
    )
    learning_rate: Annotated[
        Annotated[RangeDomain, Tag("range")]
        | Annotated[LearningRates, Tag("choices")]
        | Annotated[LearningRate, Tag("value")],
        Discriminator(domain_form),
    ] = Field(
        default=RangeDomain(min=3e-4, max=3e-3, scale="log"),
        description="one value for all, or a range or a list that blueprints evolve in",
    )
    fitness: Literal["last", "best"] = Field(
        default="last", description="validation accuracy after the last or in the best epoch"
    )
    threads: int = Field(default=1, gt=0, description="of each trial; part of what is searched")
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = Field(
        default="float32", description="Keras's dtype policy; mixed ones gain on a GPU only"
    )
    jit_compile: bool = Field(default=False, description="XLA, on a GPU only")
    steps_per_execution: int = Field(
        default=8, gt=0, description="training steps between two looks of Python at the device"
    )
    deterministic: bool = Field(
        default=False, description="deterministic kernels; changes figures on a CPU too"
    )
    time_limit_s: float | None = Field(
        default=None, gt=0, description="a trial that takes longer has failed; null: no limit"
    )
    memory_limit_mb: float | None = Field(
        default=None,
        gt=0,
        description="own memory of a trial, TensorFlow's 0.3 GB included, mapped data not; "
        "null: no limit",
    )
    save_weights: Literal["none", "best", "last_generation"] = Field(
        default="none", description="of which trials trained weights are kept in the run directory"
    )
    tensorboard: bool = Field(
        default=False, description="curves for TensorBoard in `tensorboard/` of the run directory"
    )
    shrink: ShrinkConfig = ShrinkConfig()
    fake: FakeConfig = FakeConfig()

    @model_validator(mode="after")
    def _training_after_the_shrink(self) -> TrialConfig:
        if self.shrink.enabled:
            self.shrink.check_epochs(self.epochs)
        return self

    @field_validator("learning_rate")
    @classmethod
    def _learning_rate_is_positive(
        cls, rate: RangeDomain | tuple[float, ...] | float
    ) -> RangeDomain | tuple[float, ...] | float:
        if isinstance(rate, RangeDomain) and rate.min <= 0:
            raise ValueError(f"learning_rate must be above 0. Received: min={rate.min}")
        return rate


def _or_whole_minutes(schema: dict[str, Any]) -> None:
    """A number is one in YAML, and becomes a text here."""
    schema["anyOf"].append({"type": "integer", "exclusiveMinimum": 0})


class RunSettings(Section):
    """How the search is run. Nothing here changes what is found."""

    workers: int = Field(default=1, gt=0, description="local workers, where there is no mpiexec")
    trials_per_process: Literal[1] = Field(
        default=1, description="every trial has a process of its own"
    )
    fault_tolerance: Literal["none", "ulfm"] = Field(
        default="none",
        description="of MPI. none: a rank that dies ends the job, which can go on later; ulfm: a "
        "worker that dies costs its trial, which is run again; for `mpiexec --with-ft ulfm` of "
        "Open MPI",
    )
    walltime: str | None = Field(
        default=None,
        json_schema_extra=_or_whole_minutes,
        description="minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS, as Slurm reads them; "
        "no trial is started that would end after it",
    )
    grace_s: float = Field(default=30.0, ge=0, description="time for an orderly end")
    gpu_binding: Literal["auto", "env", "none"] = Field(
        default="auto",
        description="auto: each worker has a GPU of its own; env: the launcher has seen to that; "
        "none: nothing is changed",
    )
    gpus: int | None = Field(default=None, ge=0, description="of a node; null: what is visible")
    workers_per_gpu: int = Field(default=1, gt=0, description="how many workers may share a GPU")
    heartbeat_s: float = Field(default=10.0, gt=0, description="between signs of life on disk")

    @field_validator("walltime", mode="before")
    @classmethod
    def _walltime(cls, walltime: Any) -> Any:
        """A bare number is a whole number in YAML: minutes."""
        if walltime is None:
            return None
        text = walltime if isinstance(walltime, str) else str(walltime)
        parse_walltime_s(text)
        return text


class RunConfig(Section):
    """One search, complete."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="of the run; without --out its directory is `runs/<name>`",
    )
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="everything that is drawn follows from it"
    )
    problem: ProblemConfig
    space: SpaceConfig
    tuner: SerializeAsAny[TunerConfig]
    trial: TrialConfig = TrialConfig()
    run: RunSettings = RunSettings()
    comparison: ComparisonConfig = ComparisonConfig()

    @field_validator("trial")
    @classmethod
    def _shrink_of_the_last_generation(
        cls, trial: TrialConfig, others: ValidationInfo
    ) -> TrialConfig:
        """Trials may be shrunk in the last generation only."""
        space, tuner = others.data.get("space"), others.data.get("tuner")
        is_last_shrunk = isinstance(tuner, TunerConfig) and tuner.postprocess == "shrink"
        if is_last_shrunk:
            trial.shrink.check_epochs(trial.epochs)
        if (is_last_shrunk or trial.shrink.enabled) and isinstance(space, SpaceConfig):
            trial.shrink.check_scales(batch_norm=space.batch_norm)
        return trial

    def trial_of(self, generation: int) -> TrialConfig:
        """The settings of a generation's trials, counted from 0."""
        is_last = generation == self.tuner.generations - 1
        if not is_last or self.tuner.postprocess == "none":
            return self.trial
        shrink = self.trial.shrink.model_copy(update={"enabled": True})
        return self.trial.model_copy(update={"shrink": shrink})
