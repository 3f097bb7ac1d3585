"""`fedpath-consortium`: what the coordinator runs. Its table of contents: each command stands in a file of its kind."""

from __future__ import annotations

from privacy.command_line import command, group, program
from server.cli_campaign import evaluate, run, simulate
from server.cli_enrolment import approve, enroll, renew, revoke, rotate
from server.cli_experts import experts
from server.cli_journal import export, prune
from server.cli_steer import pause, resume, stop
from server.cli_superlink import init, reach, start
from server.cli_track import track
from server.cli_watch import metrics, status
from server.page.cli import add, list_users, remove, serve, set_password, set_role

app = program(
    "fedpath-consortium",
    "Coordinate a FedPath consortium. HOME is the folder that `init` makes: certificates, keys, the store.",
    {
        "The consortium": (
            command(init, "init HOME --host fedpath.example.org --name spring"),
            command(start, "start HOME", "start HOME --metrics-port 9464"),
            command(reach, "reach HOME"),
            command(status, "status HOME"),
            command(metrics, "metrics HOME"),
        ),
        "Hospitals": (
            command(enroll, "enroll HOME north", "enroll HOME judge --evaluator"),
            command(approve, "approve HOME request.json"),
            command(revoke, 'revoke HOME north --reason "left the consortium"'),
            command(renew, "renew HOME", "renew HOME --ca"),
            command(rotate, "rotate HOME"),
        ),
        "Campaigns": (
            command(run, "run HOME campaign.toml"),
            command(pause, "pause HOME spring"),
            command(resume, "resume HOME spring"),
            command(stop, "stop HOME spring"),
            command(simulate, "simulate HOME campaign.toml north south --workers 2"),
        ),
        "What came of it": (
            command(evaluate, "evaluate HOME campaign.toml", "evaluate HOME campaign.toml --point base"),
            command(
                experts,
                "experts HOME campaign.toml --list",
                "experts HOME campaign.toml FOLDER",
                "experts HOME campaign.toml --peft FOLDER --base /data/base",
                "experts HOME campaign.toml --card README.md --license apache-2.0",
            ),
            command(track, "track HOME spring --tensorboard runs"),
        ),
        "For auditors": (
            command(export, "export HOME journal.export", "export HOME journal.export --releases releases"),
            command(prune, "prune HOME spring --last 10"),
        ),
        "The page": (
            command(serve, "serve HOME"),
            group(
                "users",
                "Who may look at the page, and as what.",
                command(add, "users add HOME cora --role coordinator"),
                command(list_users, "users list HOME", name="list"),
                command(set_role, "users role HOME cora --role auditor", name="role"),
                command(set_password, "users password HOME cora", name="password"),
                command(remove, "users remove HOME cora"),
            ),
        ),
    },
)
