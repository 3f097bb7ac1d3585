"""What a port must bear: bytes of no protocol, beginnings of several, and connections that are left open. Seeded."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
Connect = Callable[[], socket.socket]

# The first bytes of a TLS 1.2 client's hello; the rest never comes.
_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(32)) + b"\x20"


def frame(kind: int, flags: int, stream: int, body: bytes, length: int | None = None) -> bytes:
    """An HTTP/2 frame; `length` is what it claims to hold."""
    size = len(body) if length is None else length
    return struct.pack(">I", size)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body


def payloads(seed: int, count: int) -> Iterator[bytes]:
    """`count` random ones of each kind."""
    draw = random.Random(seed)
    settings = PREFACE + frame(4, 0, 0, b"")
    for _ in range(count):
        yield draw.randbytes(draw.randrange(1, 4000))
        yield _HELLO[: draw.randrange(1, len(_HELLO))]
        yield _HELLO + draw.randbytes(600)
        yield b"\x16\x03\x03\xff\xff" + draw.randbytes(100)
        yield b"GET /" + b"a" * draw.randrange(100_000) + b" HTTP/1.1\r\n\r\n"
        yield b"POST / HTTP/1.1\r\nHost: x\r\n" + b"".join(
            b"X-%d: %s\r\n" % (number, b"a" * 900) for number in range(200)
        )
        yield b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n" + draw.randbytes(
            100
        )
        yield b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"
        yield PREFACE + draw.randbytes(draw.randrange(1, 4000))
        yield settings + frame(
            draw.randrange(256), draw.randrange(256), draw.randrange(1 << 31), draw.randbytes(200)
        )
        yield settings + frame(
            1, 4, 1, b"\x00\x7f\xff\xff\xff\x0f" + b"a" * 4000
        )  # a header that claims gigabytes
        yield settings + frame(0, 1, 1, draw.randbytes(100), length=(1 << 24) - 1)
        yield settings + b"".join(frame(6, 0, 0, draw.randbytes(8)) for _ in range(500))  # pings
        yield settings + b"".join(
            frame(3, 0, number * 2 + 1, draw.randbytes(4)) for number in range(500)
        )  # resets


def pour(connect: Connect, data: bytes, seconds: float = 0.2) -> None:
    """Send it, wait a moment for whatever comes, and hang up."""
    with suppress(OSError), connect() as hostile:
        hostile.settimeout(seconds)
        hostile.sendall(data)
        while hostile.recv(65536):
            pass


@contextmanager
def left_open(connect: Connect, beginnings: Sequence[bytes]) -> Iterator[None]:
    """Connections that have said as much as `beginnings`, and say no more for as long as the block lasts."""
    with ExitStack() as held:
        for data in beginnings:
            hostile = held.enter_context(connect())
            with suppress(OSError):  # it may be shut in our face: then there is one less to bear
                hostile.sendall(data)
        yield
