"""What is told of predictions, whatever names files and classes have."""

from __future__ import annotations

import io
import json
import math

from rich.console import Console

from mpinas.report.predictions_view import Prediction, prediction_table, printable, to_json_view

ODD = "a\nb\x1b[31m\udcff[bold]é"


def test_odd_names_stay_in_their_line() -> None:
    text = io.StringIO()
    one = Prediction.of(ODD, [(ODD, 0.25), ("c|d", 0.75)], 2)
    Console(file=text, width=200, soft_wrap=True).print(prediction_table([one]))
    lines = text.getvalue().splitlines()
    assert len(lines) == 3
    assert "c|d" in lines[1]
    assert text.getvalue().count(r"a\nb\x1b[31m\udcff[bold]é") == 2
    text.getvalue().encode()
    assert printable("plain name (1).png") == "plain name (1).png"
    assert json.loads(json.dumps(to_json_view([one])))[0]["file"] == ODD


def test_what_is_no_number_is_an_error_and_no_class() -> None:
    one = Prediction.of("x.png", [("a", math.nan), ("b", math.nan)], 1)
    assert (one.classes, one.error) == ((), "the model gives no numbers for it")
    json.dumps(to_json_view([one]), allow_nan=False)
