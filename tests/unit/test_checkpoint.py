"""Checkpoints are whole or absent, carry only what is new, and a broken chain ends early."""

import subprocess
import sys
from dataclasses import replace

import pytest

from mpinas.checkpoint import (
    START,
    Checkpoint,
    DamagedCheckpoint,
    load_chain,
    load_checkpoint,
    save_checkpoint,
)


def make(generation: int) -> Checkpoint:
    return Checkpoint(
        generation=generation,
        state={
            "lineage": [{"genome_id": "m0001"}],
            "next": generation + 1,
            "odd": [0.1, None],
        },
        history_start=2 * (generation + 1),
        history=((generation, 1), (generation, 2)),
        results=[{"fitness": 0.1 + 0.2}],
        about={"mpinas": "0"},
    )


@pytest.fixture
def chain(tmp_path):
    save_checkpoint(tmp_path / "start.h5", make(START))
    for generation in range(3):
        save_checkpoint(tmp_path / f"g{generation}.h5", make(generation))
    return tmp_path


def load(folder):
    return load_chain(folder / "start.h5", lambda generation: folder / f"g{generation}.h5")


def test_round_trip(chain):
    assert load_checkpoint(chain / "g1.h5") == make(1)
    assert load_checkpoint(chain / "g1.h5").lineage == [{"genome_id": "m0001"}]


def test_the_chain_gives_the_newest_state_with_the_whole_history(chain):
    newest = load(chain)
    assert newest.generation == 2
    assert newest.history == tuple((g, i) for g in (-1, 0, 1, 2) for i in (1, 2))


def test_nothing_is_left_beside_the_file(chain):
    assert {path.name for path in chain.iterdir()} == {"start.h5", "g0.h5", "g1.h5", "g2.h5"}


def test_an_equal_checkpoint_is_not_written_again(chain):
    before = (chain / "g1.h5").stat()
    save_checkpoint(chain / "g1.h5", make(1))
    after = (chain / "g1.h5").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "text", "missing"])
def test_a_damaged_file_is_noticed_and_the_one_before_it_used(chain, damage):
    file = chain / "g2.h5"
    content = bytearray(file.read_bytes())
    if damage == "missing":
        file.unlink()
    else:
        position = content.index(b'"next"') + 1
        content[position] ^= 4
        file.write_bytes(
            {
                "truncate": file.read_bytes()[: len(content) // 2],
                "flip": bytes(content),
                "empty": b"",
                "text": b"no checkpoint\n" * 100,
            }[damage]
        )
        with pytest.raises(DamagedCheckpoint, match=r"g2\.h5"):
            load_checkpoint(file)
    assert load(chain).generation == 1


def test_every_flipped_byte_is_noticed_before_the_hdf5_library_sees_it(chain):
    """With one flipped byte of its metadata the library looped for ever."""
    file = chain / "g1.h5"
    content = file.read_bytes()
    for position in range(0, len(content), 41):
        damaged = bytearray(content)
        damaged[position] ^= 255
        file.write_bytes(bytes(damaged))
        with pytest.raises(DamagedCheckpoint):
            load_checkpoint(file)


def test_anyone_can_open_it_with_h5py(chain):
    import h5py

    with h5py.File(chain / "g1.h5", "r") as file:
        assert file.attrs["generation"] == 1
        assert b'"next":2' in file["state"][()].tobytes()


def test_a_hole_in_the_middle_ends_the_chain_there(chain):
    (chain / "g1.h5").write_bytes(b"")
    assert load(chain).generation == 0


def test_a_file_of_another_run_does_not_continue_the_chain(chain):
    (chain / "g2.h5").unlink()
    save_checkpoint(chain / "g2.h5", replace(make(2), history_start=99))
    assert load(chain).generation == 1


def test_without_starting_populations_there_is_nothing(tmp_path):
    assert load(tmp_path) is None


def test_a_newer_schema_says_so(chain, monkeypatch):
    monkeypatch.setattr("mpinas.checkpoint.SCHEMA_VERSION", 99)
    with pytest.raises(DamagedCheckpoint, match=r"schema_version 1; .* reads 99"):
        load_checkpoint(chain / "g0.h5")


def test_a_file_locked_by_another_reader_opens(chain):
    import h5py

    with h5py.File(chain / "g0.h5", "r"):
        assert load_checkpoint(chain / "g0.h5").generation == 0


@pytest.mark.parametrize("generation", [0, 2])
def test_a_lock_that_another_process_holds_stops_neither_reading_nor_writing(chain, generation):
    """Locks of parallel file systems fail in many ways; nothing here asks for one."""
    program = (
        "import fcntl, sys; file = open(sys.argv[1], 'r+b'); fcntl.flock(file, fcntl.LOCK_EX);"
        "fcntl.lockf(file, fcntl.LOCK_EX); print('locked', flush=True); sys.stdin.read()"
    )
    file = chain / f"g{generation}.h5"
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert other.stdout.readline() == b"locked\n"
        assert load(chain).generation == 2
        changed = replace(make(generation), results=[{"fitness": 0.5}])
        save_checkpoint(file, changed)
        assert load_checkpoint(file) == changed
    finally:
        other.communicate(b"", timeout=60)


def test_a_copy_of_an_earlier_file_does_not_continue_the_chain(chain):
    """One without new history rows fitted, and the chain went in a circle."""
    bare = replace(make(0), history=(), history_start=2)
    save_checkpoint(chain / "g0.h5", bare)
    (chain / "g1.h5").write_bytes((chain / "g0.h5").read_bytes())
    assert load(chain).generation == 0
    (chain / "start.h5").write_bytes((chain / "g0.h5").read_bytes())
    assert load(chain) is None


def test_a_file_of_a_run_with_other_starting_populations_does_not_continue_the_chain(chain):
    save_checkpoint(chain / "g2.h5", replace(make(2), about={"mpinas": "0", "start": "other"}))
    assert load(chain).generation == 1
