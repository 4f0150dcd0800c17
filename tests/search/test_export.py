"""Which trials an export takes and how it drives their trainings, without a real training."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from comparing import whole_comparison
from data_files import random_arrays, save_npz
from searching import drive, fake_result, new_run, search_in

from mpinas.assembly.shapes import network_costs, network_widths
from mpinas.cli import main
from mpinas.clock import Clock
from mpinas.config import RunSettings
from mpinas.dispatch.inline import InlineExecutor
from mpinas.errors import ConfigurationFaults, DiskFault, RunDirectoryFault, UserMustChange
from mpinas.export import ExportWish, Plan, checked_formats, files_of, plan_export, wish_of
from mpinas.export_session import Outcome, run_export
from mpinas.journal import append_result
from mpinas.ownership import claim, release
from mpinas.records import (
    Curves,
    Failure,
    Shrink,
    ShrinkOutcome,
    TrialResult,
    TrialSpec,
    TrialStatus,
    to_json,
    trial_number,
)
from mpinas.results import results_of
from mpinas.run_directory import RunDirectory, existing_run
from mpinas.signals import StopRequest
from mpinas.trial.exported import Exported, Measures, digest_of

NO_LIMIT = Clock(deadline_s=None, reserve_s=0.0, now_s=time.monotonic)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A search to its end; tests write nothing into it."""
    directory = new_run(tmp_path_factory.mktemp("search"), "run")
    drive(search_in(directory))
    return directory


def wish(directory: RunDirectory, **changes: object) -> ExportWish:
    return ExportWish(**{"run": directory.path, "epochs": 4, "patience": 2, **changes})  # type: ignore[arg-type]


def ranked(directory: RunDirectory) -> list[TrialResult]:
    complete = [one for one in results_of(directory) if one.fitness is not None]
    return sorted(complete, key=lambda one: -(one.fitness or 0.0))


def test_the_best_trial_as_it_was_tried(run: RunDirectory) -> None:
    plan = plan_export(wish(run))
    (spec,) = plan.specs
    best = ranked(run)[0]
    assert (spec.trial_id, spec.network.hash) == (best.trial_id, best.network_hash)
    assert spec.candidate["blueprint"]
    settings = spec.settings
    assert (settings["epochs"], settings["shrink"]["enabled"]) == (4, False)
    assert wish_of(spec).found["fitness"] == best.fitness
    assert files_of(spec).model("keras") == run.path / "models" / f"{best.trial_id}.keras"
    assert not (run.path / "models").exists()


def test_several_are_of_different_networks(run: RunDirectory) -> None:
    specs = plan_export(wish(run, top=50)).specs
    hashes = [spec.network.hash for spec in specs]
    assert len(hashes) == len(set(hashes)) == len({one.network_hash for one in ranked(run)})
    fitness = [wish_of(spec).found["fitness"] for spec in specs]
    assert fitness == sorted(fitness, reverse=True)


def test_a_trial_by_name(run: RunDirectory) -> None:
    worst = ranked(run)[-1].trial_id
    assert [spec.trial_id for spec in plan_export(wish(run, trials=(worst, worst))).specs] == [
        worst
    ]
    short = "g{}-t{}".format(*trial_number(worst))
    assert [spec.trial_id for spec in plan_export(wish(run, trials=(short,))).specs] == [worst]
    with pytest.raises(UserMustChange, match="unknown complete trial 'g999-t000'"):
        plan_export(wish(run, trials=("g999-t000",)))


def test_all_images_that_do_not_validate_are_learned_from(tmp_path: Path) -> None:
    directory = new_run(tmp_path, "run", "problem.train_images=300")
    drive(search_in(directory), stop_after=3)
    (spec,) = plan_export(wish(directory)).specs
    assert spec.problem.training_images + spec.problem.validation_images == 1438
    (few,) = plan_export(wish(directory, overrides=("problem.train_images=500",))).specs
    assert few.problem.training_images == 500


def test_the_shrunk_network_unless_the_whole_one_is_wanted(tmp_path: Path) -> None:
    directory = new_run(tmp_path, "run", "tuner.generations=1")
    drive(search_in(directory))
    best = ranked(directory)[0]
    (wide,) = plan_export(wish(directory, trials=(best.trial_id,))).specs
    widths = dict(network_widths(wide.network))
    name = max((name for name in list(widths)[:-1]), key=lambda name: widths[name])
    widths[name] -= 1
    shrink = Shrink(outcome=ShrinkOutcome.SHRUNK, steps=1, widths=widths, alive_flops_at_start=1)
    append_result(directory.journal(0), replace(best, shrink=shrink, fitness=1.0))
    (narrow,) = plan_export(wish(directory)).specs
    assert network_costs(narrow.network).flops < network_costs(wide.network).flops
    (unshrunk,) = plan_export(wish(directory, unshrunk=True)).specs
    assert unshrunk.network == wide.network
    assert files_of(unshrunk).name == f"{best.trial_id}-unshrunk"
    broken = replace(shrink, outcome=ShrinkOutcome.BROKEN, widths={})
    append_result(directory.journal(0), replace(best, shrink=broken, fitness=1.0))
    assert plan_export(wish(directory)).specs[0].network == wide.network


def test_weights_of_the_search_where_it_has_saved_them(tmp_path: Path) -> None:
    directory = new_run(tmp_path, "run", "tuner.generations=1")
    drive(search_in(directory))
    with pytest.raises(UserMustChange, match="saved no weights"):
        plan_export(wish(directory, inherit=True))
    best = ranked(directory)[0].trial_id
    directory.weights.mkdir(exist_ok=True)
    (directory.weights / f"{best}.weights.h5").write_bytes(b"")
    (spec,) = plan_export(wish(directory, inherit=True)).specs
    assert wish_of(spec).weights == str(directory.weights / f"{best}.weights.h5")
    assert wish_of(spec).identity != wish_of(plan_export(wish(directory)).specs[0]).identity


@pytest.mark.parametrize(
    ("searched", "overrides"),
    [("1190", ()), ("600", ("problem.validation=0.7",))],
)
def test_inherited_weights_are_not_validated_by_what_they_learned_from(
    tmp_path: Path, searched: str, overrides: tuple[str, ...]
) -> None:
    """Which would choose the epoch, and stand on the card."""
    keys = (f"problem.train_images={searched}", "problem.validation=0.2", "tuner.generations=1")
    directory = new_run(tmp_path, "run", *keys)
    drive(search_in(directory), stop_after=3)
    directory.weights.mkdir(exist_ok=True)
    for trial in ranked(directory):
        (directory.weights / f"{trial.trial_id}.weights.h5").write_bytes(b"")
    with pytest.raises(UserMustChange, match="have learned from images that would validate"):
        plan_export(wish(directory, inherit=True, overrides=overrides))
    assert plan_export(wish(directory, overrides=overrides)).specs
    own = (f"problem.train_images={searched}",)
    assert plan_export(wish(directory, inherit=True, overrides=own)).specs


@pytest.mark.parametrize(
    "override",
    [
        "trial.shrink.enabled=true",
        "trial.shrink.epochs=2",
        "tuner.postprocess=shrink",
        "trial={runner: fake, epochs: 3, shrink: {enabled: true}}",
    ],
)
def test_a_final_training_shrinks_nothing(run: RunDirectory, override: str) -> None:
    with pytest.raises(UserMustChange, match="shrinks nothing"):
        plan_export(wish(run, overrides=(override,)))


def test_what_decides_the_weights_is_the_identity(run: RunDirectory) -> None:
    def identity(**changes: object) -> str:
        return wish_of(plan_export(wish(run, **changes)).specs[0]).identity

    same = identity()
    for changes in ({"formats": ("keras", "tflite")}, {"overrides": ("run.workers=3",)}):
        assert identity(**changes) == same
    for changes in (
        {"epochs": 5},
        {"patience": 3},
        {"overrides": ("trial.batch_size=64",)},
        {"overrides": ("trial.jit_compile=true",)},
        {"overrides": ("trial.learning_rate=0.0123",)},
        {"overrides": ("problem.augment.copies=2",)},
    ):
        assert identity(**changes) != same


def test_a_learning_rate_that_is_given_counts(run: RunDirectory) -> None:
    (spec,) = plan_export(wish(run, overrides=("trial.learning_rate=0.0123",))).specs
    assert spec.learning_rate == 0.0123
    assert plan_export(wish(run)).specs[0].learning_rate != 0.0123


def test_another_search_is_refused(run: RunDirectory) -> None:
    with pytest.raises(UserMustChange, match="another search"):
        plan_export(wish(run, overrides=("seed=6",)))
    with pytest.raises(ConfigurationFaults, match="epohcs"):
        plan_export(wish(run, overrides=("trial.epohcs=6",)))


def test_no_complete_trial_is_one_line_with_the_cure(tmp_path: Path) -> None:
    directory = new_run(tmp_path, "run", "trial.fake.failures={nan: 1.0}")
    for _ in range(2):  # before the first trial, and with failures only
        with pytest.raises(RunDirectoryFault, match="no trial is complete") as told:
            plan_export(wish(directory))
        assert len(told.value.faults) == 1
        assert "let the run go on" in str(told.value)
        drive(search_in(directory), stop_after=6)


def test_a_run_that_still_goes_on_is_exported(tmp_path: Path) -> None:
    directory = new_run(tmp_path, "run")
    drive(search_in(directory), stop_after=8)
    owner = claim(directory, 10.0)
    try:
        outcome = export(plan_export(wish(directory)), Trainer())
    finally:
        release(directory, owner)
    assert outcome == Outcome(stopped=False, failures={})


def test_lost_or_other_data_are_refused(tmp_path: Path) -> None:
    directory = new_run(tmp_path, "run")
    drive(search_in(directory), stop_after=3)
    directory.problem.unlink()
    with pytest.raises(UserMustChange, match="no such prepared file"):
        plan_export(wish(directory))


@pytest.mark.parametrize("path", ["nonsense", "README.md"])
def test_data_that_are_no_prepared_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """The run's own were taken without a word."""
    monkeypatch.chdir(tmp_path)
    Path("README.md").touch()
    arrays = save_npz(random_arrays((8, 8, 1), classes=2, training=80), tmp_path)
    key = f"problem={{name: arrays, path: {arrays}, validation: 0.2}}"
    directory = new_run(tmp_path, "run", key, "trial.batch_size=8")
    drive(search_in(directory), stop_after=3)
    assert plan_export(wish(directory)).specs
    with pytest.raises(UserMustChange, match="no such prepared file"):
        plan_export(wish(directory, overrides=(f"problem.path={path}",)))
    monkeypatch.setenv("HOME", str(tmp_path))
    directory.problem.rename(tmp_path / "moved.h5")
    (spec,) = plan_export(wish(directory, overrides=("problem.path=~/moved.h5",))).specs
    assert spec.problem.path == str(tmp_path / "moved.h5")


def refuse_secrets(exists: Callable[[RunDirectory], bool]) -> Callable[[RunDirectory], bool]:
    """Looking into a folder that others may not enter is an error."""

    def look(directory: RunDirectory) -> bool:
        if directory.path.name == "secret":
            raise PermissionError(13, "Permission denied", str(directory.config))
        return exists(directory)

    return look


def test_a_place_that_is_no_run_names_those_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_run(tmp_path, "one")
    with pytest.raises(RunDirectoryFault, match=f"There are {tmp_path}/one in it"):
        existing_run(tmp_path)
    comparison = whole_comparison(tmp_path, experiments=1)
    for place in (comparison.directory.path / "e0", comparison.directory.path):
        with pytest.raises(RunDirectoryFault, match=r"e0/plain, .*e0/shrink"):
            existing_run(place)
    comparison.directory.config.unlink()
    monkeypatch.setattr(RunDirectory, "exists", refuse_secrets(RunDirectory.exists))
    (tmp_path / "secret").mkdir()
    with pytest.raises(RunDirectoryFault, match="There are"):
        existing_run(tmp_path)
    with pytest.raises(RunDirectoryFault, match=r"There are .*e0/plain, "):
        existing_run(comparison.directory.path)


def test_formats_are_known_names() -> None:
    assert checked_formats("keras, tflite,keras") == ("keras", "tflite")
    with pytest.raises(UserMustChange, match="Did you mean 'tflite'"):
        checked_formats("keras,tflit")


class Trainer:
    """Writes what a final training writes, without one; or does as it is told.

    Args:
        outcomes: of the first trainings: a failure, or what is called before it goes well.
    """

    def __init__(self, *outcomes: object) -> None:
        self.trained: list[str] = []
        self._outcomes = iter(outcomes)

    def __call__(self, spec: TrialSpec, report: object) -> TrialResult:
        self.trained.append(spec.trial_id)
        what = next(self._outcomes, None)
        result = replace(fake_result(replace(spec, settings=QUIET)), fitness=0.5)
        if isinstance(what, Failure):
            changes = {"failure": what, "fitness": None, "error": "Traceback\nwhat went wrong"}
            return replace(result, status=TrialStatus.FAILED, **changes)  # type: ignore[arg-type]
        if callable(what):
            what()
        write_model(spec)
        return result


QUIET = {"fake": {"seconds": {"mean": 0.0, "sigma": 0.0}, "failures": {}}, "epochs": 1}


def write_model(spec: TrialSpec) -> None:
    files, wanted = files_of(spec), wish_of(spec)
    digests = {}
    for form in ("keras", *wanted.formats):
        files.model(form).write_bytes(spec.trial_id.encode())
        digests[files.model(form).name] = digest_of(files.model(form))
    measures = Measures(images=100, accuracy=0.5, loss=1.0)
    exported = Exported(
        name=wanted.name,
        trial_id=spec.trial_id,
        identity=wanted.identity,
        class_names=("a|b", "c"),
        image_shape=(8, 8, 1),
        mean=(1.0,),
        deviation=(2.0,),
        test=measures,
        validation=measures,
        costs=network_costs(spec.network),
        training={
            "epochs": 4,
            "patience": 2,
            "batch_size": 32,
            "optimizer": "adam",
            "learning_rate": 0.01,
            "schedule": "cosine",
            "best_by": "accuracy",
            "precision": "float32",
            "seed": 1,
            "begun_with": "new weights",
        },
        curves=Curves(),
        best_epoch=1,
        train_s=1.0,
        data={
            "problem": "digits",
            "source": "here",
            "checksum": "12",
            "training_images": 9,
            "copies": 1,
        },
        found=wanted.found,
        versions={"keras": "3"},
        genotype=spec.candidate,
        network=spec.network,
        files=digests,
    )
    files.record.write_bytes(to_json(exported))


def export(plan: Plan, trainer: Trainer, stopping: StopRequest | None = None) -> Outcome:
    def opened(models: int) -> InlineExecutor:
        return InlineExecutor(trainer, workers=2)

    return run_export(plan, opened, stopping or StopRequest(), NO_LIMIT)


@pytest.fixture
def plan(run: RunDirectory, tmp_path: Path) -> Plan:
    return plan_export(wish(run, top=2, out=tmp_path / "models"))


def names(plan: Plan) -> Sequence[str]:
    return [spec.trial_id for spec in plan.specs]


def test_models_and_cards_are_there_and_not_made_again(plan: Plan, run: RunDirectory) -> None:
    trainer = Trainer()
    assert export(plan, trainer) == Outcome(stopped=False, failures={})
    assert sorted(trainer.trained) == sorted(names(plan))
    for spec in plan.specs:
        card = files_of(spec).card.read_text()
        for words in (spec.trial_id, "0.5000 (100 images", "a\\|b, c", spec.network.hash, "`12`"):
            assert words in card
    files_of(plan.specs[0]).card.unlink()
    assert export(plan, Trainer(Failure.CRASH)) == Outcome(stopped=False, failures={})
    assert files_of(plan.specs[0]).card.exists()
    assert not RunDirectory(plan.folder).owner.exists()


@pytest.mark.parametrize("suffix", ["keras", "record"])
def test_a_damaged_or_half_written_model_is_made_again(plan: Plan, suffix: str) -> None:
    export(plan, Trainer())
    files = files_of(plan.specs[1])
    damaged = files.record if suffix == "record" else files.model(suffix)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    trainer = Trainer()
    export(plan, trainer)
    assert trainer.trained == [plan.specs[1].trial_id]


def test_other_settings_and_more_formats_are_made(plan: Plan, run: RunDirectory) -> None:
    export(plan, Trainer())
    for changes in ({"epochs": 5}, {"epochs": 5, "formats": ("keras", "tflite")}):
        trainer = Trainer()
        export(plan_export(wish(run, top=2, out=plan.folder, **changes)), trainer)
        assert len(trainer.trained) == 2


def test_one_that_fails_keeps_no_other_from_being_made(plan: Plan) -> None:
    trainer = Trainer(Failure.NOT_A_NUMBER)
    outcome = export(plan, trainer)
    (reason,) = outcome.failures.values()
    assert "what went wrong" in reason
    assert "learning_rate" in reason
    assert len(plan.waiting()) == 1


def test_faults_of_a_worker_are_tried_again(plan: Plan) -> None:
    bad = [Failure.INFRASTRUCTURE] * 2
    assert not export(plan, Trainer(*bad)).failures
    for file in plan.folder.iterdir():
        file.unlink()
    assert len(export(plan, Trainer(*[Failure.INFRASTRUCTURE] * 9)).failures) >= 1


def test_a_signal_ends_it_and_the_same_plan_goes_on(plan: Plan) -> None:
    stopping = StopRequest()
    trainer = Trainer(lambda: stopping.note(10))
    outcome = export(plan, trainer, stopping)
    assert outcome == Outcome(stopped=True, failures={})
    assert len(plan.waiting()) == 1
    trainer = Trainer()
    assert not export(plan, trainer).stopped
    assert len(trainer.trained) == 1
    assert plan.waiting() == []


def test_a_walltime_ends_it_in_order(plan: Plan) -> None:
    over = Clock(deadline_s=10.0, reserve_s=1.0, now_s=lambda: 9.5)
    trainer = Trainer()
    executor = InlineExecutor(trainer)
    outcome = run_export(plan, lambda models: executor, StopRequest(), over)
    assert (outcome.stopped, trainer.trained) == (True, [])


def test_a_signal_before_the_start_begins_nothing(plan: Plan) -> None:
    stopping = StopRequest()
    stopping.note(10)
    trainer = Trainer()
    assert export(plan, trainer, stopping).stopped
    assert trainer.trained == []


def test_a_folder_belongs_to_one_job(plan: Plan) -> None:
    plan.folder.mkdir()
    owner = claim(RunDirectory(plan.folder), 10.0)
    try:
        with pytest.raises(RunDirectoryFault, match="another job"):
            export(plan, Trainer())
    finally:
        release(RunDirectory(plan.folder), owner)


@pytest.mark.usefixtures("no_scheduler")
def test_the_command_tells_its_end_by_its_exit_code(
    plan: Plan, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(Failure.CRASH)

    def opened(settings: object, run_settings: RunSettings, asked_to_end: object) -> InlineExecutor:
        return InlineExecutor(trainer, workers=run_settings.workers)

    monkeypatch.setattr("mpinas.cli.farm._open_local", opened)
    command = ["export", str(run.path), "--top", "2", "--epochs", "4", "--patience", "2"]
    command += ["--out", str(plan.folder), "--json"]
    first = CliRunner().invoke(main, command)
    assert first.exit_code == 1, first.output
    told = json.loads(first.stdout)
    assert (len(told["models"]), len(told["failures"]), told["stopped"]) == (1, 1, False)
    second = CliRunner().invoke(main, command)
    assert second.exit_code == 0, second.output
    assert [one["trial_id"] for one in json.loads(second.stdout)["models"]] == list(names(plan))
    text = CliRunner().invoke(main, command[:-1]).stdout
    assert f"{names(plan)[0]}.keras  0.5000" in text
    for wrong in (["--format", "onnx"], ["--set", "seed=9"], ["--trial", "g9-t9"]):
        assert CliRunner().invoke(main, [*command, *wrong]).exit_code == 2
    assert CliRunner().invoke(main, ["export", str(plan.folder)]).exit_code == 2


def test_the_run_itself_is_left_alone(run: RunDirectory, plan: Plan) -> None:
    def content() -> dict[Path, bytes]:
        return {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}

    before = content()
    export(plan, Trainer())
    assert content() == before


def test_a_comparison_is_no_run_but_names_its_runs(tmp_path: Path) -> None:
    comparison = whole_comparison(tmp_path)
    with pytest.raises(RunDirectoryFault, match="this is a comparison") as told:
        plan_export(ExportWish(run=comparison.directory.path, epochs=1, patience=1))
    assert str(comparison.directory.run(1, "shrink")) in str(told.value)


def test_a_named_trial_without_a_fitness_says_why(run: RunDirectory) -> None:
    without = [one for one in results_of(run) if one.fitness is None]
    assert {one.status for one in without} == {TrialStatus.FAILED, TrialStatus.INFEASIBLE}
    for one in without:
        kind = one.failure.value if one.failure is not None else "infeasible"
        with pytest.raises(UserMustChange, match=f"not be trained.*{one.trial_id}, {kind}: "):
            plan_export(wish(run, trials=(one.trial_id,)))


def test_fewer_networks_than_asked_for_are_told(
    run: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        specs = plan_export(wish(run, top=50)).specs
    assert f"--top: only {len(specs)} different networks are complete" in caplog.text


def test_data_that_were_moved_can_be_given(tmp_path: Path) -> None:
    directory = new_run(tmp_path, "run")
    drive(search_in(directory), stop_after=3)
    moved = directory.problem.rename(tmp_path / "elsewhere.h5")
    with pytest.raises(UserMustChange, match=r"--set problem\.path=FILE"):
        plan_export(wish(directory))
    (spec,) = plan_export(wish(directory, overrides=(f"problem.path={moved}",))).specs
    assert spec.problem.path == str(moved)


@pytest.mark.parametrize("folder", ["file", "file/models"])
def test_a_folder_that_cannot_be_made_is_one_line(
    run: RunDirectory, tmp_path: Path, folder: str
) -> None:
    (tmp_path / "file").touch()
    plan = plan_export(wish(run, out=tmp_path / folder))
    with pytest.raises(RunDirectoryFault, match=r"cannot be made.*--out"):
        export(plan, Trainer())


def test_models_of_another_run_are_not_replaced(tmp_path: Path) -> None:
    folder, runs = tmp_path / "models", []
    for name, seed in (("one", 5), ("other", 6)):
        runs.append(new_run(tmp_path, name, f"seed={seed}", "trial.fake.failures={}"))
        drive(search_in(runs[-1]), stop_after=5)
    common = set.intersection(*({one.trial_id for one in ranked(one)} for one in runs))
    trial = sorted(common)[:1]
    plans = [plan_export(wish(one, out=folder, trials=trial)) for one in runs]
    one, other = plans
    export(one, Trainer())
    trainer = Trainer()
    with pytest.raises(RunDirectoryFault, match="a model of another run"):
        export(other, trainer)
    assert trainer.trained == []
    assert one.waiting() == []
    assert not RunDirectory(folder).owner.exists()


def test_what_a_killed_job_left_is_cleared_away(plan: Plan) -> None:
    """It was killed between the model and the end of its backup."""
    export(plan, Trainer())
    files = files_of(plan.specs[0])
    files.backup.touch()
    files.card.unlink()
    export(plan, Trainer(Failure.CRASH))
    assert not files.backup.exists()
    assert files.card.exists()


def test_a_model_has_its_card_though_another_format_failed(run: RunDirectory, plan: Plan) -> None:
    export(plan, Trainer())
    for spec in plan.specs:
        files_of(spec).card.unlink()
    more = plan_export(wish(run, top=2, out=plan.folder, formats=("keras", "tflite")))
    outcome = export(more, Trainer(Failure.ERROR, Failure.ERROR))
    assert len(outcome.failures) == 2
    assert all(files_of(spec).card.exists() for spec in plan.specs)


def test_a_full_disk_in_a_worker_ends_the_job_with_one_line(plan: Plan) -> None:
    tried: list[str] = []

    def trainer(spec: TrialSpec, report: object) -> TrialResult:
        tried.append(spec.trial_id)
        result = fake_result(replace(spec, settings=QUIET))
        error = f"{files_of(spec).model('keras')} cannot be written: [Errno 28] No space left"
        return replace(
            result,
            status=TrialStatus.FAILED,
            failure=Failure.INFRASTRUCTURE,
            fitness=None,
            error=error,
        )

    with pytest.raises(DiskFault, match="No space left on device") as told:
        run_export(plan, lambda models: InlineExecutor(trainer), StopRequest(), NO_LIMIT)
    assert len(told.value.args) == 1
    assert len(tried) == 1, "each of the others would meet it as well"
    assert not RunDirectory(plan.folder).owner.exists()
