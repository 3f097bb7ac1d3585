"""The courier's half of the Flower bundle: it carries bytes between Flower and the agent's socket.

This file is shipped by the coordinator and so trusted with nothing. It sees signed plans, public expert
states and sealed releases; slides, keys and the ledger are not in its file system (`client.confine`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client.rpc import COURIER_METHODS, LIMIT, AgentUnreachableError, call
from privacy import envelope
from privacy.codes import Refusal
from privacy.errors import WireError

Agent = Callable[[str, bytes], bytes]  # method and request -> answer

app = ClientApp()


@app.train()
@app.evaluate()
@app.query()
def carry(message: Message, context: Context) -> Message:
    """Hand each record to the agent's method of the same name, and its answer back under that name."""
    return reply(message, partial(call, Path(str(context.node_config["agent-socket"]))))


def reply(message: Message, agent: Agent) -> Message:
    """What the agent answers to a message's records, each in turn."""
    records = sorted(
        message.content.config_records.items()
    )  # so a new key comes before "describe", a receipt before "train"
    answers = RecordDict({name: _ask(agent, name, record) for name, record in records})
    return Message(answers, reply_to=message)


def _ask(agent: Agent, method: str, record: ConfigRecord) -> ConfigRecord:
    parts = {name: value for name, value in record.items() if isinstance(value, bytes)}
    code = Refusal.BAD_REQUEST
    if method in COURIER_METHODS and len(parts) == len(record):
        try:
            answer = ConfigRecord()
            for name, value in envelope.unpack(agent(method, envelope.pack(parts)), LIMIT).items():
                answer[name] = value
            return answer
        except AgentUnreachableError:
            code = Refusal.UNREACHABLE
        except WireError:
            code = Refusal.BAD_REQUEST
    return ConfigRecord({"code": code.encode()})
