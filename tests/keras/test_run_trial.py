"""One real trial: what it learns, that it repeats to the last bit, and how it can end."""

from __future__ import annotations

import math
import os
import pathlib
import subprocess
import sys
import typing
from dataclasses import replace

import h5py
import numpy as np
import psutil
import pytest
from keras_networks import (
    DIGITS_NETWORK,
    Server,
    chain,
    conv2d,
    dense,
    from_plain_result,
    same_numbers,
    trial,
    validation_accuracy,
)

from mpinas.assembly.shapes import network_costs
from mpinas.config import ProblemConfig, TrialConfig
from mpinas.problems import open_prepared, prepare, split
from mpinas.records import (
    Failure,
    Progress,
    TrialSpec,
    TrialStatus,
    from_plain,
)

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def plain(server, digits) -> dict:
    """The answer to the trial that others are compared with."""
    return server.ask(trial(digits))


def test_a_trial_learns_and_says_all_about_it(server, digits):
    spec = trial(digits, epochs=6, training_images=1221, validation_images=216)
    answer = server.ask(spec)
    result = from_plain_result(answer)
    assert result.status is TrialStatus.COMPLETE, result.error
    assert result.fitness > 0.85
    assert (result.trial_id, result.network_hash) == ("g000-t000", DIGITS_NETWORK.hash)
    assert result.costs == network_costs(DIGITS_NETWORK)
    assert result.widths == {"conv2d_1": 8, "dense_6": 32, "dense_9": 10}
    assert set(result.versions) == {"tensorflow", "keras", "numpy", "python"}
    curves = result.curves
    assert result.fitness == curves.validation_accuracy[-1]
    assert curves.training_loss[-1] < curves.training_loss[0]
    assert curves.training_accuracy[-1] > curves.training_accuracy[0]
    times = result.times
    parts = (times.build_s, times.train_s, times.evaluate_s)
    assert min(parts) > 0
    assert sum(parts) <= times.wall_time_s

    rows = [from_plain(Progress, row) for row in answer["progress"]]
    assert [(row.epoch, row.epochs) for row in rows] == [(epoch, 6) for epoch in range(1, 7)]
    assert tuple(row.loss for row in rows) == curves.training_loss
    assert tuple(row.accuracy for row in rows) == curves.training_accuracy
    assert tuple(row.validation_accuracy for row in rows) == curves.validation_accuracy


def test_fresh_processes_give_the_same_bits(plain, digits):
    fresh = Server()
    try:
        again = fresh.run(trial(digits))
        threaded = [fresh.run(trial(digits, deterministic=True)) for _ in range(2)]
    finally:
        fresh.close()
    assert same_numbers(from_plain_result(plain), again)
    assert same_numbers(*threaded)


def test_another_seed_or_split_gives_other_numbers(server, plain, digits):
    first = from_plain_result(plain)
    assert not same_numbers(first, server.run(trial(digits, seed=12)))
    assert not same_numbers(first, server.run(trial(digits, split_seed=1)))


@pytest.mark.parametrize("changes", [{"steps_per_execution": 1}, {"jit_compile": True}])
def test_settings_of_speed_change_no_number_on_a_cpu(server, plain, digits, changes):
    assert same_numbers(from_plain_result(plain), server.run(trial(digits, **changes)))


def augmented(digits: str, copies: int = 3, **changes) -> TrialSpec:
    spec = trial(digits, **changes)
    return replace(spec, problem=replace(spec.problem, augment={"copies": copies, "flip": False}))


def test_copies_of_images_are_learned_from_and_repeat_to_the_last_bit(server, plain, digits):
    result = server.run(augmented(digits))
    assert result.status is TrialStatus.COMPLETE, result.error
    assert result.fitness > from_plain_result(plain).fitness, "three times as many steps"
    fresh = Server()
    try:
        assert same_numbers(result, fresh.run(augmented(digits)))
    finally:
        fresh.close()
    assert same_numbers(result, server.run(augmented(digits, steps_per_execution=1)))
    assert not same_numbers(result, server.run(augmented(digits, seed=12)))
    assert not same_numbers(result, server.run(augmented(digits, copies=2)))


def test_one_copy_is_no_augmentation(server, plain, digits):
    assert same_numbers(from_plain_result(plain), server.run(augmented(digits, copies=1)))


def test_a_staged_trial_maps_the_copy_and_has_the_same_numbers(plain, digits, tmp_path):
    node = tmp_path / "node"
    node.mkdir()
    spec = trial(digits)
    staged = Server(TMPDIR=str(node))
    try:
        result = staged.run(replace(spec, problem=replace(spec.problem, stage=True)))
        copies = list(node.glob("mpinas-data-*/*.h5"))
        for copy in copies:
            copy.write_bytes(copy.read_bytes()[:600])
        broken_and_mended = staged.run(replace(spec, problem=replace(spec.problem, stage=True)))
    finally:
        staged.close()
    assert len(copies) == 1
    assert copies[0].read_bytes() == pathlib.Path(digits).read_bytes()
    assert same_numbers(from_plain_result(plain), result)
    assert same_numbers(result, broken_and_mended)


def test_the_number_of_threads_is_really_applied(server, plain, digits):
    pool = server.ask(trial(digits, threads=4))["threads"] - plain["threads"]
    assert pool == 3


def test_all_optimizers_of_the_configuration_train(server, digits):
    names = typing.get_args(TrialConfig.model_fields["optimizer"].annotation)
    results = [server.run(trial(digits, optimizer=name, epochs=1)) for name in names]
    assert [result.status for result in results] == [TrialStatus.COMPLETE] * len(names)
    assert len({result.curves.training_loss for result in results}) == len(names)


def test_the_test_set_and_the_validation_images_teach_nothing(server, plain, digits, tmp_path):
    file = tmp_path / "changed.h5"
    file.write_bytes(pathlib.Path(digits).read_bytes())
    problem = open_prepared(file)
    _, validation = split(problem.y_train, training_images=600, validation_images=200, seed=0)
    with h5py.File(file, "r+") as target:
        target["x_test"][:] = 0
        target["y_test"][:] = 0
    assert same_numbers(from_plain_result(plain), server.run(trial(str(file))))
    with h5py.File(file, "r+") as target:
        images = target["x_train"][:]
        images[validation] = 255 - images[validation]
        target["x_train"][:] = images
    changed, first = server.run(trial(str(file))), from_plain_result(plain)
    assert changed.curves.training_loss == first.curves.training_loss
    assert changed.curves.validation_loss != first.curves.validation_loss


def test_a_loss_gone_wrong_ends_the_trial_as_data(server, digits, tmp_path):
    weights = tmp_path / "t.weights.h5"
    spec = trial(digits, learning_rate=1e30, optimizer="sgd", epochs=50, weights_path=str(weights))
    answer = server.ask(spec)
    result = from_plain_result(answer)
    assert (result.status, result.failure) == (TrialStatus.FAILED, Failure.NOT_A_NUMBER)
    assert "loss is" in result.error
    assert len(answer["progress"]) == len(result.curves.training_loss) < 3
    assert all(math.isfinite(loss) for loss in result.curves.training_loss)
    assert result.costs == network_costs(DIGITS_NETWORK)
    assert os.listdir(tmp_path) == []


def test_a_network_that_ends_with_nan_weights_is_no_success(server, digits):
    """One step only: its loss is finite, what it leaves behind is not."""
    spec = trial(
        digits, learning_rate=1e38, optimizer="sgd", epochs=1, training_images=64, batch_size=64
    )
    result = server.run(spec)
    assert (result.status, result.failure) == (TrialStatus.FAILED, Failure.NOT_A_NUMBER)
    assert "validation loss" in result.error


def test_lack_of_memory_missing_data_and_impossible_networks_are_data(server, digits, tmp_path):
    huge = chain((8, 8, 1), ("flatten", {}), dense(2**36), dense(10))
    result = server.run(trial(digits, huge))
    assert (result.status, result.failure) == (TrialStatus.FAILED, Failure.OUT_OF_MEMORY)
    absent = server.run(trial(str(tmp_path / "absent.h5")))
    assert (absent.status, absent.failure) == (TrialStatus.FAILED, Failure.INFRASTRUCTURE)
    assert "absent.h5" in absent.error
    impossible = server.run(trial(digits, chain((8, 8, 1), dense(10))))
    assert impossible.status is TrialStatus.INFEASIBLE
    assert "dense needs a vector" in impossible.error


@pytest.mark.parametrize("fitness", ["last", "best"])
def test_saved_weights_have_the_fitness(server, digits, tmp_path, fitness):
    file = tmp_path / "g000-t000.weights.h5"
    # Steps this long go up and down, so that the best epoch is not the last.
    spec = trial(digits, fitness=fitness, weights_path=str(file), learning_rate=0.03, epochs=8)
    result = server.run(spec)
    accuracies = result.curves.validation_accuracy
    assert max(accuracies) > accuracies[-1], "this trial cannot tell best from last"
    assert result.fitness == (max(accuracies) if fitness == "best" else accuracies[-1])
    assert validation_accuracy(digits, file) == pytest.approx(result.fitness)
    assert os.listdir(tmp_path) == [file.name]


def test_weights_of_a_network_trained_on_copies_are_its_own(server, digits, tmp_path):
    file = tmp_path / "g000-t000.weights.h5"
    result = server.run(augmented(digits, weights_path=str(file)))
    assert validation_accuracy(digits, file) == pytest.approx(result.fitness)


def test_weights_that_cannot_be_written_are_no_fault_of_the_trial(server, digits, tmp_path):
    """A missing folder, and a disk that is full (here: a limit to the size of files)."""
    missing = tmp_path / "missing" / "t.weights.h5"
    results = [server.run(trial(digits, epochs=1, weights_path=str(missing)))]
    process = psutil.Process(server.process.pid)
    for limit in (16_384, 1_000):
        file = tmp_path / "t.weights.h5"
        before = process.rlimit(psutil.RLIMIT_FSIZE)
        process.rlimit(psutil.RLIMIT_FSIZE, (limit, before[1]))
        try:
            results.append(server.run(trial(digits, epochs=1, weights_path=str(file))))
        finally:
            process.rlimit(psutil.RLIMIT_FSIZE, before)
    for result in results:
        assert (result.status, result.failure) == (TrialStatus.FAILED, Failure.INFRASTRUCTURE)
        assert "the weights cannot be written to" in result.error
        assert result.curves.validation_accuracy
    assert os.listdir(tmp_path) == []


def test_mixed_precision_trains(server, digits):
    result = server.run(trial(digits, precision="mixed_bfloat16", epochs=4))
    assert result.status is TrialStatus.COMPLETE, result.error
    assert result.fitness > 0.5


def test_images_in_colour_and_a_batch_larger_than_the_data(server, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1, 2], 20)
    images = rng.integers(0, 60, (60, 4, 4, 3), dtype=np.uint8)
    images[np.arange(60), :, :, labels] += 150
    arrays = {"x_train": images, "y_train": labels, "x_test": images[:6], "y_test": labels[:6]}
    np.savez(tmp_path / "data.npz", **arrays)
    file = tmp_path / "prepared.h5"
    prepare(ProblemConfig(name="arrays", path=str(tmp_path / "data.npz")), file)
    network = chain((4, 4, 3), conv2d(4, use_bias=True), ("global_average_pool", {}), dense(3))
    spec = trial(
        str(file), network, training_images=48, validation_images=12, epochs=20, batch_size=100
    )
    result = server.run(replace(spec, learning_rate=0.05))
    assert result.status is TrialStatus.COMPLETE, result.error
    assert result.fitness > 0.9


def test_importing_the_runner_starts_no_device_and_no_thread():
    script = (
        "import os, mpinas.trial.run\n"
        "from tensorflow.python.eager import context\n"
        "assert context.context()._context_handle is None\n"
        "names = {open(f'/proc/self/task/{t}/comm').read().strip() "
        "for t in os.listdir('/proc/self/task')}\n"
        "assert not any(name.startswith('tf_') for name in names), names\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_gpu_that_is_not_there_is_no_fault_of_the_candidate(digits):
    """A node whose card had fallen out trained on its processor, as gpu:0."""
    server = Server(CUDA_VISIBLE_DEVICES="GPU-of-another-machine")
    try:
        result = server.run(trial(digits, epochs=1))
    finally:
        server.close()
    assert result.failure is Failure.INFRASTRUCTURE
    assert "finds no GPU; CUDA_VISIBLE_DEVICES=GPU-of-another-machine" in result.error


@pytest.mark.parametrize("text", ["", "-1", "NoDevFiles"])
def test_a_list_that_names_no_gpu_promises_none(digits, text):
    """Slurm writes the last one into jobs that have no GPU."""
    server = Server(CUDA_VISIBLE_DEVICES=text)
    try:
        assert server.run(trial(digits, epochs=1)).status is TrialStatus.COMPLETE
    finally:
        server.close()
