"""A journal survives kills and damage without losing or inventing a result."""

import logging
import pathlib
import subprocess
import sys

import pytest

from mpinas.journal import append_result, cut_torn_line, read_results
from mpinas.records import Failure, TrialResult, TrialStatus


def complete(index: int, fitness: float = 0.5) -> TrialResult:
    return TrialResult(
        trial_id=f"g000-t{index:03d}",
        network_hash=f"hash{index}",
        status=TrialStatus.COMPLETE,
        fitness=fitness,
    )


@pytest.fixture
def journal(tmp_path):
    file = tmp_path / "g000.jsonl"
    for index in range(5):
        append_result(file, complete(index, 0.1 * index))
    return file


def test_what_is_appended_is_read_in_order_and_bit_for_bit(journal):
    assert read_results(journal) == [complete(index, 0.1 * index) for index in range(5)]


def test_a_missing_journal_is_empty(tmp_path):
    assert read_results(tmp_path / "g007.jsonl") == []


@pytest.mark.parametrize("keep", [0, 1, 17, 60])
def test_a_torn_last_line_is_not_read_and_is_cut_off_by_the_writer(journal, keep):
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:4]) + lines[4][:keep])
    assert len(read_results(journal)) == 4
    cut_torn_line(journal)
    append_result(journal, complete(9))
    assert [result.trial_id for result in read_results(journal)][-1] == "g000-t009"
    assert len(read_results(journal)) == 5


def test_a_line_cut_exactly_before_its_newline_counts_as_torn(journal):
    journal.write_bytes(journal.read_bytes()[:-1])
    assert len(read_results(journal)) == 4


def test_a_flipped_bit_is_named_and_only_that_line_is_lost(journal, caplog):
    text = bytearray(journal.read_bytes())
    position = text.index(b'"hash2"') + 3
    text[position] ^= 1
    journal.write_bytes(bytes(text))
    with caplog.at_level(logging.WARNING):
        results = read_results(journal)
    assert [result.network_hash for result in results] == ["hash0", "hash1", "hash3", "hash4"]
    assert "line 3" in caplog.text


def test_a_line_with_a_right_crc_over_something_else_is_not_used(journal):
    import zlib

    payload = b'{"trial_id":"g000-t008"}'
    with journal.open("ab") as file:
        file.write(b'{"crc":"%08x","result":%s}\n' % (zlib.crc32(payload), payload))
    assert len(read_results(journal)) == 5


def test_of_a_trial_that_stands_twice_the_last_counts(journal):
    append_result(journal, complete(2, 0.99))
    assert next(r for r in read_results(journal) if r.trial_id == "g000-t002").fitness == 0.99


def test_a_disk_that_takes_half_a_line_is_an_error_and_leaves_the_journal_as_it_was(journal):
    before = journal.read_bytes()
    program = (
        "import resource, sys, pathlib; sys.path.insert(0, sys.argv[2]);"
        "from test_journal import complete, append_result; import signal;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); file = pathlib.Path(sys.argv[1]);"
        "size = file.stat().st_size + 100; resource.setrlimit(resource.RLIMIT_FSIZE, (size, size));"
        "append_result(file, complete(7))"
    )
    folder = str(pathlib.Path(__file__).parent)
    ended = subprocess.run(
        [sys.executable, "-c", program, str(journal), folder], capture_output=True, text=True
    )
    assert "OSError" in ended.stderr
    assert journal.read_bytes() == before


def test_failures_keep_their_class_and_text(tmp_path):
    failed = TrialResult(
        trial_id="g000-t000",
        network_hash="h",
        status=TrialStatus.FAILED,
        failure=Failure.CRASH,
        error='Traceback:\n  "quoted" \u00e9\n}',
    )
    append_result(tmp_path / "g.jsonl", failed)
    assert read_results(tmp_path / "g.jsonl") == [failed]


def test_a_line_of_another_generation_is_named_and_not_used(journal, caplog):
    """As a file that was copied to the wrong place has them."""
    misplaced = journal.rename(journal.with_name("g001.jsonl"))
    with caplog.at_level(logging.WARNING):
        assert read_results(misplaced) == []
    assert "line 5 is of g000-t004" in caplog.text
