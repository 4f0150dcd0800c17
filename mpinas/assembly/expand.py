"""From a candidate (a blueprint with its modules chosen) to a flat network spec.

Each node of the blueprint is replaced by the one module that stands for its species, each node of
a module by the chain of layers its gene stands for (Miikkulainen et al. 2017, section 4). Several
parents are merged by a sum or a concatenation: larger maps are max-pooled to the smallest size, a
vector counts as a map of 1 x 1, and only a sum needs equal channels, which a 1x1 convolution
gives. Pure: knows no Keras, draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mpinas.evolution.genome import (
    INPUT_NODE,
    OUTPUT_NODE,
    BlueprintGenome,
    Candidate,
    ModuleGenome,
)
from mpinas.evolution.graph import enabled_edges, topological_order
from mpinas.records import LayerSpec, NetworkSpec, ParameterValue, Shape
from mpinas.space.layers import LAYERS, Gene, Parameters, Step
from mpinas.space.search_space import SearchSpace


def expand(
    candidate: Candidate,
    space: SearchSpace,
    *,
    input_shape: tuple[int, int, int],
    classes: int,
) -> NetworkSpec:
    """Builds the network of a candidate; its last layer gives ``classes`` logits.

    Raises:
        Infeasible: some layer has no output for its input. (Limits: ``shapes.check_limits``.)
    """
    blueprint = candidate.blueprint
    modules = {chosen.species: chosen.module for chosen in candidate.modules}
    species = {node.id: node.species for node in blueprint.nodes}
    layers = _Layers(
        batch_norm=space.batch_norm, reduce=str(blueprint.hyperparameters["head_reduce"])
    )
    image = layers.add("input", {"shape": input_shape})

    def place(node: int, source: str) -> str:
        return _expand_module(layers, modules[species[node]], source)

    features = _expand_graph(layers, blueprint, image, place)
    _add_head(layers, blueprint, space.head_layers, features, classes)
    return NetworkSpec(input_shape=input_shape, layers=tuple(layers.specs))


def _expand_module(layers: _Layers, module: ModuleGenome, source: str) -> str:
    nodes = {node.id: node for node in module.nodes}

    def place(node: int, node_source: str) -> str:
        gene = LAYERS[nodes[node].kind].gene
        assert gene is not None
        return layers.add_gene(gene, nodes[node].parameters, node_source)

    return _expand_graph(layers, module, source, place)


def _expand_graph(
    layers: _Layers,
    genome: BlueprintGenome | ModuleGenome,
    source: str,
    place: Callable[[int, str], str],
) -> str:
    """Places every node behind the merge of its parents; returns the name of the output."""
    how = str(genome.hyperparameters["merge"])
    outputs = {INPUT_NODE: source}
    edges = enabled_edges(genome.connections)
    parents: dict[int, list[int]] = {}
    for start, end in sorted(edges):
        parents.setdefault(end, []).append(start)
    ids = (INPUT_NODE, OUTPUT_NODE, *(node.id for node in genome.nodes))
    for node in topological_order(ids, edges):
        if node == INPUT_NODE:
            continue
        merged = layers.merge([outputs[parent] for parent in parents[node]], how)
        outputs[node] = merged if node == OUTPUT_NODE else place(node, merged)
    return outputs[OUTPUT_NODE]


def _add_head(
    layers: _Layers, blueprint: BlueprintGenome, head_layers: int, features: str, classes: int
) -> None:
    dense = LAYERS["dense"].gene
    assert dense is not None
    name = features
    for index in range(head_layers):
        units = blueprint.hyperparameters[f"head_units_{index}"]
        name = layers.add_gene(dense, {"units": units, "rate": 0.0}, name)
    name = layers.to_rank("vector", name)
    layers.add("dense", {"units": classes, "use_bias": True}, name)


@dataclass(slots=True, kw_only=True)
class _Layers:
    """The layers placed so far, with their shapes, in topological order."""

    batch_norm: bool
    reduce: str
    specs: list[LayerSpec] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def add(self, kind: str, parameters: Parameters, *inputs: str) -> str:
        name = f"{kind}_{len(self.specs):03d}"
        self.shapes[name] = LAYERS[kind].shape(parameters, [self.shapes[i] for i in inputs])
        self.specs.append(LayerSpec(name=name, kind=kind, inputs=inputs, parameters=parameters))
        return name

    def add_chain(self, steps: Sequence[Step], source: str) -> str:
        for kind, parameters in steps:
            source = self.add(kind, parameters, source)
        return source

    def add_gene(self, gene: Gene, parameters: Parameters, source: str) -> str:
        source = self.to_rank(gene.reads, source)
        return self.add_chain(gene.chain(parameters, self.shapes[source], self.batch_norm), source)

    def to_rank(self, rank: str, source: str) -> str:
        is_vector = len(self.shapes[source]) == 1
        if rank == "vector" and not is_vector:
            return self.add(self.reduce, {}, source)
        if rank == "map" and is_vector:
            return self.add("to_map", {}, source)
        return source

    def merge(self, sources: Sequence[str], how: str) -> str:
        """One tensor of several; a tensor that comes twice is taken once."""
        distinct = list(dict.fromkeys(sources))
        if len(distinct) == 1:
            return distinct[0]
        resized = self._to_smallest(distinct)
        if how == "add":
            resized = self._to_equal_channels(resized)
        return self.add(how, {}, *resized)

    def _to_smallest(self, sources: Sequence[str]) -> list[str]:
        shapes = [self.shapes[source] for source in sources]
        vectors = any(len(shape) == 1 for shape in shapes)
        maps = [shape for shape in shapes if len(shape) == 3]
        rows = 1 if vectors else min(shape[0] for shape in maps)
        columns = 1 if vectors else min(shape[1] for shape in maps)
        resized = [self._pool_to(source, rows, columns) for source in sources]
        if vectors:
            return [self._flat(source) for source in resized]
        return resized

    def _flat(self, source: str) -> str:
        return source if len(self.shapes[source]) == 1 else self.add("flatten", {}, source)

    def _pool_to(self, source: str, rows: int, columns: int) -> str:
        shape = self.shapes[source]
        if len(shape) == 1 or shape[:2] == (rows, columns):
            return source
        strides = shape[0] // rows, shape[1] // columns
        window = shape[0] - (rows - 1) * strides[0], shape[1] - (columns - 1) * strides[1]
        return self.add(
            "max_pool", {"pool_size": window, "strides": strides, "padding": "valid"}, source
        )

    def _to_equal_channels(self, sources: Sequence[str]) -> list[str]:
        channels = min(self.shapes[source][-1] for source in sources)
        return [
            source if self.shapes[source][-1] == channels else self._project(source, channels)
            for source in sources
        ]

    def _project(self, source: str, channels: int) -> str:
        bias: dict[str, ParameterValue] = {"use_bias": not self.batch_norm}
        if len(self.shapes[source]) == 1:
            projection: Step = ("dense", {"units": channels, **bias})
        else:
            window: dict[str, ParameterValue] = {
                "kernel_size": (1, 1),
                "strides": (1, 1),
                "padding": "same",
            }
            projection = ("conv2d", {"filters": channels, **window, **bias})
        norm: tuple[Step, ...] = (("batch_norm", {}),) if self.batch_norm else ()
        return self.add_chain((projection, *norm), source)
