"""Loader ``python``: a function of the user's, ``my_data.py:load``, that returns the arrays.

It is called without arguments in a process of its own, in the folder where we were started, with
the folder of its file first on ``sys.path``. So it may import TensorFlow, print and fail.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import operator
import os
import pathlib
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mpinas.config import ProblemConfig
from mpinas.errors import DataFault, fault
from mpinas.problems.images import ARRAY_NAMES, ImageData, checked
from mpinas.problems.isolated import delivered, save_array
from mpinas.problems.plausible import class_names

_FORM = "problem.path is <file>.py:<function>"
_RETURNED = (
    "It returns a dict with x_train, y_train, x_test, y_test, or "
    "((x_train, y_train), (x_test, y_test))"
)
_LONGEST_REASON = 300


def load(problem: ProblemConfig) -> ImageData:
    """Calls the function that ``problem.path`` names and checks what it returns.

    Raises:
        DataFault: there is no such function, it failed, it returned something else than the
            arrays, or they break a rule of :func:`mpinas.problems.images.checked`.
    """
    path = problem.path or ""
    file_name, colon, function = path.rpartition(":")
    if not colon or not file_name or not function.isidentifier():
        cure = "Write for example path: my_data.py:load (of 'prepare', --from my_data.py:load)"
        raise DataFault(fault("problem.path", "it names no function", f"path={path}", _FORM, cure))
    file = pathlib.Path(file_name).expanduser()
    if not os.path.isfile(file):
        cure = "Set problem.path to a Python file that is there"
        raise DataFault(fault(str(file), "no such file", f"problem.path={path}", _FORM, cure))
    where = f"{file}:{function}"
    delivery = delivered(
        __name__,
        where,
        where=where,
        rule="its process ended before the function returned",
        cure="Call the function by hand to see why",
    )
    return checked(delivery.arrays, source=where, class_names=delivery.class_names)


def deliver(argument: str, folder: str) -> tuple[str, ...]:
    """In the child: saves what the function returns, and returns the names of classes.

    Raises:
        DataFault: as :func:`load`.
    """
    file_name, _, function = argument.rpartition(":")
    file = pathlib.Path(file_name).resolve()
    module = _guarded(lambda: _imported(file), argument, file, "the file cannot be imported")
    load_arrays = getattr(module, function, None)
    if not callable(load_arrays):
        rule = f"{function} is not a function" if hasattr(module, function) else "no such function"
        raise DataFault(fault(argument, rule, f"functions={_functions(module)}", _FORM))
    returned = _guarded(load_arrays, argument, file, "the function failed")
    unusable = "what it returned cannot be looked at"
    arrays = _guarded(lambda: _four(argument, returned), argument, file, unusable)
    for name in ARRAY_NAMES:
        where = f"{argument}, array {name}"
        rule = "no array can be made of it"
        value = _guarded(functools.partial(operator.getitem, arrays, name), where, file, rule)
        array = _guarded(functools.partial(np.asarray, value), where, file, rule)
        if array.dtype.hasobject:
            received = f"{name}={type(value).__name__} of Python objects"
            raise DataFault(fault(where, rule, received, "Arrays hold numbers"))
        save_array(folder, name, array)
    names: tuple[str, ...] = _guarded(lambda: _names(argument, returned), argument, file, unusable)
    return names


def _imported(file: pathlib.Path) -> Any:
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ImportError("its name does not end in .py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and neighbours of the file look for it there.
    sys.modules.setdefault(file.stem, module)
    spec.loader.exec_module(module)
    return module


def _guarded(call: Callable[[], Any], where: str, file: pathlib.Path, rule: str) -> Any:
    """The value of a call of the user's code, which may raise anything, ``SystemExit`` included.

    Raises:
        DataFault: with type, message and line of what it raised.
    """
    try:
        return call()
    except DataFault:
        raise
    except BaseException as error:
        received = f"error={_reason(error)}{_line(error, file)}"
        raise DataFault(fault(where, rule, received)) from error


def _reason(error: BaseException) -> str:
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except BaseException:
        text = ""
    text = "".join(one if one.isprintable() else " " for one in text)
    message = " ".join(text.split())[:_LONGEST_REASON]
    return type(error).__name__ + (f": {message}" if message else "")


def _line(error: BaseException, file: pathlib.Path) -> str:
    """Where it happened: in the user's file if it was there, else in the innermost one."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == str(file)] or frames[2:]
    return f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""


def _functions(module: Any) -> str:
    own = [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    return ", ".join(own[:10]) or "none"


def _four(where: str, returned: Any) -> Mapping[str, Any]:
    """What was returned, by ``ARRAY_NAMES``.

    Raises:
        DataFault: it has another form.
    """
    if isinstance(returned, Mapping):
        if missing := [name for name in ARRAY_NAMES if name not in returned]:
            keys = ", ".join(ascii(key)[:40] for key in list(returned)[:10])
            received = f"keys={keys}; missing={', '.join(missing)}"
            raise DataFault(fault(where, "an array is missing", received, _RETURNED))
        return returned
    pairs = isinstance(returned, (tuple, list)) and all(
        isinstance(part, (tuple, list)) and len(part) == 2 for part in returned
    )
    if not pairs or len(returned) != 2:
        raise DataFault(fault(where, "it returned no arrays", _described(returned), _RETURNED))
    return dict(zip(ARRAY_NAMES, (*returned[0], *returned[1]), strict=True))


def _described(returned: Any) -> str:
    text = f"type={type(returned).__name__}"
    if isinstance(returned, (tuple, list)):
        text += f" of {', '.join(type(part).__name__ for part in returned[:4]) or 'nothing'}"
    return text


def _names(where: str, returned: Any) -> tuple[str, ...]:
    values = returned.get("class_names") if isinstance(returned, Mapping) else None
    if values is None:
        return ()
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, (list, tuple)):
        received = f"class_names={type(values).__name__}"
        raise DataFault(fault(where, "class_names is no list of texts", received))
    return class_names(where, values)
