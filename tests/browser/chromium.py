"""A headless Chromium for tests, spoken to over a pipe: no port, no driver, no package.

The protocol is Chrome's own (``--remote-debugging-pipe``): JSON messages with a zero byte behind
each, from the browser's point of view in on descriptor 3 and out on descriptor 4.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",  # a container's root has none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-pipe",
)
LIMIT_S = 120.0
PLUMBING = """\
import fcntl, os, sys
reads, writes = (fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3])
os.dup2(reads, 3), os.dup2(writes, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Puts the pipes where the browser looks for them, whatever was there."""


def find_browser() -> str | None:
    """The program, or None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


IMAGES = """\
[...document.images].map(image => {
  const box = image.getBoundingClientRect();
  return {name: image.alt, decoded: image.complete && image.naturalWidth > 0,
          left: box.left + scrollX, top: box.top + scrollY, width: box.width, height: box.height};
})"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image of a page and where it stands, in CSS pixels from the page's upper left corner.

    Attributes:
        decoded: whether the browser could make a picture of what it was given.
    """

    name: str
    decoded: bool
    left: float
    top: float
    width: float
    height: float


@dataclass(slots=True, kw_only=True)
class Seen:
    """What a browser made of a page.

    Attributes:
        width: in CSS pixels, of what could be scrolled to.
        text: what can be read without opening anything.
        complaints: console messages, uncaught errors, and what the page's policy refused.
        requests: addresses that were asked for, the page itself and ``data:`` left out.
        png: a screenshot of the whole page, a pixel for each CSS pixel.
    """

    width: int
    title: str
    text: str
    pictures: tuple[Picture, ...]
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    png: bytes = b""


class Browser:
    """One page in a living browser."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads = open(reads, "rb", buffering=0)  # noqa: SIM115
        self._writes = open(writes, "wb", buffering=0)  # noqa: SIM115
        self._rest = b""
        self._number = 0
        self._session = ""
        self._events: list[Mapping[str, Any]] = []

    def close(self) -> None:
        """Closes the pipes, whereupon the browser leaves."""
        self._reads.close()
        self._writes.close()

    def look_at(self, file: Path, width: int) -> Seen:
        """Opens a file in a window that wide, and looks at all of it."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session, self._events = attached["sessionId"], []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", **screen)
        address = file.resolve().as_uri()
        self._ask("Page.navigate", url=address)
        self._wait_for("Page.loadEventFired")
        shot = self._ask("Page.captureScreenshot", captureBeyondViewport=True, clip=self._whole())
        seen = Seen(
            width=self._evaluate("document.scrollingElement.scrollWidth"),
            title=self._evaluate("document.title"),
            text=self._evaluate("document.body.innerText"),
            pictures=tuple(Picture(**one) for one in self._evaluate(IMAGES)),
            png=base64.b64decode(shot["data"]),
        )
        for event in self._events:
            self._note(event, address, seen)
        self._session = ""
        self._ask("Target.closeTarget", targetId=target)
        return seen

    def _evaluate(self, expression: str) -> Any:
        answer = self._ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"]["value"]

    def _whole(self) -> Mapping[str, float]:
        size = self._ask("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}

    def _note(self, event: Mapping[str, Any], address: str, seen: Seen) -> None:
        values = event["params"]
        if event["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
            seen.complaints.append(json.dumps(values))
        elif event["method"] == "Log.entryAdded":
            seen.complaints.append(values["entry"]["text"])
        elif event["method"] == "Network.requestWillBeSent":
            url = values["request"]["url"]
            if url != address and not url.startswith("data:"):
                seen.requests.append(url)

    def _ask(self, method: str, **values: Any) -> Any:
        """Sends a command and gives its answer; events meanwhile are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": values}
        if self._session:
            message["sessionId"] = self._session
        self._writes.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _wait_for(self, method: str) -> None:
        while not any(event["method"] == method for event in self._events):
            self._read()

    def _read(self) -> Mapping[str, Any]:
        deadline_s = time.monotonic() + LIMIT_S
        while b"\0" not in self._rest:
            left_s = max(0.0, deadline_s - time.monotonic())
            assert select.select([self._reads], [], [], left_s)[0], "the browser says nothing"
            more = self._reads.read(65536)
            assert more, "the browser ended"
            self._rest += more
        text, _, self._rest = self._rest.partition(b"\0")
        message: Mapping[str, Any] = json.loads(text)
        if "method" in message and message.get("sessionId", "") == self._session:
            self._events.append(message)
        return message


@contextmanager
def browsing(program: str, profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own; it is gone at the end."""
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    command = [sys.executable, "-c", PLUMBING, str(to_read), str(from_write), program]
    process = subprocess.Popen(
        [*command, *ARGUMENTS, f"--user-data-dir={profile}"],
        pass_fds=(to_read, from_write),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(from_write)
    browser = Browser(from_read, to_write)
    try:
        yield browser
    finally:
        browser.close()
        try:
            process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
