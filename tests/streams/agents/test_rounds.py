"""What goes round beside the topics: it waits for engines, it is woken, and one worker does it at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka.errors import KafkaConnectionError

from sinks.clickhouse import StoreUnavailable
from streams.agents import rounds
from streams.agents.rounds import Lead, go_round
from tocsin.messages import PAGES

LONG = 3_600.0


def go(steps: Callable[[], Awaitable[float | None]], until: Callable[[], bool], **options: object) -> bool:
    """Go round until something is so; whether it would have gone on."""

    async def run() -> bool:
        task = asyncio.create_task(go_round("tests", steps, **options))  # type: ignore[arg-type]
        while not until() and not task.done():
            await asyncio.sleep(0.01)
        going = not task.done()
        task.cancel()
        return going

    return asyncio.run(asyncio.wait_for(run(), 20))


def test_rounds_go_on_while_an_engine_is_away() -> None:
    tried = list[int]()

    async def away() -> None:
        tried.append(1)
        raise StoreUnavailable("away") if len(tried) % 2 else KafkaConnectionError()

    assert go(away, lambda: len(tried) == 4, every=0.01)


def test_any_other_error_ends_them() -> None:
    async def broken() -> None:
        raise KeyError("broken")

    assert not go(broken, lambda: False, every=0.01)


def test_a_round_may_say_when_the_next_one_is() -> None:
    done = list[int]()

    async def soon() -> float:
        done.append(1)
        return 0.01

    assert go(soon, lambda: len(done) == 3, every=LONG)


def test_a_pause_ends_when_there_is_work() -> None:
    done, woken = list[int](), asyncio.Event()

    async def work() -> None:
        done.append(1)
        asyncio.get_running_loop().call_later(0.05, woken.set)

    assert go(work, lambda: len(done) == 3, every=LONG, woken=woken)


def test_a_worker_that_stands_by_does_nothing_and_takes_over_within_seconds() -> None:
    held, done = set[tuple[str, int]](), list[int]()
    lead = Lead(lambda *place: place in held)
    asked = list[bool]()

    def leads() -> bool:
        if len(asked) == 2:
            assert not done
            held.add((PAGES, 0))
        asked.append(lead())
        return asked[-1]

    async def work() -> None:
        done.append(1)

    assert go(work, lambda: bool(done), every=LONG, leads=leads)
    assert asked[:3] == [False, False, True]
    assert rounds.STANDBY_SECONDS < 5
