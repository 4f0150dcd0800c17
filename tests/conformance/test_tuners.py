"""What every tuner of the registry keeps: determinism, resume, portions, failures of all sorts."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from genetics import (
    ONLY_GRAPHS,
    WIDE,
    complete,
    failed,
    infeasible,
    pretended_fitness,
    space_of,
)

from mpinas.evolution.genome import Candidate
from mpinas.evolution.validity import genome_faults
from mpinas.records import Failure, TrialResult, canonical_json, from_plain, to_plain
from mpinas.space.search_space import SearchSpace
from mpinas.streams import ASK, STARTING_POPULATIONS, stream
from mpinas.tuners import TUNERS
from mpinas.tuners.base import Tuner

INDIVIDUALS = 7
GENERATIONS = 5
every_tuner = pytest.mark.parametrize("name", TUNERS)

Judge = Callable[[int, int, Candidate], TrialResult]


def build(name: str, space: SearchSpace | None = None, **more: object) -> Tuner:
    section = {"name": name, "generations": GENERATIONS, "individuals": INDIVIDUALS, **more}
    entry = TUNERS[name]
    return entry.build(entry.config.model_validate(section), space or space_of())


def judge(generation: int, index: int, candidate: Candidate) -> TrialResult:
    return complete(generation, index, pretended_fitness(candidate))


def mixed(generation: int, index: int, candidate: Candidate) -> TrialResult:
    """Every way a trial can end that is told."""
    if index % 4 == 1:
        return failed(generation, index, list(Failure)[(generation + index) % len(Failure)])
    return infeasible(generation, index) if index % 4 == 2 else judge(generation, index, candidate)


def ask(tuner: Tuner, state: Any, generation: int, seed: int = 1) -> tuple[Any, Any]:
    return tuner.ask(state, stream(seed, ASK, generation), INDIVIDUALS)


def results_of(
    candidates: Sequence[Candidate], generation: int, judge: Judge = judge
) -> list[TrialResult]:
    return [judge(generation, index, one) for index, one in enumerate(candidates)]


def search(
    tuner: Tuner,
    judge: Judge = judge,
    between: Callable[[Any], Any] = lambda state: state,
    portions: Sequence[int] = (INDIVIDUALS,),
) -> tuple[list[Any], Any]:
    """All candidates of a search and its last state; ``between`` sees every state there is."""
    state = between(tuner.init(stream(1, STARTING_POPULATIONS)))
    seen = []
    for generation in range(GENERATIONS):
        candidates, state = ask(tuner, state, generation)
        state = between(state)
        seen.append(candidates)
        results = results_of(candidates, generation, judge)
        first = 0
        for size in portions:
            state = between(tuner.tell(state, results[first : first + size]))
            first += size
    return seen, state


def through_json(tuner: Tuner) -> Callable[[Any], Any]:
    """Saves and loads a state as a checkpoint does, keys sorted, and checks that it is the same."""

    def again(state: Any) -> Any:
        text = canonical_json(tuner.state_to_plain(state))
        rows = json.loads(json.dumps(state.history))
        back = tuner.state_from_plain(json.loads(text), rows)
        assert back == state
        assert canonical_json(tuner.state_to_plain(back)) == text
        return back

    return again


@every_tuner
def test_equal_arguments_give_equal_values(name: str) -> None:
    assert search(build(name)) == search(build(name))


@every_tuner
def test_another_seed_gives_another_search(name: str) -> None:
    tuner = build(name)
    states = [tuner.init(stream(seed, STARTING_POPULATIONS)) for seed in (1, 2)]
    assert states[0] != states[1]


@every_tuner
def test_no_state_is_ever_changed(name: str) -> None:
    kept: list[tuple[Any, str]] = []

    def keep(state: Any) -> Any:
        kept.append((state, repr(state)))
        return state

    search(build(name), mixed, keep)
    assert len(kept) == 1 + 2 * GENERATIONS
    assert all(repr(state) == before for state, before in kept)


@every_tuner
@pytest.mark.parametrize("portions", [(INDIVIDUALS,), (3, 4), (1,) * INDIVIDUALS])
def test_stopped_and_resumed_at_every_point_equals_never_stopped(
    name: str, portions: Sequence[int]
) -> None:
    """TFNE's resume lost its fitness, thresholds and innovations."""
    whole = search(build(name), mixed)
    tuner = build(name)
    assert search(tuner, mixed, through_json(tuner), portions) == whole


@every_tuner
def test_a_fresh_tuner_goes_on_from_a_saved_state(name: str) -> None:
    """Nothing that matters is in the tuner object."""
    whole = search(build(name))
    state = build(name).init(stream(1, STARTING_POPULATIONS))
    for generation in range(GENERATIONS):
        candidates, state = ask(build(name), state, generation)
        assert candidates == whole[0][generation]
        state = build(name).tell(state, results_of(candidates, generation))
    assert state == whole[1]


@every_tuner
def test_results_in_portions_and_in_any_order_equal_all_at_once(name: str) -> None:
    tuner = build(name)
    candidates, state = ask(tuner, tuner.init(stream(1, STARTING_POPULATIONS)), 0)
    results = results_of(candidates, 0, mixed)
    whole = tuner.tell(state, results)
    part = tuner.tell(tuner.tell(tuner.tell(state, results[4:]), []), results[:2])
    assert part != whole
    assert tuner.tell(part, results[2:4]) == whole


@every_tuner
def test_nothing_is_proposed_while_results_are_missing(name: str) -> None:
    tuner = build(name)
    candidates, state = ask(tuner, tuner.init(stream(1, STARTING_POPULATIONS)), 0)
    results = results_of(candidates, 0)
    for count in range(INDIVIDUALS):
        waiting = tuner.tell(state, results[:count])
        assert ask(tuner, waiting, 1) == ((), waiting)
    assert len(ask(tuner, tuner.tell(state, results), 1)[0]) == INDIVIDUALS


@every_tuner
def test_the_first_individuals_are_part_of_the_start(name: str) -> None:
    """Two searches from one start are equal in their first generation, whatever their seeds."""
    tuner = build(name)
    start = tuner.init(stream(1, STARTING_POPULATIONS))
    rng = stream(5, ASK, 0)
    untouched = stream(5, ASK, 0)
    one, state = tuner.ask(start, rng, INDIVIDUALS)
    other, _ = ask(tuner, start, 0, seed=6)
    assert one == other
    assert len(one) == INDIVIDUALS
    assert rng.bit_generator.state == untouched.bit_generator.state
    assert tuple(state.history) == tuple(start.history)


@every_tuner
def test_tell_draws_nothing_and_asks_use_their_own_stream(name: str) -> None:
    tuner = build(name)
    candidates, state = ask(tuner, tuner.init(stream(1, STARTING_POPULATIONS)), 0)
    told = tuner.tell(state, results_of(candidates, 0))
    assert ask(tuner, told, 1, seed=1) == ask(tuner, told, 1, seed=1)
    assert ask(tuner, told, 1, seed=1)[0] != ask(tuner, told, 1, seed=2)[0]


@every_tuner
@pytest.mark.parametrize(
    "judge",
    [
        lambda generation, index, candidate: failed(generation, index),
        lambda generation, index, candidate: infeasible(generation, index),
        lambda generation, index, candidate: failed(generation, index, Failure.INFRASTRUCTURE),
        lambda generation, index, candidate: complete(generation, index, 0.0),
        lambda generation, index, candidate: complete(generation, index, -7.5),
        mixed,
    ],
    ids=["failed", "infeasible", "infrastructure", "all zero", "negative", "mixed"],
)
def test_a_search_goes_on_whatever_becomes_of_its_trials(name: str, judge: Judge) -> None:
    """In TFNE a generation of zeros divided by zero, and most errors ended the run."""
    tuner = build(name)
    seen, state = search(tuner, judge, through_json(tuner))
    assert [len(candidates) for candidates in seen] == [INDIVIDUALS] * GENERATIONS
    assert len({json.dumps(to_plain(candidates[0])) for candidates in seen}) > 1
    assert "nan" not in json.dumps(tuner.state_to_plain(state)).lower()


@every_tuner
@pytest.mark.parametrize("space", [WIDE, ONLY_GRAPHS], ids=["wide", "only graphs"])
def test_every_candidate_is_complete_and_valid(name: str, space: dict[str, object]) -> None:
    """No blueprint points to a species without a module; every genome is in the space."""
    built = space_of(space)
    for candidates in search(build(name, built))[0]:
        for candidate in candidates:
            mentioned = sorted({node.species for node in candidate.blueprint.nodes})
            assert [chosen.species for chosen in candidate.modules] == mentioned
            for genome in (candidate.blueprint, *(one.module for one in candidate.modules)):
                assert genome_faults(genome, built) == ()


@every_tuner
def test_candidates_survive_json(name: str) -> None:
    for candidates in search(build(name))[0]:
        for candidate in candidates:
            text = json.dumps(to_plain(candidate), allow_nan=False)
            assert from_plain(Candidate, json.loads(text)) == candidate


@every_tuner
def test_history_is_only_appended_to(name: str) -> None:
    """A checkpoint writes the new rows only."""
    histories: list[tuple[Any, ...]] = []
    search(build(name), between=lambda state: histories.append(state.history) or state)
    for before, after in itertools.pairwise(histories):
        assert after[: len(before)] == before
        assert all(type(value) is int for row in after for value in row)


@every_tuner
def test_lineage_names_each_new_genome_once(name: str) -> None:
    records = []
    lineages: list[Any] = []
    search(build(name), between=lambda state: lineages.append(state.lineage) or state)
    for lineage in dict.fromkeys(lineages):
        records += lineage
    ids = [record.genome_id for record in records]
    assert len(ids) == len(set(ids))
    known: set[str] = set()
    for record in records:
        assert set(record.parents) <= known
        known.add(record.genome_id)


@every_tuner
def test_every_genome_of_a_candidate_has_a_lineage(name: str) -> None:
    known: set[str] = set()

    def learn(state: Any) -> Any:
        known.update(record.genome_id for record in state.lineage)
        return state

    for candidates in search(build(name), between=learn)[0]:
        for candidate in candidates:
            assert candidate.blueprint.id in known
            assert {one.module.id for one in candidate.modules} <= known


@every_tuner
def test_a_result_is_told_once_and_only_to_its_generation(name: str) -> None:
    tuner = build(name)
    candidates, state = ask(tuner, tuner.init(stream(1, STARTING_POPULATIONS)), 0)
    results = results_of(candidates, 0)
    told = tuner.tell(state, results[:3])
    for wrong in (results[0], complete(1, 3, 0.5), complete(0, INDIVIDUALS, 0.5)):
        with pytest.raises(ValueError, match="tell: "):
            tuner.tell(told, [wrong])


@every_tuner
def test_a_state_of_another_space_or_sort_is_refused(name: str) -> None:
    tuner = build(name)
    state = tuner.init(stream(1, STARTING_POPULATIONS))
    plain = tuner.state_to_plain(state)
    with pytest.raises(ValueError, match="does not belong to this search space"):
        build(name, space_of(ONLY_GRAPHS)).state_from_plain(plain, state.history)
    with pytest.raises(ValueError, match="validation error"):
        tuner.state_from_plain({**plain, "generation": "soon"}, state.history)
    with pytest.raises(ValueError, match="history"):
        tuner.state_from_plain(plain, [(7, 7)])


@every_tuner
@pytest.mark.parametrize("individuals", [1, 2, 40])
def test_any_number_of_individuals(name: str, individuals: int) -> None:
    tuner = build(name, individuals=individuals)
    state = tuner.init(stream(1, STARTING_POPULATIONS))
    for generation in range(3):
        candidates, state = ask(tuner, state, generation)
        assert len(candidates) == individuals
        state = tuner.tell(state, results_of(candidates, generation))


@every_tuner
def test_the_registry_builds_from_its_own_configuration(name: str) -> None:
    config = TUNERS[name].config.model_validate({"name": name, "generations": 1, "individuals": 1})
    assert config.name == name
    assert TUNERS[name].config.model_validate(config.model_dump()) == config
