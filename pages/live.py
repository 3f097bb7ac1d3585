"""Server-sent events that say only "changed": what changed is asked for again, by whoever may see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable

from starlette.responses import StreamingResponse

_LOOK_S, _BEAT_S = 1.0, 15.0


def changes(look: Callable[[], Hashable], allowed: Callable[[], bool] = lambda: True) -> StreamingResponse:
    """A stream with an event at its start and whenever `look` answers otherwise than before, and a beat so that proxies keep it
    open. The first event comes once `look` has answered: nothing that changed since the page was drawn goes untold.

    `look` is called about once a second, in a thread: it must be quick and read only. The stream ends when `allowed`
    says no (a session that ended), before anything more is told; the browser then asks again and is turned away.
    """
    return StreamingResponse(
        _events(look, allowed), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


async def _events(look: Callable[[], Hashable], allowed: Callable[[], bool]) -> AsyncIterator[bytes]:
    seen, beat = await asyncio.to_thread(look), 0.0
    yield b"retry: 2000\nevent: changed\ndata: \n\n"
    while await asyncio.to_thread(allowed):
        await asyncio.sleep(_LOOK_S)
        now = await asyncio.to_thread(look)
        beat += _LOOK_S
        if now != seen:
            seen, beat = now, 0.0
            yield b"event: changed\ndata: \n\n"
        elif beat >= _BEAT_S:
            beat = 0.0
            yield b": here\n\n"
