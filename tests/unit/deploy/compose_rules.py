"""What must hold of the compose files, as rules over the parsed file: each gives what is wrong, in words."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import distribution
from typing import Any

from jsonschema import Draft202012Validator

from client.walls import MOUNTED

Body = Mapping[str, Any]
HOME = "${FEDPATH_HOME}"

_SUPERLINK_PORT = "${FEDPATH_PORT:-9092}:${FEDPATH_PORT:-9092}"
_SECRET = re.compile(r"secret|password|passwd|token|private|credential|_key\b|key_", re.IGNORECASE)
_SCHEMA = "check_jsonschema/builtin_schemas/vendor/compose-spec.json"


def schema() -> Draft202012Validator:
    """The Compose specification's own JSON schema, which knows every key."""
    path = distribution("check-jsonschema").locate_file(_SCHEMA)
    with open(str(path), encoding="utf-8") as file:
        return Draft202012Validator(json.load(file))


def wrong(document: Mapping[str, Any]) -> list[str]:
    """All that is wrong with a compose file; [] for a good one."""
    found = [f"not in the specification: {error.message}" for error in schema().iter_errors(document)]
    services: dict[str, Body] = document["services"]
    for name, body in services.items():
        found += [f"{name}: {what}" for rule in _EACH for what in rule(body)]
        found += [f"{name}: {what}" for what in _OF.get(name, _unknown)(body)]
    if odd := [name for name, body in services.items() if name != "superlink" and "ports" in body]:
        found.append(f"{odd}: publishes ports")
    return found


def mounts(body: Body) -> dict[str, bool]:
    """The paths that a service mounts, and whether each is read-only; defaults and messages of variables left out."""
    found = {}
    for volume in body.get("volumes", []):
        plain = re.sub(r"\$\{(\w+)[^}]*\}", r"${\1}", volume)
        source, target, *mode = re.split(r":(?=[$/r])", plain)
        if source != target:
            found[f"{source} as {target}"] = False
        found[source] = mode == ["ro"]
    return found


def _image(body: Body) -> Iterator[str]:
    name, _, tag = str(body.get("image", "")).rpartition(":")
    if not name.startswith("localhost/") or not re.fullmatch(r"\d+\.\d+\.\d+", tag):
        yield "its image is not our own with a version as its tag"
    if body.get("pull_policy") != "never":
        yield "its image may be pulled"
    if "build" in body:
        yield "its image is built when it starts"


def _user(body: Body) -> Iterator[str]:
    if not re.fullmatch(r"1000[12]:1000[12]", str(body.get("user"))):
        yield "its user is not one of the image's two"


def _rights(body: Body) -> Iterator[str]:
    if body.get("read_only") is not True:
        yield "its root file system can be written"
    if body.get("cap_drop") != ["ALL"] or "cap_add" in body:
        yield "it keeps capabilities"
    if body.get("security_opt") != ["no-new-privileges:true"]:
        yield "its security options are not exactly no-new-privileges"
    if odd := {"privileged", "pid", "ipc", "userns_mode", "cgroup", "uts", "devices", "group_add"} & set(
        body
    ):
        yield f"it shares or gains {sorted(odd)}"


def _limits(body: Body) -> Iterator[str]:
    for key in ("pids_limit", "mem_limit", "restart", "stop_grace_period"):
        if key not in body:
            yield f"it has no {key}"


def _temporary(body: Body) -> Iterator[str]:
    for words in body.get("tmpfs", [""]):
        if not re.match(r"/tmp:size=\d+[mg],.*nosuid,nodev", words):
            yield "its temporary folder is not a bounded /tmp"


def _health(body: Body) -> Iterator[str]:
    kind, program, *_ = [*body.get("healthcheck", {}).get("test", []), "", ""]
    if kind != "CMD" or not program.startswith("fedpath-"):
        yield "its health check is no command of ours"


def _command(body: Body) -> Iterator[str]:
    if not isinstance(body.get("command"), list) or not str(body["command"][0]).startswith("fedpath-"):
        yield "its command is no command of ours as a list"
    if "entrypoint" in body:
        yield "it has an entry point of its own"


def _environment(body: Body) -> Iterator[str]:
    if "env_file" in body:
        yield "it takes variables from a file that nobody checks"
    for key, value in dict(body.get("environment", {})).items():
        if _SECRET.search(key) or "PRIVATE" in str(value) or "$" in str(value):
            yield f"its environment may hold a secret: {key}"


def _own_paths(body: Body) -> Iterator[str]:
    for path in mounts(body):
        if " as " in path:
            yield f"a path is another inside: {path}"
        elif not path.startswith("${FEDPATH_"):
            yield f"it mounts a path of the machine's: {path}"


def _agent(body: Body) -> Iterator[str]:
    if body.get("network_mode") != "none" or "networks" in body:
        yield "it has a network"
    if mounts(body) != {
        HOME: False,
        "${FEDPATH_SLIDES}": True,
        "${FEDPATH_LABELS}": True,
        "${FEDPATH_BASE}": True,
    }:
        yield "it mounts other things than its home, and slides, labels and base read-only"
    if body.get("user") != "10001:10001":
        yield "it is not the agent's user"


def _courier(body: Body) -> Iterator[str]:
    read_only = dict.fromkeys((f"{HOME}/{name}" for name in sorted(MOUNTED - {"courier"})), True)
    if mounts(body) != {f"{HOME}/courier": False, **read_only}:
        yield "it mounts other things than its folder, and the socket, the kit and its signer read-only"
    secrets = [{"source": "node-key", "target": f"{HOME}/courier/supernode.key"}]
    if body.get("secrets") != secrets or "configs" in body:
        yield "it holds other secrets than its node key"
    if body.get("user") != "10002:10002":
        yield "it is not the courier's user"
    if {"network_mode", "networks"} & set(body):
        yield "it shares a network"


def _superlink(body: Body) -> Iterator[str]:
    page = "${FEDPATH_PAGE_ADDRESS:-127.0.0.1}:${FEDPATH_PAGE_PORT:-8787}:8787"  # nothing listens there but the page
    if [port for port in body.get("ports", []) if port != page] != [_SUPERLINK_PORT]:
        yield "it publishes not exactly its one port, and the page's on this machine"
    yield from _coordinator(body)


def _page(body: Body) -> Iterator[str]:
    if mounts(body) != {HOME: False, "${FEDPATH_PAGE_TLS}": True}:
        yield "it mounts other things than its home, and its certificate read-only"
    if body.get("network_mode") != "service:superlink" or "networks" in body:
        yield "it has a network of its own"
    options = dict(str(word).partition("=")[::2] for word in body["command"])
    if not options.get("--tls-certificate") or not options.get("--tls-key"):
        yield "it is served without TLS"


def _coordinator(body: Body) -> Iterator[str]:
    if mounts(body) != {HOME: False, "${FEDPATH_CAMPAIGNS}": True}:
        yield "it mounts other things than its home, and the campaigns read-only"


def _unknown(body: Body) -> Iterator[str]:
    yield "nothing is known of such a service"


_EACH: tuple[Callable[[Body], Iterator[str]], ...] = (
    _image,
    _user,
    _rights,
    _limits,
    _temporary,
    _health,
    _command,
    _environment,
    _own_paths,
)
_OF: dict[str, Callable[[Body], Iterator[str]]] = {
    "agent": _agent,
    "courier": _courier,
    "superlink": _superlink,
    "campaign": _coordinator,
    "page": _page,
}
