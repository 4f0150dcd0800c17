"""Reports between rank 0 and the others where no trials are run; nobody waits without a limit.

Comes in: post offices of the ranks. Comes out: what arrived in time. It must not know what is said.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from mpinas.dispatch.post import LONGEST_SLEEP_S, Kind, PostOffice


def say(post: PostOffice, texts: Mapping[int, bytes], limit_s: float) -> bool:
    """Sends each rank its text; tells whether all of it went out in time."""
    for rank, text in texts.items():
        post.send(rank, Kind.REPORT, text)
    deadline = time.monotonic() + limit_s
    while not post.empty and time.monotonic() < deadline:
        post.push()
        time.sleep(LONGEST_SLEEP_S)
    return post.empty


def hear(post: PostOffice, ranks: Iterable[int], limit_s: float) -> dict[int, bytes]:
    """One report of each rank, in the order of ranks; without those that none came from in time."""
    left, heard = set(ranks), dict[int, bytes]()
    deadline = time.monotonic() + limit_s
    while left and time.monotonic() < deadline:
        post.push()
        for rank in sorted(left):
            message = post.receive(rank)
            if message is not None and message[0] is Kind.REPORT:
                heard[rank] = message[1]
        left -= heard.keys() | post.gone.keys()
        time.sleep(LONGEST_SLEEP_S)
    return dict(sorted(heard.items()))
