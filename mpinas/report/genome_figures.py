"""Figures of a candidate: its blueprint and modules as graphs, and where each of them came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mpinas.evolution.genome import (
    INPUT_NODE,
    OUTPUT_NODE,
    AnyGenome,
    AnyNode,
    BlueprintGenome,
    Candidate,
    LayerNode,
    LineageRecord,
)
from mpinas.evolution.graph import enabled_edges, topological_order
from mpinas.records import ParameterValue
from mpinas.report.drawing import finish
from mpinas.report.graph_figure import Box, Graph, draw_graphs
from mpinas.report.page import Figure, Table
from mpinas.space.layers import LAYERS

MOST_ANCESTORS = 12
"""Of one genome that are drawn."""


def genomes_of(candidate: Candidate) -> tuple[AnyGenome, ...]:
    """The blueprint, then each module once."""
    modules = {chosen.module.id: chosen.module for chosen in candidate.modules}
    return candidate.blueprint, *modules.values()


def genome_figure(candidate: Candidate, *, name: str, title: str) -> Figure:
    """The blueprint and the modules it names."""
    modules = {chosen.species: chosen.module.id for chosen in candidate.modules}
    drawing = draw_graphs([_genome_graph(one, modules) for one in genomes_of(candidate)])
    others = ", ".join(
        f"{key} {_value(value)}"
        for key, value in candidate.blueprint.hyperparameters.items()
        if key != "merge"
    )
    disabled = sum(not gene.enabled for one in genomes_of(candidate) for gene in one.connections)
    off = f" Disabled connections, {disabled} in all, are not drawn." if disabled else ""
    names = ", ".join(f"{module} for species {species}" for species, module in modules.items())
    return finish(
        drawing,
        name=name,
        title=title,
        caption=f"A node of the blueprint is replaced by the module that stands for its species. "
        f"The blueprint's other genes: {others}.{off}",
        alternative=f"Blueprint {candidate.blueprint.id} with {len(candidate.blueprint.nodes)} "
        f"nodes; modules: {names}.",
    )


def _genome_graph(genome: AnyGenome, modules: Mapping[int, str]) -> Graph:
    edges = enabled_edges(genome.connections)
    nodes = {node.id: node for node in genome.nodes}
    boxes = {}
    for one in topological_order((INPUT_NODE, OUTPUT_NODE, *nodes), edges):
        if one in nodes:
            boxes[one] = Box(lines=_node_lines(nodes[one], modules), look="strong")
        else:
            boxes[one] = Box(lines=("in" if one == INPUT_NODE else "out",), look="end")
    kind = "Blueprint" if isinstance(genome, BlueprintGenome) else "Module"
    return Graph(
        title=f"{kind} {genome.id} (merge: {genome.hyperparameters['merge']})",
        boxes=boxes,
        edges=tuple(dict.fromkeys(edges)),
    )


def _node_lines(node: AnyNode, modules: Mapping[int, str]) -> tuple[str, ...]:
    """A species and its module; or a layer with the parameters that its gene follows."""
    if not isinstance(node, LayerNode):
        return f"species {node.species}", modules[node.species]
    gene = LAYERS[node.kind].gene
    active = gene.active(node.parameters) if gene is not None else tuple(node.parameters)
    return node.kind, *(f"{key} {_value(node.parameters[key])}" for key in active)


def _value(value: ParameterValue) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def ancestors(
    genome_id: str, records: Mapping[str, LineageRecord], *, first_only: bool = False
) -> tuple[LineageRecord, ...]:
    """A genome's record and those of all it came from, the oldest first.

    Args:
        records: by genome; what is missing among them ends the line.
        first_only: follow the first (fitter) parent alone.
    """
    found: dict[str, LineageRecord] = {}
    waiting = [genome_id]
    while waiting:
        one = waiting.pop()
        if one in records and one not in found:
            found[one] = records[one]
            waiting += records[one].parents[:1] if first_only else records[one].parents
    order = {key: place for place, key in enumerate(found)}
    return tuple(sorted(found.values(), key=lambda one: (one.generation, -order[one.genome_id])))


def lineage_of(
    candidate: Candidate, records: Mapping[str, LineageRecord]
) -> Mapping[str, tuple[LineageRecord, ...]]:
    """What is drawn of the lineage of each genome: all of it, or what fits."""
    lines = {}
    for genome in genomes_of(candidate):
        line = ancestors(genome.id, records)
        if len(line) > MOST_ANCESTORS:
            line = ancestors(genome.id, records, first_only=True)[-MOST_ANCESTORS:]
        if line:
            lines[genome.id] = line
    return lines


def lineage_figure(
    lines: Mapping[str, Sequence[LineageRecord]], records: Mapping[str, LineageRecord]
) -> Figure | None:
    """A graph for each genome of the winner; None where nothing is known of any.

    Args:
        lines: what is drawn, by genome.
        records: of all genomes; tells what is left out.
    """
    if not lines:
        return None
    drawing = draw_graphs([_lineage_graph(name, line) for name, line in lines.items()])
    left_out = [name for name, line in lines.items() if len(ancestors(name, records)) > len(line)]
    cut = f" Of {', '.join(left_out)} only the line of fitter parents is drawn." if left_out else ""
    return finish(
        drawing,
        name="lineage",
        title="Where the best network came from",
        caption="From top to bottom, with the operators that made each genome. A dashed arrow "
        f"comes from the less fit parent of a crossover.{cut}",
        alternative="; ".join(f"{name}: {len(line)} genomes" for name, line in lines.items()),
    )


def _lineage_graph(name: str, line: Sequence[LineageRecord]) -> Graph:
    known = {record.genome_id for record in line}
    parents = {
        record.genome_id: [parent for parent in record.parents if parent in known]
        for record in line
    }
    made = {record.genome_id: record.generation for record in line}
    generations = sorted(set(made.values()))
    rows = {one: generations.index(generation) for one, generation in made.items()}
    # A genome made of one of its own generation has no place below it.
    in_order = all(rows[parent] < rows[one] for one, own in parents.items() for parent in own)
    return Graph(
        title=f"Lineage of {name}",
        boxes={record.genome_id: _lineage_box(record, name) for record in line},
        edges=tuple((parent, one) for one, own in parents.items() for parent in dict.fromkeys(own)),
        dashed=frozenset(
            (record.parents[1], record.genome_id)
            for record in line
            if len(record.parents) > 1
            and record.parents[1] in known
            and record.parents[1] != record.parents[0]
        ),
        rows=rows if in_order else None,
        row_names=tuple(f"gen. {one}" for one in generations) if in_order else (),
    )


def _lineage_box(record: LineageRecord, name: str) -> Box:
    look = "strong" if record.genome_id == name else "plain"
    return Box(lines=(record.genome_id, *record.operator.split("+")), look=look)


def lineage_table(lines: Iterable[Sequence[LineageRecord]]) -> Table:
    """All that is drawn, with the genes that were touched."""
    records = {record.genome_id: record for line in lines for record in line}
    ordered = sorted(records.values(), key=lambda one: (one.generation, one.genome_id))
    return Table(
        title="The same in words",
        head=("genome", "generation", "made by", "from", "genes"),
        rows=tuple(
            (
                record.genome_id,
                str(record.generation),
                record.operator,
                ", ".join(record.parents),
                ", ".join(record.genes) if record.parents else "all new",
            )
            for record in ordered
        ),
        numbers=frozenset({1}),
    )
