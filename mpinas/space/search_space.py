"""The search space: the configuration's ``space`` section, checked and ready to draw from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mpinas.config import SpaceConfig, TrialConfig
from mpinas.config_values import DomainConfig, RangeDomain
from mpinas.errors import fault, unknown_name
from mpinas.space.domains import Domain, build_domain
from mpinas.space.layers import LAYERS, GeneParameter


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSpace:
    """What may be built, as domains.

    Attributes:
        layers: searchable kind -> parameter -> domain; every gene parameter is present. Sorted
            by kind, so that the order of the keys in the file does not matter.
        module_hyperparameters: of a module genome (``merge``).
        blueprint_hyperparameters: of a blueprint genome (``merge``, ``learning_rate``,
            ``head_reduce``, ``head_units_0`` ...).
        head_layers: how many dense layers stand before the logits.
        max_activation_mb: of one batch of ``batch_size`` images.
    """

    layers: Mapping[str, Mapping[str, Domain]]
    module_hyperparameters: Mapping[str, Domain]
    blueprint_hyperparameters: Mapping[str, Domain]
    head_layers: int
    batch_norm: bool
    max_module_layers: int
    max_blueprint_nodes: int
    max_parameters: int | None
    max_flops: int | None
    max_activation_mb: float | None
    batch_size: int


def build_space(space: SpaceConfig, trial: TrialConfig) -> SearchSpace:
    """Builds the search space of a configuration that :func:`check_space` found no fault in."""
    merge = build_domain(space.merge)
    head_units = {
        f"head_units_{index}": build_domain(space.head.units) for index in range(space.head.layers)
    }
    return SearchSpace(
        layers={kind: _gene_domains(kind, space.layers[kind]) for kind in sorted(space.layers)},
        module_hyperparameters={"merge": merge},
        blueprint_hyperparameters={
            "merge": merge,
            "learning_rate": build_domain(trial.learning_rate),
            "head_reduce": build_domain(space.head.reduce),
            **head_units,
        },
        head_layers=space.head.layers,
        batch_norm=space.batch_norm,
        max_module_layers=space.max_module_layers,
        max_blueprint_nodes=space.max_blueprint_nodes,
        max_parameters=space.max_parameters,
        max_flops=space.max_flops,
        max_activation_mb=space.max_activation_mb,
        batch_size=trial.batch_size,
    )


def _gene_domains(kind: str, given: Mapping[str, DomainConfig]) -> dict[str, Domain]:
    gene = LAYERS[kind].gene
    assert gene is not None
    domains: dict[str, Domain] = {}
    for name, parameter in gene.parameters.items():
        value = given.get(name, parameter.fixed)
        assert value is not None
        domains[name] = build_domain(value)
    return domains


def check_space(space: SpaceConfig) -> Iterator[str]:
    """Yields one line for each thing in the section that no layer kind allows."""
    searchable = [kind for kind, row in LAYERS.items() if row.gene is not None]
    for kind, given in space.layers.items():
        where = f"space.layers.{kind}"
        gene = LAYERS[kind].gene if kind in LAYERS else None
        if gene is None:
            yield unknown_name(where, kind, searchable, "layer kind")
            continue
        for name, domain in given.items():
            if name in gene.parameters:
                yield from _check_domain(f"{where}.{name}", domain, gene.parameters[name])
            else:
                yield unknown_name(f"{where}.{name}", name, list(gene.parameters), "key")
        for name, parameter in gene.parameters.items():
            if parameter.fixed is None and name not in given:
                yield fault(f"{where}.{name}", "missing key", cure="Give it a domain")
    yield from _check_domain(
        "space.head.units", space.head.units, GeneParameter(low=1, high=65536, whole=True)
    )


def _check_domain(where: str, domain: DomainConfig, parameter: GeneParameter) -> Iterator[str]:
    ends = (domain.min, domain.max) if isinstance(domain, RangeDomain) else None
    values = ends if ends else domain if isinstance(domain, tuple) else (domain,)
    if parameter.values:
        if ends or any(value not in parameter.values for value in values):
            yield fault(
                where,
                "not a choice of this parameter",
                f"{where.rsplit('.', 1)[-1]}={_shown(domain)}",
                f"Allowed: {', '.join(map(str, parameter.values))}",
            )
        return
    assert parameter.low is not None
    assert parameter.high is not None
    kinds: tuple[type, ...] = (int,) if parameter.whole else (int, float)
    numbers_in_range = all(
        isinstance(value, kinds)
        and not isinstance(value, bool)
        and parameter.low <= value <= parameter.high  # type: ignore[operator]
        for value in values
    )
    if isinstance(domain, RangeDomain) and domain.step is not None:
        numbers_in_range &= not parameter.whole or isinstance(domain.step, int)
    if not numbers_in_range:
        noun = "whole numbers" if parameter.whole else "numbers"
        yield fault(
            where,
            "value out of range",
            f"{where.rsplit('.', 1)[-1]}={_shown(domain)}",
            f"Allowed: {noun} from {parameter.low:g} to {parameter.high:g}",
        )


def _shown(domain: DomainConfig) -> str:
    if isinstance(domain, RangeDomain):
        step = "" if domain.step is None else f", step: {domain.step}"
        return f"{{min: {domain.min}, max: {domain.max}{step}}}"
    return str(list(domain) if isinstance(domain, tuple) else domain)
