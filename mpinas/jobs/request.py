"""What a user asks of a cluster, and what of it cannot be written into a script."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from mpinas.config_values import parse_walltime_s
from mpinas.errors import UserMustChange, fault


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """A job, before anybody knows how its scheduler writes it.

    Attributes:
        config: the configuration file; absolute, as are all paths here, because a scheduler may run
            a copy of the script from elsewhere.
        directory: where the job is submitted.
        out: the run directory.
        verb: of mpinas, ``run`` or ``compare``.
        python: what starts Python where no environment is activated.
        overrides: ``key=value``, given on to the program.
        nodes: how many, each with the same number of workers, or one less.
        gpus_per_node: each has a worker; 0 for a search without GPUs.
        workers: of a search without GPUs; None for as many as the configuration says.
        cpus_per_worker: cores.
        memory_mb: of a worker; None for what the site gives.
        walltime: in a form of Slurm; None for the limit of the queue.
        queue: or partition.
        account: or project.
        job_name: None for the name of the run.
        modules: to load, in order.
        environment: a virtual environment, or the file to source.
        launcher: with its options, as ``srun --mpi=pmix``; None for the template's first.
        directives: added, as ``--qos=high``, in the words of the scheduler.
        without: names of what is left out.
    """

    config: Path
    directory: Path
    out: Path
    verb: str = "run"
    python: str = "python"
    overrides: tuple[str, ...] = ()
    nodes: int = 1
    gpus_per_node: int = 0
    workers: int | None = None
    cpus_per_worker: int = 1
    memory_mb: int | None = None
    walltime: str | None = None
    queue: str | None = None
    account: str | None = None
    job_name: str | None = None
    modules: tuple[str, ...] = ()
    environment: Path | None = None
    launcher: str | None = None
    directives: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


_IN_DIRECTIVES = ("queue", "account", "job_name")


def check_request(request: JobRequest) -> None:
    """Refuses what no script can hold.

    Raises:
        UserMustChange: all that is wrong, one line each.
    """
    faults = [*_control_characters(request), *_directive_faults(request), *_count_faults(request)]
    if request.walltime is not None:
        try:
            parse_walltime_s(request.walltime)
        except ValueError as error:
            faults.append(fault("--walltime", str(error)))
    if faults:
        raise UserMustChange(*faults)


def option(field: str) -> str:
    """How a field is called on the command line."""
    singular = {"overrides": "set", "modules": "module", "directives": "directive"}
    return "--" + singular.get(field, field).replace("_", "-")


def shell_word(value: object) -> str:
    """The value as one word of a shell, whatever is in it."""
    return shlex.quote(str(value))


def shell_words(values: tuple[str, ...]) -> str:
    """The values as words of a shell."""
    return shlex.join(values)


def _texts(request: JobRequest) -> Iterator[tuple[str, str]]:
    for field in fields(request):
        value = getattr(request, field.name)
        values = value if isinstance(value, tuple) else (value,)
        yield from ((field.name, str(one)) for one in values if isinstance(one, (str, Path)))


def _control_characters(request: JobRequest) -> Iterator[str]:
    """A line break would end a directive or a comment and begin a command."""
    for name, text in _texts(request):
        if any(unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") for one in text):
            where = option(name) if name != "config" else "CONFIG"
            yield fault(where, "has characters that no script can hold", f"{name}={text!r}")


def _directive_faults(request: JobRequest) -> Iterator[str]:
    """Schedulers agree on blanks between quotes, not on how a quote itself is written."""
    for name in _IN_DIRECTIVES:
        value = getattr(request, name)
        if value is not None and not re.fullmatch(r"[^'\"\\`#-][^'\"\\`#]*", value):
            allowed = "Allowed: any text without quotes, backslashes and #, not empty, no leading -"
            yield fault(option(name), "not a value for a directive", f"{name}={value!r}", allowed)
    for directive in request.directives:
        if not directive.startswith("-"):
            yield fault(
                "--directive",
                "a directive begins with a dash",
                f"directive={directive!r}",
                cure="Write it as on the command line of the scheduler, such as --qos=high",
            )


def _count_faults(request: JobRequest) -> Iterator[str]:
    if request.gpus_per_node and request.workers is not None:
        yield fault(
            "--workers",
            "with GPUs each GPU has its workers",
            f"workers={request.workers}, gpus_per_node={request.gpus_per_node}",
            cure="Leave --workers out; run.workers_per_gpu raises their number",
        )
    if request.workers is not None and request.workers < request.nodes:
        yield fault(
            "--workers",
            "fewer workers than nodes",
            f"workers={request.workers}, nodes={request.nodes}",
            cure="Ask for fewer nodes",
        )
