"""The page of one search: its sections, from what its directory holds, alive, killed or done.

What cannot be drawn, since a file is lost or there is nothing yet, leaves a sentence in its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mpinas.checkpoint import START
from mpinas.config import RunConfig
from mpinas.errors import MpinasError
from mpinas.opening import KNOWLEDGE
from mpinas.proposals import Proposal, Proposals
from mpinas.records import TrialResult, last_line, trial_number
from mpinas.report.accuracy_figures import (
    accuracy_against_flops,
    accuracy_by_generation,
    learning_curves,
    pareto_front,
    trained_costs,
)
from mpinas.report.drawing import style
from mpinas.report.genome_figures import (
    genome_figure,
    genomes_of,
    lineage_figure,
    lineage_of,
    lineage_table,
)
from mpinas.report.network_figures import layer_flops_figure, network_figure
from mpinas.report.page import Block, Folded, Note, Page, Section, Table
from mpinas.report.run_figures import failures_figure, outcome_counts, species_figure
from mpinas.report.run_view import RunView, load_run
from mpinas.report.shrinks import shrink_cell, shrink_lines
from mpinas.report.species_sizes import species_sizes
from mpinas.report.tables import duration, headline, ranked
from mpinas.report.timeline import Trials, job_starts, timeline
from mpinas.report.timeline_figure import no_times, shares_figure, timeline_figure
from mpinas.report.training_flops import shrink_epochs
from mpinas.report.trial_view import layer_rows, shrunk_widths
from mpinas.results import ending
from mpinas.run_directory import RunDirectory
from mpinas.stored_config import stored_config

TRIALS_FILE = "trials.csv"
LEADERS = 20
LONGEST_ERROR = 8000
"""Characters of an error that are shown, its end: there stands what went wrong."""
UNREADABLE = (MpinasError, ValueError, LookupError, TypeError)
"""What damaged files and those of other versions lead to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What all sections are drawn from. ``proposals`` is None where ``lost`` says why."""

    directory: RunDirectory
    view: RunView
    config: RunConfig
    proposals: Proposals | None
    lost: str = ""


def search_page(path: Path) -> tuple[Page, RunView]:
    """Draws the page of a run; gives the run as well, which is read once.

    Raises:
        RunDirectoryFault: it is no run.
    """
    run = _load(path)
    with style():
        sections = tuple(_sections(run))
    page = Page(
        title=f"{run.view.name}: a search",
        lead=tuple(headline(run.view)),
        facts=tuple(_facts(run)),
        sections=sections,
        files=(TRIALS_FILE,),
    )
    return page, run.view


def _load(path: Path) -> _Run:
    view = load_run(path, KNOWLEDGE)
    directory = RunDirectory(path)
    config = stored_config(directory, KNOWLEDGE)
    try:
        proposals = Proposals(directory)
    except UNREADABLE as error:
        return _Run(
            directory=directory, view=view, config=config, proposals=None, lost=_words(error)
        )
    return _Run(directory=directory, view=view, config=config, proposals=proposals)


def _words(error: Exception) -> str:
    """The error in one line, without what only a developer reads."""
    return last_line(str(error)) or type(error).__name__


def _sections(run: _Run) -> Iterator[Section]:
    parts: tuple[tuple[str, str, Callable[[_Run], Iterator[Block | None]]], ...] = (
        ("accuracy", "What was found", _accuracy),
        ("leaders", "Leaderboard", _leaders),
        ("winner", "The best network", _winner),
        ("lineage", "Its lineage", _lineage),
        ("species", "Species", _species),
        ("failures", "Failures", _failures),
        ("workers", "Workers", _workers),
    )
    for name, title, blocks in parts:
        found = tuple(block for block in _as_far_as_it_goes(blocks, run) if block is not None)
        yield Section(name=name, title=title, blocks=found)


def _as_far_as_it_goes(
    blocks: Callable[[_Run], Iterator[Block | None]], run: _Run
) -> Iterator[Block | None]:
    """The blocks up to the first that cannot be made, and then why."""
    try:
        yield from blocks(run)
    except UNREADABLE as error:
        yield Note(text=f"What belongs here cannot be told. {_words(error)}")


def _facts(run: _Run) -> Iterator[tuple[str, str]]:
    view, config = run.view, run.config
    yield "directory", str(run.directory.path.resolve())
    yield "data", ", ".join(filter(None, (config.problem.name, config.problem.path)))
    yield "tuner", f"{config.tuner.name}, seed {config.seed}"
    sizes = f"{view.generations} generations of {view.individuals}"
    yield "trials", f"{sizes}, {config.trial.epochs} epochs each, {_shrink_words(config)}"
    if view.best is not None:
        yield "best", f"{view.best.trial_id}, validation accuracy {view.best.fitness:.4f}"
        versions = ", ".join(f"{name} {number}" for name, number in view.best.versions.items())
        yield from [("versions", versions)] if versions else []
    yield "this report", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())


def _shrink_words(config: RunConfig) -> str:
    if config.trial.shrink.enabled:
        return "with the shrink"
    last = config.trial_of(config.tuner.generations - 1)
    return "the last generation with the shrink" if last.shrink.enabled else "without the shrink"


def _accuracy(run: _Run) -> Iterator[Block | None]:
    results = run.view.results
    if not results:
        yield Note(text="No trial has ended yet.")
        return
    yield accuracy_by_generation(results) or Note(text="No trial has completed yet.")
    yield accuracy_against_flops(results)
    yield from (Note(text=line) for line in shrink_lines(results))


def _leaders(run: _Run) -> Iterator[Block | None]:
    best = ranked(run.view)
    if not best:
        yield Note(text="No trial has completed yet.")
        return
    front = {result.trial_id for result in pareto_front(best)}
    yield Table(
        title="",
        head=("", "trial", "accuracy", "MFLOPs", "shrunk to", "parameters", "seconds", "host", ""),
        rows=tuple(
            _leader(rank, result, front) for rank, result in enumerate(best[:LEADERS], start=1)
        ),
        numbers=frozenset({0, 2, 3, 4, 5, 6}),
        caption=f"The best {min(LEADERS, len(best))} of {len(best)} complete trials; all of them "
        f"are in {TRIALS_FILE}. MFLOPs and parameters are those before the shrink.",
    )


def _leader(rank: int, result: TrialResult, front: set[str]) -> tuple[str, ...]:
    costs = result.costs
    return (
        str(rank),
        result.trial_id,
        f"{result.fitness:.4f}",
        f"{costs.flops / 1e6:.2f}" if costs else "",
        shrink_cell(result),
        f"{costs.parameters:,}" if costs else "",
        f"{result.times.wall_time_s:.1f}",
        result.worker.host if result.worker else "",
        "on the Pareto front" if result.trial_id in front else "",
    )


def _winner(run: _Run) -> Iterator[Block | None]:
    best = run.view.best
    if best is None:
        yield Note(text="No trial has completed yet.")
        return
    name, costs = best.trial_id, trained_costs(best)
    small = f", {costs.flops / 1e6:.4g} MFLOPs as trained" if costs else ""
    yield Note(text=f"{name}: validation accuracy {best.fitness:.4f}{small}.")
    before = shrink_epochs(run.config, best)
    title = f"Learning curves of {name}"
    yield learning_curves(best, before, name="winner-curves", title=title)
    proposal = _proposal(run, best)
    if proposal.network is not None:
        widths = shrunk_widths(best)
        rows, is_shrunk = layer_rows(proposal.network, widths), widths is not None
        title = f"FLOPs of {name} by layer{', before and after the shrink' if is_shrunk else ''}"
        yield layer_flops_figure(rows, is_shrunk=is_shrunk, name="winner-flops", title=title)
        yield genome_figure(proposal.candidate, name="winner-genome", title=f"Genome of {name}")
        yield network_figure(rows, name="winner-network", title=f"Network of {name}")


def _proposals(run: _Run) -> Proposals:
    """Raises LookupError with the reason where there are none."""
    if run.proposals is None:
        raise LookupError(run.lost)
    return run.proposals


def _proposal(run: _Run, result: TrialResult) -> Proposal:
    return _proposals(run).of(result)


def _lineage(run: _Run) -> Iterator[Block | None]:
    best = run.view.best
    if best is None:
        yield Note(text="No trial has completed yet.")
        return
    candidate = _proposal(run, best).candidate
    newest, _ = trial_number(best.trial_id)
    records, lost = {}, []
    for generation in range(START, newest + 1):
        try:
            made = _proposals(run).lineage(generation)
        except UNREADABLE:
            lost.append(generation)
            continue
        records.update({record.genome_id: record for record in made})
    lines = lineage_of(candidate, records)
    yield lineage_figure(lines, records) or Note(text="No record of its genomes can be read.")
    if lost:
        yield Note(text=f"Generations whose checkpoint cannot be read: {_numbers(lost)}.")
    if lines:
        yield lineage_table(lines.values())
    missing = [one.id for one in genomes_of(candidate) if one.id not in lines]
    if lines and missing:
        yield Note(text=f"Nothing is known of where these came from: {', '.join(missing)}.")


def _numbers(generations: Sequence[int]) -> str:
    return ", ".join("start" if one == START else str(one) for one in generations)


def _species(run: _Run) -> Iterator[Block | None]:
    populations, lost = species_sizes(_proposals(run), run.view.generation)
    drawn = species_figure(populations)
    if drawn is None and not lost:
        yield Note(text=f"The tuner {run.config.tuner.name} has no species.")
    yield drawn
    if lost:
        yield Note(text=f"Generations whose checkpoint cannot be read: {_numbers(lost)}.")


def _failures(run: _Run) -> Iterator[Block | None]:
    results = run.view.results
    counts = outcome_counts(results)
    if not counts:
        yield Note(text="No trial failed." if results else "No trial has ended yet.")
        return
    first: dict[str, TrialResult] = {}
    for result in results:
        if result.fitness is None:
            first.setdefault(ending(result), result)
    yield failures_figure(results)
    yield Table(
        title="The first of each class",
        head=("class", "trials", "first", "in its words"),
        rows=tuple(
            (kind, str(count), first[kind].trial_id, last_line(first[kind].error))
            for kind, count in counts.items()
        ),
        numbers=frozenset({1}),
    )
    for kind, result in first.items():
        if "\n" in result.error.strip():
            title = f"{kind}: the error of {result.trial_id} in full"
            yield Folded(title=title, text=result.error[-LONGEST_ERROR:])


def _workers(run: _Run) -> Iterator[Block | None]:
    view = run.view
    own = Trials(results=view.results, told=view.generation, individuals=view.individuals)
    found = timeline([own], job_starts(run.directory.log))
    if not found.spans:
        yield Note(text=no_times(found))
        return
    if view.is_shared:
        yield timeline_figure(found, white="idle, or a trial of another search")
        yield Note(
            text="The searches of a comparison share the workers: when this one waited, they had "
            "trials of others. Where their time went stands in the report of the comparison."
        )
    else:
        yield timeline_figure(found)
        yield shares_figure(found)
    workers = view.workers + len(view.lost)
    if workers > len(found.workers):
        idle_workers = workers - len(found.workers)
        yield Note(text=f"{idle_workers} of {workers} workers had no trial that ended.")
    yield Note(
        text=f"In all {duration(view.wall_time_s)} of wall time, the starts of its jobs included."
    )
