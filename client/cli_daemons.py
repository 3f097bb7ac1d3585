"""`fedpath-hospital agent` and `courier`: the two processes of a hospital, each in the foreground."""

from __future__ import annotations

import logging
import os
import signal
import threading
from dataclasses import replace
from typing import Annotated

import typer

from client.cli_errors import told_plainly
from client.cli_home import HomeArgument

_LAST_FIGURES_S = 5.0
# For the step under way when the agent is ended, and for each door's last answers: less than units and compose files give.
_STEP_S, _ANSWER_S = 40.0, 5.0


def agent(
    home: HomeArgument,
    gpus: Annotated[int, typer.Option(min=1, help="how many GPUs share each step's patients")] = 1,
) -> None:
    """Run the agent: everything that touches slides, keys and ledger, without a network."""
    from client.network import cut_network

    network = cut_network()  # before any import that starts threads
    os.umask(0o077)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its words about what came in are free words

    from client.errors import ClientError
    from client.events import AgentEnding, AgentReady, AgentStarting, StepOutlasted
    from client.home import home_at
    from privacy.details import keep_details, start_told
    from privacy.errors import PrivacyError
    from privacy.events import Ordinal, tell
    from privacy.supervisor import tell_ready

    with told_plainly():
        place = home_at(home)
        keep_details(place.details())
    tell(AgentStarting(network.cut, Ordinal(gpus)))

    from client.agent import Agent
    from client.metrics import keep_written
    from client.pace import Pace
    from client.rpc import serve
    from client.team import team_of

    ended, lost = threading.Event(), threading.Event()

    def worker_lost() -> None:
        lost.set()
        ended.set()

    if gpus > 1:
        network = replace(network, words=f"{network.words}; a loopback of its own joins its {gpus} processes")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with (
        start_told(ClientError, PrivacyError, OSError),
        place.only_agent(),
        team_of(place, gpus, worker_lost) as team,
    ):
        opened = Agent(place, network, team=team)
        servers = [serve(place.socket, opened.courier_methods, Pace().allows)]
        place.open_socket()
        servers.append(serve(place.status_socket, opened.local_methods))  # last: who sees it finds all ready
        written = keep_written(place, opened.figures, ended)
        tell(AgentReady())
        tell_ready()
        ended.wait()
        if not lost.is_set() and not opened.end(_STEP_S):
            tell(StepOutlasted())
        for server in servers:
            server.stop(grace=_ANSWER_S).wait()
        tell(AgentEnding(lost.is_set()))
        written.join(_LAST_FIGURES_S)
        logging.shutdown()
        os._exit(
            1 if lost.is_set() else 0
        )  # a training under way ends here too, unsent; asked again, it goes on from its last step's checkpoint


def courier(
    home: HomeArgument,
    contained: Annotated[
        bool,
        typer.Option(
            "--contained",
            envvar="FEDPATH_CONTAINED",
            help="a container or a unit confines it: checked, and refused where it does not",
        ),
    ] = False,
) -> None:
    """Run the courier: Flower's SuperNode in a file system of its own."""
    from client import courier as couriers
    from client.events import CourierStarting
    from client.home import couriers_home_at
    from privacy.events import tell

    with told_plainly():
        place = couriers_home_at(home)
        place.kit  # noqa: B018 - says what to do where there is none
        tell(CourierStarting(contained))
        if contained:
            couriers.contained_courier(place)
        couriers.courier(place)
