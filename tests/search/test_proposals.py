"""What a trial tried is found again from the checkpoints, with nothing else at hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from searching import drive, fake_result, new_run, search_in

from mpinas.checkpoint import START
from mpinas.errors import RunDirectoryFault
from mpinas.proposals import Proposals
from mpinas.records import Finished, TrialSpec, to_plain
from mpinas.results import results_of
from mpinas.run_directory import RunDirectory


def run_whole(folder: Path, *overrides: str) -> tuple[RunDirectory, dict[str, TrialSpec]]:
    """A run to its end, and the specs that went out."""
    directory = new_run(folder, "run", *overrides)
    search, sent = search_in(directory, *overrides), {}
    while not search.done:
        for spec in search.next_specs(3):
            sent[spec.trial_id] = spec
            search.take(finished(spec))
    return directory, sent


def finished(spec: TrialSpec) -> Finished:
    return Finished(result=fake_result(spec))


@pytest.mark.parametrize("tuner", ["codeepneat", "random_search"])
def test_every_candidate_of_a_run_is_found_again(tmp_path: Path, tuner: str) -> None:
    directory, sent = run_whole(tmp_path, f"tuner.name={tuner}")
    assert len(sent) > 12
    proposals = Proposals(directory)
    for result in results_of(directory):
        proposal = proposals.of(result)
        if result.trial_id in sent:
            spec = sent[result.trial_id]
            assert proposal.network == spec.network
            assert to_plain(proposal.candidate) == spec.candidate


def test_those_of_a_generation_that_is_under_way(tmp_path: Path) -> None:
    directory = new_run(tmp_path, "run")
    search = search_in(directory)
    drive(search, stop_after=8)
    results = list(results_of(directory))
    assert results[-1].trial_id.startswith("g001")
    assert Proposals(directory).of(results[-1]).network is not None


def test_without_the_data_too(tmp_path: Path) -> None:
    directory, sent = run_whole(tmp_path)
    directory.problem.unlink()
    assert set(Proposals(directory).generation(2)) >= {
        name for name in sent if name.startswith("g002")
    }


def test_a_lost_checkpoint_is_named(tmp_path: Path) -> None:
    directory, _ = run_whole(tmp_path)
    directory.checkpoint(0).unlink()
    proposals = Proposals(directory)
    assert proposals.generation(0)
    with pytest.raises(RunDirectoryFault, match=r"g000\.h5.*cannot be told"):
        proposals.generation(2)


def test_another_network_than_the_one_tried_is_never_told(tmp_path: Path) -> None:
    directory, _ = run_whole(tmp_path)
    result = next(iter(results_of(directory)))
    other = dataclasses.replace(result, network_hash="0" * 16)
    with pytest.raises(RunDirectoryFault, match="cannot be found again"):
        Proposals(directory).of(other)


@pytest.mark.parametrize("generation", [0, 1])
def test_every_genome_of_a_candidate_has_its_lineage(tmp_path: Path, generation: int) -> None:
    """Of a generation that is under way no file tells it; of one that is told its own does."""
    directory = new_run(tmp_path, "run")
    drive(search_in(directory), stop_after=8)
    asked, told = Proposals(directory), Proposals(directory)
    assert directory.checkpoint(0).exists()
    assert not directory.checkpoint(1).exists()
    records = [one for number in range(START, generation + 1) for one in asked.lineage(number)]
    known = {record.genome_id for record in records}
    for proposal in asked.generation(generation).values():
        candidate = proposal.candidate
        assert {candidate.blueprint.id, *(one.module.id for one in candidate.modules)} <= known
    before = told.lineage(1)
    drive(search_in(directory))
    assert Proposals(directory).lineage(1) == before
