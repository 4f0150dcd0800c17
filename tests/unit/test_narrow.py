"""The same network with other widths: what goes with a layer, and what does not fit."""

from __future__ import annotations

import pytest
from handmade import network

from mpinas.assembly.description import gone_with
from mpinas.assembly.narrow import narrow
from mpinas.assembly.shapes import network_shapes
from mpinas.errors import Infeasible
from mpinas.records import LayerSpec, NetworkSpec

Row = tuple[str, str, tuple[str, ...]]

CONV2D = {
    "filters": 8,
    "kernel_size": (3, 3),
    "strides": (1, 1),
    "padding": "same",
    "use_bias": False,
}
PARAMETERS = {
    "input": {"shape": (8, 8, 3)},
    "conv2d": CONV2D,
    "dense": {"units": 10, "use_bias": True},
    "activation": {"function": "relu"},
}
RESIDUAL: tuple[Row, ...] = (
    ("image", "input", ()),
    ("stem", "conv2d", ("image",)),
    ("inner", "conv2d", ("stem",)),
    ("inner_norm", "batch_norm", ("inner",)),
    ("outer", "conv2d", ("inner_norm",)),
    ("sum", "add", ("stem", "outer")),
    ("relu", "activation", ("sum",)),
    ("flat", "flatten", ("relu",)),
    ("logits", "dense", ("flat",)),
)
PARTS: tuple[Row, ...] = (
    ("image", "input", ()),
    ("left", "conv2d", ("image",)),
    ("middle", "conv2d", ("image",)),
    ("right", "conv2d", ("image",)),
    ("right_norm", "batch_norm", ("right",)),
    ("joined", "concatenate", ("left", "middle", "right_norm")),
    ("flat", "flatten", ("joined",)),
    ("logits", "dense", ("flat",)),
)


def spec(rows: tuple[Row, ...]) -> NetworkSpec:
    layers = [
        LayerSpec(name=name, kind=kind, inputs=inputs, parameters=PARAMETERS.get(kind, {}))
        for name, kind, inputs in rows
    ]
    return NetworkSpec(input_shape=(8, 8, 3), layers=tuple(layers))


def names(network: NetworkSpec) -> list[str]:
    return [layer.name for layer in network.layers]


def gone(rows: tuple[Row, ...], *removed: str) -> set[str]:
    return set(gone_with(spec(rows).layers, removed))


def test_nothing_goes_with_nothing():
    assert gone(RESIDUAL) == set()
    assert gone(PARTS) == set()


def test_a_chain_goes_as_a_whole():
    layers = network(convolutions=2).layers
    assert gone_with(layers, ["convolution_0"]) == {layer.name for layer in layers}


def test_a_residual_branch_goes_backwards_and_forwards_and_the_sum_stays():
    branch = {"inner", "inner_norm", "outer"}
    for name in branch:
        assert gone(RESIDUAL, name) == branch


def test_the_stem_takes_all_with_it():
    assert gone(RESIDUAL, "stem") == {row[0] for row in RESIDUAL}


def test_a_sum_goes_when_all_its_inputs_do():
    assert {"sum", "logits"} <= gone(RESIDUAL, "stem", "outer")


def test_a_part_of_a_concatenation_goes_alone():
    assert gone(PARTS, "middle") == {"middle"}
    assert gone(PARTS, "right") == {"right", "right_norm"}
    assert {"joined", "logits"} <= gone(PARTS, "left", "middle", "right")


def test_other_joins_cannot_go_on_without_an_input():
    rows = tuple(
        (name, "multiply" if kind == "add" else kind, read) for name, kind, read in RESIDUAL
    )
    assert "logits" in gone(rows, "outer")


def test_what_is_read_by_others_as_well_stays():
    rows = (
        *RESIDUAL[:2],
        ("one", "conv2d", ("stem",)),
        ("two", "conv2d", ("one",)),
        ("three", "conv2d", ("one",)),
        ("sum", "add", ("stem", "two", "three")),
        *RESIDUAL[6:],
    )
    assert gone(rows, "two") == {"two"}
    assert gone(rows, "two", "three") == {"one", "two", "three"}


def test_a_branch_that_ends_nowhere_stays_until_it_is_removed():
    rows = (*RESIDUAL[:2], ("loose", "conv2d", ("stem",)), *RESIDUAL[2:])
    assert gone(rows) == set()
    assert gone(rows, "loose") == {"loose"}
    assert gone(rows, "inner") == {"inner", "inner_norm", "outer"}


def test_nothing_named_changes_nothing():
    for rows in (RESIDUAL, PARTS):
        assert narrow(spec(rows), {}) == spec(rows)


def test_only_the_named_widths_change():
    chain = network(filters=32, convolutions=2)
    narrower = narrow(chain, {"convolution_0": 5})
    shapes = network_shapes(narrower)
    assert names(narrower) == names(chain)
    assert shapes["convolution_0"] == (8, 8, 5)
    assert shapes["convolution_1"] == (8, 8, 32)
    assert chain.layers[1].parameters["filters"] == 32, "the old spec was changed"


def test_units_of_dense_layers_are_widths_too():
    assert network_shapes(narrow(network(), {"logits": 4}))["logits"] == (4,)


def test_a_sum_without_its_branch_is_its_other_input():
    narrower = narrow(spec(RESIDUAL), {"inner": 0})
    assert names(narrower) == ["image", "stem", "relu", "flat", "logits"]
    assert narrower.layers[2].inputs == ("stem",)
    assert network_shapes(narrower)["logits"] == (10,)


def test_two_sums_in_a_row_without_their_branches_are_what_they_started_from():
    rows = (
        *RESIDUAL[:6],
        ("more", "conv2d", ("sum",)),
        ("second", "add", ("sum", "more")),
        ("flat", "flatten", ("second",)),
        RESIDUAL[-1],
    )
    narrower = narrow(spec(rows), {"outer": 0, "more": 0})
    assert names(narrower) == ["image", "stem", "flat", "logits"]
    assert narrower.layers[2].inputs == ("stem",)


def test_a_concatenation_goes_on_with_the_parts_that_are_left():
    narrower = narrow(spec(PARTS), {"right": 0, "left": 3})
    assert names(narrower) == ["image", "left", "middle", "joined", "flat", "logits"]
    assert network_shapes(narrower)["joined"] == (8, 8, 11)
    assert "joined" not in names(narrow(spec(PARTS), {"left": 0, "right": 0}))


def test_the_order_of_the_parts_is_kept():
    joined = narrow(spec(PARTS), {"middle": 0}).layers[-3]
    assert joined.inputs == ("left", "right_norm")


def test_widths_that_do_not_fit_a_sum_are_infeasible():
    narrower = narrow(spec(RESIDUAL), {"outer": 7})
    with pytest.raises(Infeasible, match="add needs equal shapes"):
        network_shapes(narrower)
    assert network_shapes(narrow(spec(RESIDUAL), {"outer": 7, "stem": 7}))["sum"] == (8, 8, 7)


@pytest.mark.parametrize("widths", [{"stem": 0}, {"logits": 0}, {"stem": 0, "outer": 0}])
def test_nothing_left_is_refused(widths):
    with pytest.raises(ValueError, match="nothing would be left"):
        narrow(spec(RESIDUAL), widths)


@pytest.mark.parametrize("name", ["nobody", "image", "relu", "sum", "flat", "inner_norm"])
def test_a_name_that_makes_no_channels_is_refused(name):
    with pytest.raises(ValueError, match=name):
        narrow(spec(RESIDUAL), {name: 4})
