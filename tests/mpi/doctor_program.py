"""``python -m mpinas doctor`` with a rank that stays silent, for a test of the others' patience.

Arguments: the silent rank, when it falls silent (``at_once`` or ``when_asked``), then the verb's.
"""

from __future__ import annotations

import sys
import time
from typing import NoReturn

from mpinas.cli import doctor, main
from mpinas.dispatch.post import World
from mpinas.doctor import examination

SHORT_S = 5.0


def sleep(*arguments: object, **more: object) -> NoReturn:
    time.sleep(600)
    raise AssertionError("nobody has ended the job")


def answer(world: World, *arguments: object) -> bool:
    """Of the silent rank."""
    if world.rank == silent_rank:
        if moment == "at_once":
            sleep()
        examination._sees = sleep
    return examination.answer(world, *arguments)


silent_rank, moment = int(sys.argv[1]), sys.argv[2]
examination.MEETING_S = examination.ANSWER_S = SHORT_S
doctor.answer = answer
main(["doctor", *sys.argv[3:]])
