"""Time limits: they end what is awaited exactly then, and leave nothing behind."""

import asyncio

import pytest

from orchestrator import time_limits
from orchestrator.time_limits import TimeLimit, within

LONG = 30.0


def left_behind() -> int:
    """Count the slices that the loop's limits still keep a timer for."""
    return len(time_limits._wheel_of(asyncio.get_running_loop())._slices)


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 0.05, 1.3])
async def test_what_takes_longer_is_ended_then(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()

    with pytest.raises(TimeoutError), within(seconds) as limit:
        await asyncio.sleep(LONG)

    took = loop.time() - began
    assert limit.expired()
    assert max(0.0, seconds) - 0.01 <= took < max(0.0, seconds) + 0.5
    assert left_behind() == 0


async def test_what_ends_in_time_leaves_no_timer() -> None:
    async def short() -> None:
        with within(LONG):
            await asyncio.sleep(0)
            assert left_behind() in (1, 2)  # the slices that two limits are in

    await asyncio.gather(*(short() for _ in range(100)))

    assert left_behind() == 0


async def test_no_limit_is_none() -> None:
    with TimeLimit(None) as limit:
        await asyncio.sleep(0)
    assert not limit.expired()


async def test_an_error_inside_passes() -> None:
    with pytest.raises(ValueError, match="inside"), within(LONG):
        raise ValueError("inside")
    assert left_behind() == 0


async def test_a_timeout_of_what_is_inside_is_not_the_limits() -> None:
    with within(LONG) as limit, pytest.raises(TimeoutError):
        raise TimeoutError
    assert not limit.expired()


async def test_a_task_that_is_cancelled_stays_cancelled() -> None:
    async def wait() -> None:
        with within(LONG):
            await asyncio.sleep(LONG)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left_behind() == 0


async def test_a_cancellation_beside_the_time_wins() -> None:
    async def wait() -> None:
        with within(0.02):
            try:
                await asyncio.sleep(LONG)
            except asyncio.CancelledError:  # the time has come; now somebody else cancels, too
                asyncio.current_task().cancel()  # type: ignore[union-attr]
                raise

    task = asyncio.create_task(wait())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelling() == 1


async def test_of_two_limits_the_first_to_come_is_raised() -> None:
    with within(LONG) as outer, pytest.raises(TimeoutError), within(0.02) as inner:
        await asyncio.sleep(LONG)
    assert (inner.expired(), outer.expired()) == (True, False)

    with pytest.raises(TimeoutError), within(0.02) as outer, within(LONG) as inner:
        await asyncio.sleep(LONG)
    assert (inner.expired(), outer.expired()) == (False, True)


async def test_each_of_many_in_a_slice_ends_in_its_time() -> None:
    loop = asyncio.get_running_loop()
    begin = float(int(loop.time()) + 1)

    async def wait(when: float) -> float:
        with pytest.raises(TimeoutError), TimeLimit(when):
            await asyncio.sleep(LONG)
        return loop.time() - when

    late = await asyncio.gather(*(wait(begin + n / 100) for n in range(0, 100, 9)))

    assert all(-0.01 <= each < 0.5 for each in late)
    assert left_behind() == 0
