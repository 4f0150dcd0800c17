"""Same seed, same search: however often it is stopped, damaged, or answered out of order."""

import logging
import random
import shutil
from dataclasses import replace

import pytest
from searching import drive, fake_result, found, new_run, search_in

from mpinas.checkpoint import load_checkpoint
from mpinas.journal import append_result, read_results
from mpinas.records import (
    Failure,
    Finished,
    TrialResult,
    TrialStatus,
    Worker,
    WorkerLost,
    trial_number,
)
from mpinas.run_directory import RunDirectory

TRIALS = 3 * 6


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A run directory in which nothing has happened, to be copied."""
    return new_run(tmp_path_factory.mktemp("fresh"), "run")


@pytest.fixture(scope="module")
def never_stopped(fresh, tmp_path_factory):
    directory = copy(fresh, tmp_path_factory.mktemp("whole"))
    drive(search_in(directory))
    return directory


@pytest.fixture
def run(fresh, tmp_path):
    return copy(fresh, tmp_path)


def copy(directory, folder):
    return RunDirectory(shutil.copytree(directory.path, folder / "run"))


def states(directory):
    """Everything the checkpoints say, but for times and hosts of the trials."""
    return [
        replace(load_checkpoint(file), results=())
        for file in sorted(directory.checkpoints.iterdir())
    ]


def test_the_small_search_has_every_kind_of_trial(never_stopped):
    """Else the tests below would prove less than they say."""
    results = [one for file in never_stopped.journals() for one in read_results(file)]
    assert len(results) == TRIALS
    assert {one.status for one in results} == {
        TrialStatus.COMPLETE,
        TrialStatus.INFEASIBLE,
        TrialStatus.FAILED,
    }
    assert len({one.fitness for one in results}) > 6


def test_another_seed_is_another_search(never_stopped, tmp_path):
    other = new_run(tmp_path, "run", "seed=6")
    drive(search_in(other))
    assert found(other) != found(never_stopped)


@pytest.mark.parametrize("stop_after", range(TRIALS))
def test_stopped_and_resumed_equals_never_stopped(run, never_stopped, stop_after):
    drive(search_in(run), stop_after=stop_after)
    drive(search_in(run))
    assert found(run) == found(never_stopped)
    assert states(run) == states(never_stopped)


def test_resumed_after_every_single_trial_equals_never_stopped(run, never_stopped):
    ran = 0
    while not (search := search_in(run)).done:
        ran += drive(search, stop_after=1, slots=3)
    assert found(run) == found(never_stopped)
    infeasible = sum(
        one.status is TrialStatus.INFEASIBLE for f in run.journals() for one in read_results(f)
    )
    assert ran == TRIALS - infeasible, "a trial ran twice"


@pytest.mark.parametrize("order", range(5))
@pytest.mark.parametrize("slots", [2, 4, 50])
def test_neither_workers_nor_the_order_of_results_matter(run, never_stopped, slots, order):
    drive(search_in(run), slots=slots, shuffle=random.Random(order))
    assert found(run) == found(never_stopped)
    assert states(run) == states(never_stopped)


@pytest.mark.parametrize("lost", [["g002"], ["g001"], ["g000", "g002"], ["start"]])
@pytest.mark.parametrize("how", ["missing", "empty"])
def test_a_lost_checkpoint_costs_no_trial(run, never_stopped, lost, how):
    drive(search_in(run))
    for name in lost:
        file = run.checkpoints / f"{name}.h5"
        file.unlink()
        if how == "empty":
            file.touch()
    assert drive(search_in(run)) == 0
    assert states(run) == states(never_stopped)


def test_intact_checkpoints_are_never_written_again(run):
    drive(search_in(run))
    before = {file: file.stat().st_mtime_ns for file in run.checkpoints.iterdir()}
    (run.checkpoint(1)).write_bytes(b"")
    drive(search_in(run))
    for file in run.checkpoints.iterdir():
        assert (file.stat().st_mtime_ns == before[file]) == (file != run.checkpoint(1))


def test_a_torn_journal_costs_the_torn_trial_only(run, never_stopped):
    ran = drive(search_in(run), stop_after=8)
    file = run.journals()[-1]
    file.write_bytes(file.read_bytes()[:-20])
    ran += drive(search_in(run))
    assert found(run) == found(never_stopped)
    infeasible = sum(
        one.status is TrialStatus.INFEASIBLE for f in run.journals() for one in read_results(f)
    )
    assert ran == TRIALS - infeasible + 1


def test_a_result_of_another_network_is_named_and_run_again(run, never_stopped, caplog):
    drive(search_in(run), stop_after=3)
    file = run.journal(0)
    results = read_results(file)
    stranger = next(one for one in results if one.fitness is not None)
    file.unlink()
    for one in results:
        append_result(file, replace(one, network_hash="0" * 16) if one is stranger else one)
    with caplog.at_level(logging.WARNING):
        assert drive(search_in(run)) > 0
    assert stranger.trial_id in caplog.text
    kept = {one.trial_id: one for one in read_results(run.journal(0))}
    assert kept[stranger.trial_id].network_hash == stranger.network_hash
    assert drive(search_in(run)) == 0, "it is run again at each resume"
    assert set(kept) == {name for name, _, _ in found(never_stopped) if name.startswith("g000")}


def test_a_longer_run_goes_on_as_if_it_had_been_long_from_the_start(run, never_stopped, tmp_path):
    drive(search_in(run, "tuner.generations=2"))
    assert len(found(run)) == 12
    assert search_in(run, "tuner.generations=2").done
    drive(search_in(run, "tuner.generations=3"))
    assert found(run) == found(never_stopped)


def test_searches_from_one_start_have_equal_first_candidates(run, never_stopped, tmp_path):
    """Section 6.1 of the paper: modules, blueprints and individuals are the same."""
    other = new_run(tmp_path, "other", "seed=77")
    drive(search_in(run), stop_after=1)
    start = load_checkpoint(run.start)
    tuner = search_in(run)._setting.tuner
    drive(search_in(other, start_state=tuner.state_from_plain(start.state, start.history)))
    first = [one[:2] for one in found(never_stopped) if one[0].startswith("g000")]
    assert [one[:2] for one in found(other) if one[0].startswith("g000")] == first
    assert found(other) != found(never_stopped)
    assert load_checkpoint(other.start).state == start.state


def lost_result(spec, text="no device"):
    return TrialResult(
        trial_id=spec.trial_id,
        network_hash=spec.network.hash,
        status=TrialStatus.FAILED,
        failure=Failure.INFRASTRUCTURE,
        error=text,
    )


def test_infrastructure_is_tried_again_twice_and_then_is_no_evidence(run):
    tries = {}

    def evaluate(spec):
        tries[spec.trial_id] = tries.get(spec.trial_id, 0) + 1
        return lost_result(spec) if trial_number(spec.trial_id) == (0, 1) else fake_result(spec)

    drive(search_in(run), evaluate=evaluate)
    assert tries["g000-t001"] == 3
    assert all(count == 1 for name, count in tries.items() if name != "g000-t001")
    last = next(one for one in read_results(run.journal(0)) if one.trial_id == "g000-t001")
    assert last.failure is Failure.INFRASTRUCTURE
    assert len(read_results(run.journal(0))) == 6


def test_what_failed_on_a_worker_goes_out_again_only_where_there_is_a_choice(run):
    """The one bad worker was free at once, and got the same trial three times."""
    search = search_in(run)
    first, second = search.next_specs(2)
    search.take(Finished(result=lost_result(first)))
    assert first.trial_id not in [spec.trial_id for spec in search.next_specs(1)]
    assert first.trial_id in [spec.trial_id for spec in search.next_specs(50)]
    alone = search_in(run)
    specs = alone.next_specs(50)
    for spec in specs[1:]:
        alone.take(Finished(result=fake_result(spec)))
    alone.take(Finished(result=lost_result(specs[0])))
    assert [spec.trial_id for spec in alone.next_specs(1)] == [specs[0].trial_id]
    assert second.trial_id != first.trial_id


def test_infrastructure_that_mends_itself_changes_nothing(run, never_stopped):
    failed_once = set()

    def evaluate(spec):
        if spec.trial_id not in failed_once:
            failed_once.add(spec.trial_id)
            return lost_result(spec)
        return fake_result(spec)

    drive(search_in(run), evaluate=evaluate, slots=3)
    assert found(run) == found(never_stopped)


def test_a_lost_worker_costs_its_trial_one_more_run(run, never_stopped):
    search = search_in(run)
    spec = search.next_specs(1)[0]
    worker = Worker(host="h", rank=1, device="cpu")
    search.take(WorkerLost(worker=worker, trial_id=spec.trial_id, reason="gone"))
    search.take(WorkerLost(worker=worker, trial_id=None, reason="gone"))
    assert search.running == ()
    drive(search)
    assert found(run) == found(never_stopped)


def test_an_interrupted_trial_is_not_written_down_and_runs_again(run, never_stopped):
    search = search_in(run)
    spec = search.next_specs(1)[0]
    interrupted = TrialResult(
        trial_id=spec.trial_id, network_hash=spec.network.hash, status=TrialStatus.INTERRUPTED
    )
    before = found(run)
    search.take(Finished(result=interrupted))
    assert found(run) == before
    assert search.next_specs(1)[0].trial_id == spec.trial_id
    drive(search_in(run))
    assert found(run) == found(never_stopped)


def test_results_nobody_asked_for_are_ignored(run, never_stopped):
    search = search_in(run)
    spec = search.next_specs(1)[0]
    search.take(Finished(result=replace(fake_result(spec), trial_id="g007-t000")))
    search.take(Finished(result=fake_result(spec)))
    search.take(Finished(result=replace(fake_result(spec), error="told twice")))
    drive(search)
    assert found(run) == found(never_stopped)


def test_the_longest_trial_goes_first_and_what_does_not_fit_waits(run):
    search = search_in(run)
    specs = search.next_specs(50)
    costs = [spec.predicted_cost for spec in specs]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] > 0
    again = search_in(run)
    chosen = again.next_specs(50, lambda spec: spec.predicted_cost < costs[0])
    assert {spec.trial_id for spec in specs} - {spec.trial_id for spec in chosen} == {
        spec.trial_id for spec in specs if spec.predicted_cost == costs[0]
    }


def test_infeasible_candidates_never_reach_a_worker(run):
    trained = []
    drive(search_in(run), evaluate=lambda spec: trained.append(spec.trial_id) or fake_result(spec))
    infeasible = [
        one
        for file in run.journals()
        for one in read_results(file)
        if one.status is TrialStatus.INFEASIBLE
    ]
    assert infeasible
    assert not {one.trial_id for one in infeasible} & set(trained)
    assert all("parameters" in one.error and one.costs for one in infeasible)


@pytest.mark.parametrize("policy", ["none", "best", "last_generation"])
def test_weights_are_kept_as_the_policy_says(tmp_path, policy):
    run = new_run(tmp_path, "run", f"trial.save_weights={policy}")

    def evaluate(spec):
        if spec.weights_path:
            with open(spec.weights_path, "w") as file:
                file.write(spec.trial_id)
        return fake_result(spec)

    drive(search_in(run), stop_after=7, evaluate=evaluate)
    drive(search_in(run), evaluate=evaluate)
    kept = sorted(file.name[:9] for file in run.weights.glob("*")) if run.weights.exists() else []
    results = found(run)
    best = max(results, key=lambda one: (one[2] or -1.0, [-n for n in trial_number(one[0])]))
    if policy == "none":
        assert kept == []
    elif policy == "best":
        assert kept == [best[0]]
    else:
        assert kept
        assert all(name.startswith("g002") for name in kept)


def test_each_genome_stands_in_the_lineage_once(never_stopped):
    files = [
        never_stopped.start,
        *(never_stopped.checkpoint(generation) for generation in range(3)),
    ]
    made = [record["genome_id"] for file in files for record in load_checkpoint(file).lineage]
    assert len(made) == len(set(made)) > 20


def test_a_journaled_result_of_a_candidate_that_is_infeasible_now_is_named(run, caplog):
    drive(search_in(run))
    file = next(
        file for file in run.journals() if any(is_infeasible(r) for r in read_results(file))
    )
    results = read_results(file)
    stranger = next(filter(is_infeasible, results))
    file.unlink()
    for one in results:
        append_result(file, replace(one, network_hash="0" * 16) if one is stranger else one)
    for checkpoint in run.checkpoints.iterdir():
        checkpoint.unlink()
    with caplog.at_level(logging.WARNING):
        assert drive(search_in(run)) == 0
    assert f"{stranger.trial_id}: the journal tells of network 0000" in caplog.text


def is_infeasible(result):
    return result.status is TrialStatus.INFEASIBLE


def test_the_best_weights_survive_every_resume(tmp_path):
    """The file of the best trial was deleted when its result was read again."""
    run = new_run(tmp_path, "run", "trial.save_weights=best", "trial.fake.failures={}")

    def evaluate(spec):
        with open(spec.weights_path, "w") as file:
            file.write(spec.trial_id)
        return fake_result(spec)

    while not (search := search_in(run)).done:
        drive(search, stop_after=1, evaluate=evaluate)
        results = [one for file in run.journals() for one in read_results(file)]
        best = max(results, key=lambda one: (one.fitness or -1.0, -trial_number(one.trial_id)[1]))
        if best.fitness is not None:
            search_in(run).next_specs(1)
            kept = [file.read_text() for file in run.weights.glob("*")]
            fitness = {one.trial_id: one.fitness for one in results}
            assert [fitness[name] for name in kept] == [best.fitness]


def test_every_generation_failing_ends_the_search_all_the_same(tmp_path):
    run = new_run(tmp_path, "run", "trial.fake.failures={nan: 1}")
    drive(search_in(run))
    assert len(found(run)) == TRIALS
    assert {fitness for _, _, fitness in found(run)} == {None}


def test_checkpoints_do_not_grow_with_the_run(tmp_path):
    run = new_run(tmp_path, "run", "tuner.generations=40", "space.max_parameters=200")
    drive(search_in(run))
    sizes = [run.checkpoint(generation).stat().st_size for generation in range(40)]
    assert max(sizes[30:]) < 1.5 * max(sizes[5:15])
