"""A recorder on the courier's way to the agent: it sits on the socket's path and keeps every byte both ways."""

from __future__ import annotations

import os
import socket
import threading
from dataclasses import dataclass, field

from client.home import Home

_FRAME = 9  # HTTP/2: length (3), type, flags, stream (4)
_DATA, _PADDED = 0, 8
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass
class Tapped:
    """One connection: what the courier sent, and what the agent answered."""

    asked: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)


class Wiretap:
    """Listens where the agent's socket was; the agent's own is moved aside, which its listener does not notice."""

    def __init__(self, home: Home) -> None:
        self.taps: list[Tapped] = []
        self._behind = str(home.socket.with_name("behind.sock"))
        os.rename(home.socket, self._behind)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(home.socket))
        home.open_socket()
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def remove(self, home: Home) -> None:
        """Give the path back to the agent."""
        self._listener.close()
        os.replace(self._behind, home.socket)

    def replies(self) -> list[bytes]:
        """Every gRPC message that the agent sent, in order of its connection."""
        return [message for tap in self.taps for message in messages(bytes(tap.answered))]

    def requests(self) -> list[bytes]:
        """Every gRPC message that the courier sent."""
        return [message for tap in self.taps for message in messages(bytes(tap.asked))]

    def answered(self) -> bytes:
        """All bytes that came out of the agent, framing and all."""
        return b"".join(bytes(tap.answered) for tap in self.taps)

    def _accept(self) -> None:
        while True:
            try:
                courier, _ = self._listener.accept()
            except OSError:
                return
            agent = socket.socket(socket.AF_UNIX)
            agent.connect(self._behind)
            tap = Tapped()
            self.taps.append(tap)
            for source, target, record in ((courier, agent, tap.asked), (agent, courier, tap.answered)):
                threading.Thread(target=_pump, args=(source, target, record), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket, record: bytearray) -> None:
    try:
        while block := source.recv(1 << 16):
            record += block
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


def messages(stream: bytes) -> list[bytes]:
    """The gRPC messages in one direction of an HTTP/2 connection; fails on any frame that it can't read."""
    at = len(_PREFACE) if stream.startswith(_PREFACE) else 0
    bodies: dict[bytes, bytes] = {}
    while at < len(stream):
        length, kind, flags = int.from_bytes(stream[at : at + 3]), stream[at + 3], stream[at + 4]
        number, body = stream[at + 5 : at + 9], stream[at + _FRAME : at + _FRAME + length]
        assert len(body) == length, "a frame is cut off"
        if kind == _DATA:
            assert not flags & _PADDED, "padding could carry anything"
            bodies[number] = bodies.get(number, b"") + body
        at += _FRAME + length
    found = []
    for body in bodies.values():
        at = 0
        while at < len(body):
            assert body[at] == 0, "a compressed message"
            length = int.from_bytes(body[at + 1 : at + 5])
            at += 5 + length
            assert at <= len(body), "a message is cut off"
            found.append(body[at - length : at])
    return found
