"""The script of a job: what all templates may use as blanks, computed from request and
configuration. Pure, but for reading the template.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from mpinas.config import RunConfig
from mpinas.config_values import parse_walltime_s
from mpinas.errors import UserMustChange, fault
from mpinas.jobs.layout import Layout, layout_of
from mpinas.jobs.request import JobRequest, check_request, option, shell_word, shell_words
from mpinas.jobs.template import Template, Value, fill, read_template

SIGNAL_MARGIN_S = 90.0
"""Between ``run.grace_s`` and the walltime: to save, to end the launcher and to requeue. Slurm may
send the signal up to a minute early (sbatch(1), --signal), which only lengthens it."""

NEEDS_A_BLANK = {"queue": "queue", "account": "account", "memory_mb": "memory_per_cpu_mb"}
"""Field of a request -> the blank without which a template would ignore it in silence."""

SURVIVORS_WAIT_S = 60
"""From the end of the first rank until srun ends the others. At an orderly end they need seconds;
where a rank was killed they would wait for it until the walltime."""

LAUNCHES_ALONE = "none"
STARTED_BY_SLURM = "srun"
STARTED_BY_JSM = "jsrun"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """What starts the ranks.

    Attributes:
        words: the program and its options; ``none`` for one process with local workers.
    """

    words: tuple[str, ...]

    @property
    def program(self) -> str:
        """Its name, wherever it stands."""
        return self.words[0].rpartition("/")[2]

    @property
    def alone(self) -> bool:
        """Whether there is no launcher, and no other node."""
        return self.program == LAUNCHES_ALONE

    @property
    def takes_number(self) -> bool:
        """Whether it is told how many ranks there are, with ``-n``; ``jsrun`` reads a file."""
        return self.program not in (LAUNCHES_ALONE, STARTED_BY_JSM)

    @property
    def takes_hosts(self) -> bool:
        """Whether it is an ``mpiexec``, which has to be told how many ranks go where."""
        return self.program not in (LAUNCHES_ALONE, STARTED_BY_SLURM, STARTED_BY_JSM)


def job_script(scheduler: str, request: JobRequest, config: RunConfig) -> str:
    """A complete batch script.

    Args:
        config: as it results from the request's configuration file and overrides.

    Raises:
        UserMustChange: all that is wrong with the request, or with the template.
    """
    check_request(request)
    template = read_template(scheduler)
    launcher = _launcher(template, request)
    layout = layout_of(request, config.run)
    faults = [*_ignored(template, request), *_too_many_nodes(template, request, launcher)]
    if faults:
        raise UserMustChange(*faults)
    values: dict[str, Value] = {
        **_size(request, layout, launcher),
        **_times(request, config),
        **_directives(request, config),
        **_commands(request, config, layout, launcher),
    }
    return fill(template, values, request.without)


def _launcher(template: Template, request: JobRequest) -> Launcher:
    """The one asked for, or the template's first.

    Raises:
        UserMustChange: it does not fit the template.
    """
    fitting = template.settings["launchers"]
    asked = fitting[0] if request.launcher is None else request.launcher
    try:
        words = tuple(shlex.split(asked))
    except ValueError:
        words = ()
    programs = [launcher.split()[0] for launcher in fitting]
    if not words or words[0].rpartition("/")[2] not in programs:
        allowed = f"Allowed: {', '.join(programs)}, each with options of its own"
        raise UserMustChange(
            fault("--launcher", f"not a launcher for {template.name}", f"{asked!r}", allowed)
        )
    return Launcher(words=words)


def _ignored(template: Template, request: JobRequest) -> Iterator[str]:
    """Options that the template has no place for."""
    for field, blank in NEEDS_A_BLANK.items():
        value = getattr(request, field)
        if value is not None and blank not in template.blanks():
            yield fault(
                option(field),
                f"has no place in a script for {template.name}",
                f"{field}={value}",
                cure="Leave it out, or say it with --directive in the scheduler's own words",
            )


def _too_many_nodes(template: Template, request: JobRequest, launcher: Launcher) -> Iterator[str]:
    one_machine = template.settings.get("nodes") == ("1",)
    if request.nodes > 1 and (launcher.alone or one_machine):
        alone = f"--launcher {LAUNCHES_ALONE}" if launcher.alone else template.name
        yield fault("--nodes", f"{alone} is for one node", f"nodes={request.nodes}")


def _size(request: JobRequest, layout: Layout, launcher: Launcher) -> dict[str, Value]:
    """How much of a machine is asked for."""
    by_node = bool(request.gpus_per_node) or (launcher.takes_hosts and request.nodes > 1)
    placed = by_node and request.nodes > 1
    per_cpu_mb = None
    if request.memory_mb is not None:
        per_cpu_mb = math.ceil(request.memory_mb / request.cpus_per_worker)
    return {
        "nodes": request.nodes,
        "workers": layout.all_workers,
        "tasks": None if by_node else layout.all_workers + 1,
        "tasks_per_node": layout.most_ranks if by_node else None,
        "cores": layout.cores_per_node * request.nodes,
        "cores_per_node": layout.cores_per_node,
        "cpus_per_worker": request.cpus_per_worker,
        "gpus_per_node": request.gpus_per_node or None,
        "memory_per_cpu_mb": per_cpu_mb,
        "ranks_per_node": " ".join(map(str, layout.ranks)) if placed else None,
        "host_list": "" if placed and launcher.takes_hosts else None,
        "host_file": "" if placed and launcher.program == STARTED_BY_SLURM else None,
        "all_ranks": layout.all_workers + 1 if launcher.takes_number else None,
        "resource_lines": tuple(_resource_lines(request, layout)),
        "shares_gpus": "" if 0 < request.gpus_per_node < max(layout.workers) else None,
    }


def _times(request: JobRequest, config: RunConfig) -> dict[str, Value]:
    """The walltime in the forms of schedulers, and how long before it the job is warned.

    The warning leaves the job at least half of its walltime. LSF counts whole minutes.
    """
    walltime = config.run.walltime if request.walltime is None else request.walltime
    lead_s = math.ceil(config.run.grace_s + SIGNAL_MARGIN_S)
    if walltime is None:
        return {
            "walltime": None,
            "walltime_minutes": None,
            "signal_s": lead_s,
            "warning_minutes": math.ceil(lead_s / 60),
        }
    walltime_s = int(parse_walltime_s(walltime))
    minutes = math.ceil(walltime_s / 60)
    return {
        "walltime": _clock(walltime_s),
        "walltime_minutes": minutes,
        "signal_s": min(lead_s, walltime_s // 2),
        "warning_minutes": min(math.ceil(lead_s / 60), minutes // 2) or None,
    }


def _clock(total_s: int) -> str:
    """``HH:MM:SS``, with days in front from the first on."""
    minutes, seconds = divmod(total_s, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    clock = f"{hours:02}:{minutes:02}:{seconds:02}"
    return f"{days}-{clock}" if days else clock


def _directives(request: JobRequest, config: RunConfig) -> dict[str, Value]:
    def directive(value: str | None) -> str | None:
        return None if value is None else shell_word(value)

    return {
        "name": config.name,
        "job_name": directive(config.name if request.job_name is None else request.job_name),
        "queue": directive(request.queue),
        "account": directive(request.account),
        "directives": request.directives,
    }


def _commands(
    request: JobRequest, config: RunConfig, layout: Layout, launcher: Launcher
) -> dict[str, Value]:
    """What the shell does."""
    return {
        "directory": shell_word(request.directory),
        "modules": tuple(shell_word(module) for module in request.modules),
        "environment": None if request.environment is None else _activation(request),
        "launch": _launch(layout, launcher),
        "by_srun": "" if launcher.program == STARTED_BY_SLURM else None,
        "program": _program(request, layout, launcher),
        "out": shell_word(request.out),
    }


def _activation(request: JobRequest) -> str:
    """What to source; a folder is a virtual environment."""
    path = request.environment
    assert path is not None
    return shell_word(path if path.name.startswith("activate") else path / "bin" / "activate")


def _launch(layout: Layout, launcher: Launcher) -> str:
    """The launcher with its options, but for the number of ranks, which the script may change."""
    if launcher.alone:
        return ""
    options: tuple[str, ...] = ()
    if launcher.program == STARTED_BY_SLURM:
        options = (f"--cpus-per-task={layout.cpus_per_worker}",)
        if not any(word.startswith(("--wait", "-W")) for word in launcher.words):
            options += (f"--wait={SURVIVORS_WAIT_S}",)
    elif launcher.takes_hosts and not any(
        word.lstrip("-").partition("=")[0] == "bind-to" for word in launcher.words
    ):
        options = ("--bind-to", "none")
    return shell_words((*launcher.words, *options))


def _program(request: JobRequest, layout: Layout, launcher: Launcher) -> str:
    python = request.python if request.environment is None else "python"
    words = [python, "-m", "mpinas", request.verb, str(request.config)]
    words += ["--out", str(request.out)]
    for override in request.overrides:
        words += ["--set", override]
    if launcher.alone:
        words += ["--workers", str(layout.all_workers)]
    return shell_words(tuple(words))


def _resource_lines(request: JobRequest, layout: Layout) -> Iterator[str]:
    """Each rank's host, hardware threads and GPU in IBM's explicit resource file, with four threads
    a core. Rank 0 shares the first core with the first worker: it polls and has nothing to compute.

    Source: IBM Job Step Manager, Explicit Resource File (ERF) format.
    """
    threads = 4 * request.cpus_per_worker
    yield "rank: 0: { host: 1; cpu: {0-3} }"
    rank = 1
    for host, workers in enumerate(layout.workers, start=1):
        for worker in range(workers):
            cpu = f"{{{worker * threads}-{(worker + 1) * threads - 1}}}"
            gpu = f"; gpu: {{{worker % request.gpus_per_node}}}" if request.gpus_per_node else ""
            yield f"rank: {rank}: {{ host: {host}; cpu: {cpu}{gpu} }}"
            rank += 1
