"""`fedpath-hospital`: what hospital IT runs. Its table of contents: each command stands in a file of its kind.

Imports stand inside the commands: the agent must cut its network before anything starts a thread.
"""

from __future__ import annotations

from client.cli_ask import ask
from client.cli_campaigns import approve, campaigns
from client.cli_check import check
from client.cli_curve import curve
from client.cli_daemons import agent, courier
from client.cli_enrolment import init, join, request, rotate_key
from client.cli_evaluate import evaluate
from client.cli_features import features
from client.cli_import import coco, csv, qupath
from client.cli_index import index
from client.cli_initial import initial
from client.cli_ledger import budget, egress, export
from client.cli_page import serve
from client.cli_pair import start, stop
from client.cli_pause import pause, resume
from client.cli_peer import add, list_
from client.cli_policy import set_values, show
from client.cli_selftest import selftest
from client.cli_slide import show as show_slide
from client.cli_upgrade import upgrade
from client.cli_watch import health, metrics, reach, status
from client.cli_withdraw import withdraw
from privacy.command_line import command, group, program

app = program(
    "fedpath-hospital",
    "Run a hospital of a FedPath consortium. HOME is the folder that `init` makes: keys, policy, ledger.",
    {
        "Slides and labels": (
            command(index, "index /data/slides --home HOME", "index HOME"),
            group(
                "import",
                "Write a manifest from what a department has: COCO, QuPath, a table of slide labels.",
                command(
                    coco, "import coco boxes.json --slides HOME --patients patients.csv --out labels.csv"
                ),
                command(
                    qupath, "import qupath regions --slides HOME --patients patients.csv --out labels.csv"
                ),
                command(csv, "import csv table.csv --mapping columns.toml --slides HOME --out labels.csv"),
            ),
            group(
                "slide",
                "Look at one slide as the model will.",
                command(show_slide, "slide show HOME case-7.svs --out look.png", name="show"),
            ),
            command(features, "features HOME"),
        ),
        "Taking part": (
            command(
                init,
                "init HOME --invitation north.json --slides /data/slides --manifest labels.csv --base /data/base",
            ),
            command(join, "join HOME north.kit"),
            command(request, "request HOME north-again.json"),
            command(rotate_key, "rotate-key HOME"),
        ),
        "Is it well": (
            command(check, "check HOME", "check HOME --json"),
            command(selftest, "selftest HOME"),
            command(status, "status HOME"),
            command(serve, "serve HOME"),
            command(health, "health HOME --live"),
            command(reach, "reach HOME"),
            command(metrics, "metrics HOME"),
        ),
        "Running": (
            command(start, "start HOME"),
            command(stop, "stop HOME"),
            command(pause, "pause HOME"),
            command(resume, "resume HOME"),
            command(upgrade, "upgrade HOME"),
            command(agent, "agent HOME", "agent HOME --gpus 2"),
            command(courier, "courier HOME"),
        ),
        "What may be learnt from": (
            group(
                "policy",
                "Read and change what this hospital allows.",
                command(show, "policy show HOME"),
                command(
                    set_values,
                    "policy set HOME epsilon_budget 6",
                    "policy set HOME --unset epsilon_per_day",
                    name="set",
                ),
            ),
            command(campaigns, "campaigns HOME"),
            command(approve, "approve HOME spring", "approve HOME spring --withdraw"),
            command(withdraw, "withdraw HOME < patients.txt"),
            group(
                "peer",
                "The other hospitals that a round under distributed trust may be shared with.",
                command(add, "peer add HOME south south.key.pub"),
                command(list_, "peer list HOME", name="list"),
            ),
        ),
        "What left, and what it cost": (
            command(budget, "budget HOME"),
            command(egress, "egress HOME"),
            command(export, "export HOME north.export"),
        ),
        "For your own eyes": (
            command(evaluate, "evaluate HOME", "evaluate HOME --experts FOLDER --mode direct"),
            command(ask, 'ask HOME case-7.svs "Which tissue is this?" --region 4000,2000,512,512'),
            command(curve, "curve HOME --out curve.svg"),
        ),
        "Before a campaign": (command(initial, "initial /data/base", "initial /data/base summer.toml"),),
    },
)
