"""The one door between courier and agent: gRPC over a Unix socket, bytes in and bytes out.

Every payload is a `privacy.envelope`. There is no generated code and no schema beyond names: the agent
treats what comes in as hostile, and its egress guard decides what goes out. The courier's socket serves
`COURIER_METHODS` only; `status` lives on a second socket that the courier can't reach.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

SERVICE = "fedpath.Agent"
COURIER_METHODS = ("coordinator", "describe", "train", "sum", "evaluate", "evaluate_noised", "receipt")
LIMIT = 256 * 1024 * 1024  # bytes a message, either way
_AT_WORK, _WAITING = 4, 4  # calls at once, each of which may hold a message; any more are turned away

_OPTIONS = (("grpc.max_receive_message_length", LIMIT), ("grpc.max_send_message_length", LIMIT))
_NARROW = ("grpc.http2.bdp_probe", 0)  # else every connection's window grows with what is poured into it
_LONGEST = 100  # a Unix socket's path may have 107 bytes

Handler = Callable[[bytes], bytes]


class AgentUnreachableError(Exception):
    """No agent answered on the socket, or it went away while it worked."""


def serve(
    socket: Path, handlers: Mapping[str, Handler], allows: Callable[[], bool] = lambda: True
) -> grpc.Server:
    """Serve `handlers` on `socket`, replacing a dead server's file. The caller stops the server it gets.

    However many ask at once, no more than eight messages are held: a flood costs memory of a known size. What is asked
    while nothing `allows` it never comes to a handler. A handler that raises ends its call with the bare word "internal":
    no text of an exception crosses.
    """
    socket.unlink(missing_ok=True)
    server = grpc.server(
        ThreadPoolExecutor(_AT_WORK, thread_name_prefix=socket.stem),
        options=(*_OPTIONS, _NARROW),
        maximum_concurrent_rpcs=_AT_WORK + _WAITING,
    )
    calls = {
        name: grpc.unary_unary_rpc_method_handler(_guarded(handler, allows))
        for name, handler in handlers.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, calls),))
    if server.add_insecure_port(_address(socket)) == 0:
        raise OSError(f"{socket}: can't listen there: check that the folder exists and belongs to this user")
    server.start()
    return server


def call(socket: Path, method: str, request: bytes, timeout: float | None = None) -> bytes:
    """Ask the agent. Blocks while it works; raises `AgentUnreachableError` where no answer came."""
    with grpc.insecure_channel(_address(socket), options=_OPTIONS) as channel:
        try:
            reply: bytes = channel.unary_unary(f"/{SERVICE}/{method}")(request, timeout=timeout)
        except grpc.RpcError as error:
            raise AgentUnreachableError(f"{socket}: {error.code().name.lower()}") from None
    return reply


def listens(socket: Path, timeout: float) -> bool:
    """Whether an agent accepts connections on `socket`. Nothing is asked of it, so its log has no entry of that."""
    with grpc.insecure_channel(_address(socket)) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout)
        except grpc.FutureTimeoutError:
            return False
    return True


def _guarded(handler: Handler, allows: Callable[[], bool]) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        if not allows():
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too often")
        try:
            return handler(request)
        except Exception:
            context.abort(grpc.StatusCode.INTERNAL, "internal")
            raise  # abort raises already

    return answer


def _address(socket: Path) -> str:
    """gRPC's name for `socket`; a long path is reached through an open folder, kept open with the process."""
    if len(os.fsencode(socket)) <= _LONGEST:
        return f"unix:{socket}"
    folder = os.open(socket.parent, os.O_PATH)
    return f"unix:/proc/self/fd/{folder}/{socket.name}"
