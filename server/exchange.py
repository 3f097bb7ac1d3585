"""Asking nodes over a Flower grid: push, then take each reply as it comes, until all are there or time is
up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from flwr.app import Message
from flwr.serverapp import Grid

from privacy.codes import Refusal
from server.clock import Clock
from strategies.flower import read_reply

POLL_S = 0.5
AGAIN_S = 3.0
AT_ONCE = 16  # replies in memory


def _never(reply: Message) -> bool:
    return False


def exchange(
    grid: Grid,
    messages: Iterable[Message],
    seconds: float,
    clock: Clock,
    again: Callable[[Message], bool] = _never,
) -> Iterator[Message]:
    """Yield one reply for each message that was answered within `seconds`; those without an answer just lack.

    A reply for which `again` is true ("busy") is not taken: its node is asked anew after a while, and the
    reply is yielded only when time is up. No message outlives the deadline, so no node works on a question
    that is closed.
    """
    end = clock.monotonic() + seconds
    waiting: dict[str, Message] = {}
    later: list[tuple[float, Message, Message]] = []
    for message in messages:
        _push(grid, message, seconds, waiting)
    while (waiting or later) and clock.monotonic() < end:
        for at, message, reply in list(later):
            if at <= clock.monotonic():
                later.remove((at, message, reply))
                _push(grid, message, end - clock.monotonic(), waiting)
        for reply in _pull(grid, tuple(waiting)):
            asked = waiting.pop(reply.metadata.reply_to_message_id, None)
            if asked is None:
                continue
            if again(reply):
                later.append((clock.monotonic() + AGAIN_S, asked, reply))
            else:
                yield reply
        if waiting or later:
            clock.sleep(POLL_S)
    yield from (reply for _, _, reply in later)


def _pull(grid: Grid, waiting: Sequence[str]) -> Iterator[Message]:
    """What is there for these, a few at a time: a thousand hospitals' releases need not be in memory together."""
    for start in range(0, len(waiting), AT_ONCE):
        yield from grid.pull_messages(list(waiting[start : start + AT_ONCE]))


def _push(grid: Grid, message: Message, seconds: float, waiting: dict[str, Message]) -> None:
    """Send one message (a copy: each sending needs an identity of its own). A node that has gone gets
    none."""
    target = message.metadata
    fresh = Message(message.content, target.dst_node_id, target.message_type, ttl=max(seconds, 1.0))
    for name in grid.push_messages([fresh]):
        if name:
            waiting[name] = message


def is_busy(reply: Message) -> bool:
    """Whether the agent was at work on something else, and so is worth asking again soon."""
    codes = [
        read_reply(reply, method).get("code") for method in ("train", "sum", "evaluate", "evaluate_noised")
    ]
    return Refusal.BUSY.encode() in codes


def word(code: bytes) -> str:
    """A hospital's code as a short printable word: it is hostile input."""
    text = code[:40].decode("ascii", "replace")
    return "".join(letter if letter.isalnum() or letter == "-" else "?" for letter in text) or "nothing"
