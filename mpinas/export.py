"""Winners of a run become models: which ones, and their final trainings on an executor.

Comes in: a run directory, alive or not, and what is wished. Comes out: ``TrialSpec`` for the
runner ``final``, which writes the models; and a model card beside each. Nothing of the run itself
is written. It must know neither MPI nor TensorFlow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mpinas import __version__
from mpinas.assembly.narrow import narrow
from mpinas.assembly.shapes import network_costs
from mpinas.config import RunConfig
from mpinas.config_file import differing_keys, load_plain
from mpinas.errors import RunDirectoryFault, UserMustChange, fault, unknown_name
from mpinas.export_data import final_problem
from mpinas.opening import KNOWLEDGE, with_absolute_path
from mpinas.proposals import Proposal, Proposals
from mpinas.records import (
    NetworkSpec,
    ProblemSpec,
    ShrinkOutcome,
    TrialResult,
    TrialSpec,
    canonical_json,
    from_plain,
    to_plain,
    trial_number,
)
from mpinas.results import results_of, within
from mpinas.run_directory import RunDirectory, existing_run
from mpinas.streams import trial_seed
from mpinas.trial.exported import ALWAYS, FINAL, FORMATS, Exported, FinalSettings, ModelFiles
from mpinas.winners import winners

ALL_IMAGES = ("problem.train_images=null", "problem.train_fraction=null")
"""A search may learn from few images; a winner learns from all but those that validate."""
OF_SHRINK = ("trial.shrink", "tuner.postprocess")
NO_SHRINK = ("trial.shrink.enabled=false", "tuner.postprocess=none")
"""What is trained is narrow already."""
MAY_DIFFER = ("trial.", "problem.augment.", "problem.validation", "problem.train_", "tuner.post")
"""Keys in which a final training may differ from the search."""
DECIDES = (
    "epochs",
    "batch_size",
    "optimizer",
    "precision",
    "deterministic",
    "threads",
    "jit_compile",
)
"""Keys of the ``trial`` section that decide which weights come out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportWish:
    """What the command line says.

    Attributes:
        run: the run directory.
        out: folder of the models; None for ``models`` in the run directory.
        top: how many of the best trials.
        trials: these instead, by id.
        epochs, patience: at most so many; end after so many without a better one.
        unshrunk: the network as it was proposed, whatever its shrink removed.
        inherit: begin with the weights that the search has saved.
        formats: of ``trial.exported.FORMATS``.
        overrides: ``key=value`` of the configuration.
    """

    run: Path
    out: Path | None = None
    top: int = 1
    trials: Sequence[str] = ()
    epochs: int
    patience: int
    unshrunk: bool = False
    inherit: bool = False
    formats: Sequence[str] = ("keras",)
    overrides: Sequence[str] = ()

    @property
    def folder(self) -> Path:
        """Where the models go, absolute."""
        return (self.out if self.out is not None else self.run / "models").absolute()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which models are to be there, the best trial's first.

    Attributes:
        config: of the final trainings.
        specs: one a model.
    """

    config: RunConfig
    folder: Path
    specs: Sequence[TrialSpec]

    def waiting(self) -> list[TrialSpec]:
        """Those whose model is not there yet, or not in all formats."""
        return [spec for spec in self.specs if not is_there(spec)]

    def refuse_models_of_others(self) -> None:
        """Raises RunDirectoryFault where a model of another run would be replaced: trials of all
        runs have the same names."""
        faults = [
            fault(
                str(files_of(spec).record),
                "there is a model of another run",
                f"run={there.found.get('run')}, seed={there.found.get('seed')}",
                cure="Give another folder with --out",
            )
            for spec in self.specs
            if (there := files_of(spec).load_record()) is not None and _is_of_another(there, spec)
        ]
        if faults:
            raise RunDirectoryFault(*faults)


def wish_of(spec: TrialSpec) -> FinalSettings:
    """What the final training of a spec is asked for."""
    return from_plain(FinalSettings, spec.settings[FINAL])


def files_of(spec: TrialSpec) -> ModelFiles:
    """The files of a spec's model."""
    wish = wish_of(spec)
    return ModelFiles(Path(wish.folder), wish.name)


def is_there(spec: TrialSpec) -> bool:
    """Whether the model is there, whole, as this very training gives it, in all formats."""
    return not _missing(spec)


def has_model(spec: TrialSpec) -> bool:
    """Whether it is there in the format that all others are made of."""
    return ALWAYS not in _missing(spec)


def _missing(spec: TrialSpec) -> set[str]:
    wish, files = wish_of(spec), files_of(spec)
    return files.missing(files.load_record(), wish.identity, wish.formats)


def _is_of_another(there: Exported, spec: TrialSpec) -> bool:
    """Whether a model was found by another search than the one that would be put in its place."""
    found = wish_of(spec).found
    same = all(there.found.get(key) == found[key] for key in ("seed", "fitness"))
    return not same or there.network.hash != spec.network.hash


def plan_export(wish: ExportWish) -> Plan:
    """Finds the winners and everything their final trainings need; writes nothing.

    Raises:
        UserMustChange: there is no such run, no complete trial, no data; or a wish that cannot be.
    """
    directory = existing_run(wish.run)
    proposals = Proposals(directory)
    results = list(within(results_of(directory), proposals.config.tuner.generations))
    chosen = winners(results, top=wish.top, trials=wish.trials, where=str(wish.run))
    config = _config(wish, directory, proposals.config)
    problem = final_problem(config, proposals.config, directory, inherit=wish.inherit)
    found = _Findings(proposals.config, results)
    specs = [_spec(wish, config, problem, result, proposals.of(result), found) for result in chosen]
    return Plan(config=config, folder=wish.folder, specs=specs)


def _config(wish: ExportWish, directory: RunDirectory, searched: RunConfig) -> RunConfig:
    """The run's own, with what a final training has otherwise.

    Raises:
        ConfigurationFaults: an override cannot be.
        UserMustChange: it would be another search, or another network.
    """
    shrinking = [one for one in wish.overrides if one.strip().startswith(OF_SHRINK)]
    if shrinking:
        raise UserMustChange(_shrinks_nothing(", ".join(shrinking)))
    overrides = (*ALL_IMAGES, *NO_SHRINK, f"trial.epochs={wish.epochs}", *wish.overrides)
    plain = searched.model_dump(mode="json")
    config = load_plain(plain, overrides, KNOWLEDGE, str(directory.config))
    config = with_absolute_path(config)
    if config.trial.shrink.enabled or config.tuner.postprocess == "shrink":
        raise UserMustChange(_shrinks_nothing(", ".join(wish.overrides)))
    differing = [
        line for line in differing_keys(searched, config) if not line.startswith(MAY_DIFFER)
    ]
    if differing:
        raise UserMustChange(
            fault(
                "--set",
                "it would be another search",
                "; ".join(differing),
                "Allowed: trial.*, problem.augment.*, problem.validation, problem.train_images, "
                "problem.train_fraction, problem.path and run.*",
            )
        )
    return config


def _shrinks_nothing(received: str) -> str:
    rule = "a final training shrinks nothing: the network is trained as the search left it"
    cure = "Leave it out; --unshrunk trains what was before the shrink"
    return fault("--set", rule, received, cure=cure)


class _Findings:
    """How networks were found, for people."""

    def __init__(self, config: RunConfig, results: Sequence[TrialResult]) -> None:
        self._config = config
        self._results = results

    def of(self, result: TrialResult) -> Mapping[str, Any]:
        config = self._config
        generation, _ = trial_number(result.trial_id)
        shrink = None if result.shrink is None else result.shrink.outcome.value
        return {
            "run": config.name,
            "seed": config.seed,
            "tuner": config.tuner.name,
            "generation": generation,
            "generations": config.tuner.generations,
            "trials": len(self._results),
            "epochs": config.trial.epochs,
            "fitness": result.fitness,
            "shrink": shrink,
            "costs": to_plain(result.costs) if result.costs is not None else None,
            "widths": dict(result.widths),
            "shrunk_widths": dict(result.shrink.widths) if result.shrink is not None else None,
            "versions": dict(result.versions),
            "exported_with": __version__,
        }


def _spec(
    wish: ExportWish,
    config: RunConfig,
    problem: ProblemSpec,
    result: TrialResult,
    proposal: Proposal,
    found: _Findings,
) -> TrialSpec:
    assert proposal.network is not None  # it was trained
    network = _network(proposal.network, result, unshrunk=wish.unshrunk)
    weights = _weights(wish, result, network, proposal.network) if wish.inherit else None
    rate = config.trial.learning_rate
    if not isinstance(rate, float):
        rate = float(proposal.candidate.blueprint.hyperparameters["learning_rate"])  # type: ignore[arg-type]
    spec = TrialSpec(
        trial_id=result.trial_id,
        candidate=to_plain(proposal.candidate),
        network=network,
        problem=problem,
        learning_rate=rate,
        settings=config.trial.model_dump(mode="json"),
        seed=trial_seed(config.seed, *trial_number(result.trial_id)),
        predicted_cost=float(network_costs(network).flops),
    )
    is_wide = wish.unshrunk and _is_shrunk(result)
    final = FinalSettings(
        folder=str(wish.folder),
        name=f"{result.trial_id}-unshrunk" if is_wide else result.trial_id,
        identity=_identity(spec, wish, weights),
        formats=tuple(wish.formats),
        patience=wish.patience,
        weights=weights,
        found={**found.of(result), "unshrunk": is_wide},
    )
    model = ModelFiles(wish.folder, final.name).model(ALWAYS)
    settings = {**spec.settings, FINAL: to_plain(final)}
    return replace(spec, settings=settings, weights_path=str(model))


def _is_shrunk(result: TrialResult) -> bool:
    return result.shrink is not None and result.shrink.outcome is ShrinkOutcome.SHRUNK


def _network(network: NetworkSpec, result: TrialResult, *, unshrunk: bool) -> NetworkSpec:
    """What the trial has trained after its shrink, or what it began with."""
    if result.shrink is None or unshrunk or not _is_shrunk(result):
        return network
    return narrow(network, result.shrink.widths)


def _weights(
    wish: ExportWish, result: TrialResult, network: NetworkSpec, proposed: NetworkSpec
) -> str:
    """The file of the weights that the trial has saved for this network.

    Raises:
        UserMustChange: it has saved none.
    """
    file = RunDirectory(wish.run).weights / f"{result.trial_id}.weights.h5"
    if wish.unshrunk and network is proposed and _is_shrunk(result):
        rule, cure = "weights were saved of the shrunk network only", "Leave one of the two out"
        raise UserMustChange(fault("--inherit", rule, "--unshrunk", cure=cure))
    if not file.is_file():
        raise UserMustChange(
            fault(
                "--inherit",
                "the search has saved no weights of this trial",
                f"trial={result.trial_id}",
                cure="Leave it out, or search with trial.save_weights=best",
            )
        )
    return str(file.absolute())


def _identity(spec: TrialSpec, wish: ExportWish, weights: str | None) -> str:
    """16 digits that are equal exactly where the same weights would come out."""
    problem = to_plain(spec.problem)
    told = {
        "network": spec.network.hash,
        "problem": {name: problem[name] for name in problem if name not in ("path", "stage")},
        "learning_rate": spec.learning_rate,
        "seed": spec.seed,
        "trial": {name: spec.settings[name] for name in DECIDES},
        "patience": wish.patience,
        "inherit": weights is not None,
    }
    return hashlib.sha256(canonical_json(told)).hexdigest()[:16]


def checked_formats(text: str) -> tuple[str, ...]:
    """``keras,tflite`` as names of formats.

    Raises:
        UserMustChange: a name is unknown.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    faults = list(_format_faults(names))
    if faults:
        raise UserMustChange(*faults)
    return names


def _format_faults(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if name not in FORMATS:
            yield unknown_name("--format", name, FORMATS, "format")
