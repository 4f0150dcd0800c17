"""Downloads from a server on this machine: whole and checked, or one line and nothing left."""

from __future__ import annotations

import hashlib
import http.server
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpinas.errors import DataFault
from mpinas.problems import downloads
from mpinas.problems.downloads import DOWNLOADS, Download, download

CONTENT = bytes(range(256)) * 5000
"""1.28 MB: several parts."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Each path is one way in which a server can answer."""

    def do_GET(self) -> None:
        answer = getattr(self, "answer_" + self.path.strip("/").partition(".")[0], None)
        if answer is None:
            self.send_error(404)
            return
        answer()

    def send(self, content: bytes, length: int | None = None) -> None:
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def answer_good(self) -> None:
        self.send(CONTENT, len(CONTENT))

    def answer_small(self) -> None:
        self.send(b"small", 5)

    def answer_moved(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/good.bin")
        self.end_headers()

    def answer_wrong(self) -> None:
        self.send(b"\1" + CONTENT[1:], len(CONTENT))

    def answer_endless(self) -> None:
        try:
            self.send(b"")
            while True:
                self.wfile.write(CONTENT)
        except OSError:
            self.server.noticed.set()  # type: ignore[attr-defined]

    def answer_short(self) -> None:
        self.send(CONTENT[:-1], len(CONTENT) - 1)

    def answer_cut(self) -> None:
        self.send(CONTENT[: len(CONTENT) // 2], len(CONTENT))

    def answer_silent(self) -> None:
        self.send(CONTENT[:1000], len(CONTENT))
        self.server.noticed.wait(30)  # type: ignore[attr-defined]

    def answer_rude(self) -> None:
        self.wfile.write(b"HTTP/1.1 503 go\x1b[2Jaway\x85now\r\n\r\n")

    def answer_garbage(self) -> None:
        self.wfile.write(b"\x16\x03\x01 this is no HTTP\r\n")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.ThreadingHTTPServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        running.noticed = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.noticed.set()  # type: ignore[attr-defined]
        running.shutdown()
        thread.join()


def wanted(server, name: str, content: bytes = CONTENT) -> Download:
    return Download(
        address=f"http://127.0.0.1:{server.server_address[1]}/{name}",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )


def nothing(done: int, total: int) -> None:
    pass


def refusal(files: list[Download], folder: Path) -> str:
    with pytest.raises(DataFault) as caught:
        download(files, folder, nothing)
    (line,) = caught.value.faults
    assert line.isprintable()
    return line


@pytest.mark.parametrize("name", ["good.bin", "moved.bin"])
def test_whole_file(server, tmp_path: Path, name: str) -> None:
    reports: list[tuple[int, int]] = []
    files = download(
        [wanted(server, name)], tmp_path, lambda done, total: reports.append((done, total))
    )
    assert files == (tmp_path / name,)
    assert files[0].read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [files[0]]
    assert len(reports) > 2
    assert reports == sorted(reports)
    assert reports[-1] == (len(CONTENT), len(CONTENT))


def test_several_files_are_reported_as_one(server, tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    both = [wanted(server, "small.gz", b"small"), wanted(server, "good.bin")]
    files = download(both, tmp_path, lambda done, total: reports.append((done, total)))
    assert [file.read_bytes() for file in files] == [b"small", CONTENT]
    assert reports[0] == (5, 5 + len(CONTENT))
    assert reports[-1] == (5 + len(CONTENT), 5 + len(CONTENT))


def test_a_file_of_the_name_is_replaced(server, tmp_path: Path) -> None:
    (tmp_path / "good.bin").write_bytes(b"old")
    download([wanted(server, "good.bin")], tmp_path, nothing)
    assert (tmp_path / "good.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wrong.bin", "not the file that is known. Received: SHA-256="),
        ("endless.bin", "longer than the 1280000 bytes it must have"),
        ("short.bin", "ended before the 1280000 bytes it must have. Received: bytes=1279999"),
        ("cut.bin", "ended before the 1280000 bytes it must have. Received: bytes=640000"),
        ("missing.bin", "cannot be downloaded. Received: error=HTTP 404 Not Found"),
        ("rude.bin", "cannot be downloaded. Received: error=HTTP 503 go [2Jaway now"),
        ("garbage.bin", "cannot be downloaded. Received: error="),
    ],
)
def test_bad_answer(server, tmp_path: Path, name: str, words: str) -> None:
    file = wanted(server, name)
    (tmp_path / name).write_bytes(b"old")
    line = refusal([file], tmp_path)
    assert line.startswith(f"{file.address}: {words}")
    cure = f"On a machine with internet download {file.address}, and give the file with --from."
    assert line.endswith(cure)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"old"


def test_an_endless_answer_is_not_read_on(server, tmp_path: Path) -> None:
    refusal([wanted(server, "endless.bin")], tmp_path)
    assert server.noticed.wait(30)


def test_a_silent_server_is_given_up(
    server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "TIMEOUT_S", 0.2)
    line = refusal([wanted(server, "silent.bin")], tmp_path)
    assert "cannot be downloaded. Received: error=timed out." in line
    assert list(tmp_path.iterdir()) == []


def test_closed_port(server, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/data.bin"
        line = refusal([Download(address=address, sha256="0" * 64, size_bytes=1)], tmp_path)
    assert line.startswith(f"{address}: cannot be downloaded.")
    assert "Connection refused" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:port", "http:/nowhere", "http://[::1"])
def test_a_proxy_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy)
    file = Download(address="http://127.0.0.1:9/data.bin", sha256="0" * 64, size_bytes=1)
    assert "cannot be downloaded" in refusal([file], tmp_path)


def test_full_disk(server, tmp_path: Path) -> None:
    (tmp_path / "good.bin.part").symlink_to("/dev/full")
    line = refusal([wanted(server, "good.bin")], tmp_path)
    assert line.startswith(f"{tmp_path / 'good.bin'}: the download of http://127.0.0.1:")
    assert "No space left on device" in line
    assert "Make room for 1 MB" in line
    assert list(tmp_path.iterdir()) == []


def test_a_later_file_keeps_the_earlier_ones(server, tmp_path: Path) -> None:
    both = [wanted(server, "small.gz", b"small"), wanted(server, "short.bin")]
    line = refusal(both, tmp_path)
    assert f"download {both[0].address}, {both[1].address}, and give the folder" in line
    assert [file.name for file in tmp_path.iterdir()] == ["small.gz"]


def test_an_interrupt_leaves_nothing(server, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download([wanted(server, "good.bin")], tmp_path, interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", DOWNLOADS)
def test_known_files(name: str) -> None:
    files = DOWNLOADS[name]
    assert len({file.name for file in files}) == len(files)
    for file in files:
        assert re.fullmatch(r"https?://[a-z0-9.-]+/[\w~/.-]+\.(npz|gz|zip)", file.address)
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)


def test_which_can_be_downloaded() -> None:
    assert set(DOWNLOADS) == {"mnist", "fashion_mnist", "cifar10", "cifar100", "tiny_imagenet"}
