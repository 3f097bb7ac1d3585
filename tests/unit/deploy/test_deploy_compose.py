"""The compose files keep what SECURITY.md says of them, and the rules that say so find each fault planted in them."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.processes import ROOT
from tests.unit.deploy.compose_rules import schema, wrong

COMPOSE = ROOT / "compose"
GONE = object()


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((COMPOSE / name).read_text("utf-8"))
    return document


@pytest.mark.parametrize("name", ["hospital.yaml", "coordinator.yaml"])
def test_nothing_is_wrong_with_a_stack(name: str) -> None:
    """Catches a key that no engine knows, and any wall that a change takes down."""
    assert wrong(read(name)) == []


def test_the_gpu_file_adds_devices_and_shared_memory_alone() -> None:
    """Catches an override that quietly gives the agent more than its GPUs."""
    document = read("hospital.gpu.yaml")
    assert list(schema().iter_errors(document)) == []
    assert {name: set(body) for name, body in document["services"].items()} == {
        "agent": {"devices", "shm_size"}
    }


def test_the_postgresql_file_adds_a_database_without_a_network_alone() -> None:
    """Catches a database that can be reached from elsewhere, whose password stands in the environment, or that may do more than
    keep its files; and an override that changes anything else of the stack.
    """
    document = read("coordinator.postgresql.yaml")
    assert list(schema().iter_errors(document)) == []
    services = document["services"]
    assert {name: set(body) for name, body in services.items() if name != "database"} == {
        "superlink": {"depends_on", "volumes"},
        "campaign": {"depends_on", "volumes"},
        "page": {"depends_on", "volumes"},
    }
    socket = "${FEDPATH_DATABASE}/socket"
    assert all(
        services[name]["volumes"] == [f"{socket}:{socket}:ro"] for name in ("superlink", "campaign", "page")
    )
    database = services["database"]
    assert (database["network_mode"], database["read_only"], database["cap_drop"]) == ("none", True, ["ALL"])
    assert database["security_opt"] == ["no-new-privileges:true"]
    assert "ports" not in database
    assert "listen_addresses=" in database["command"]
    assert database["user"].split(":")[0] not in ("0", "10001", "10002")
    assert database["pull_policy"] == "never"
    assert [name for name in database["environment"] if "PASSWORD" in name] == ["POSTGRES_PASSWORD_FILE"]
    assert all("size=" in mount for mount in database["tmpfs"])
    assert {"healthcheck", "pids_limit", "mem_limit", "restart", "stop_grace_period"} <= set(database)


def test_the_image_has_the_projects_version() -> None:
    """Catches a release whose stacks go on with the image before it."""
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    images = {
        body["image"]
        for name in ("hospital.yaml", "coordinator.yaml")
        for body in read(name)["services"].values()
    }
    assert images == {f"localhost/fedpath:{version[1]}"}


@pytest.mark.parametrize(
    ("where", "value", "named"),
    [
        ("agent.memlimit", "1g", "memlimit"),
        ("agent.image", "localhost/fedpath:latest", "version as its tag"),
        ("agent.image", "registry.example/fedpath:0.1.0", "our own"),
        ("agent.pull_policy", GONE, "pulled"),
        ("agent.build", ".", "built when it starts"),
        ("agent.user", "0:0", "user"),
        ("agent.user", GONE, "user"),
        ("agent.user", "10002:10002", "the agent's user"),
        ("agent.network_mode", GONE, "has a network"),
        ("agent.network_mode", "bridge", "has a network"),
        ("agent.ports", ["9000:9000"], "publishes ports"),
        ("agent.read_only", False, "can be written"),
        ("agent.cap_drop", ["NET_RAW"], "keeps capabilities"),
        ("agent.cap_add", ["SYS_ADMIN"], "keeps capabilities"),
        ("agent.privileged", True, "privileged"),
        ("agent.pid", "host", "pid"),
        ("agent.ipc", "host", "ipc"),
        ("agent.security_opt", ["no-new-privileges:true", "seccomp:unconfined"], "security options"),
        ("agent.security_opt", GONE, "security options"),
        ("agent.pids_limit", GONE, "pids_limit"),
        ("agent.mem_limit", GONE, "mem_limit"),
        ("agent.restart", GONE, "restart"),
        ("agent.stop_grace_period", GONE, "stop_grace_period"),
        ("agent.tmpfs", ["/tmp"], "bounded"),
        ("agent.tmpfs", GONE, "bounded"),
        ("agent.healthcheck", GONE, "health check"),
        ("agent.healthcheck", {"test": ["CMD-SHELL", "curl localhost"]}, "health check"),
        ("agent.command", "fedpath-hospital agent /home", "as a list"),
        ("agent.entrypoint", ["sh"], "entry point"),
        ("agent.environment", {"PGPASSWORD": "x"}, "secret"),
        ("agent.environment", {"WORDS": "${LEDGER}"}, "secret"),
        ("agent.env_file", "secrets.env", "variables from a file"),
        ("agent.volumes.1", "${FEDPATH_SLIDES}:${FEDPATH_SLIDES}", "read-only"),
        ("agent.volumes.1", "${FEDPATH_SLIDES}:/slides:ro", "another inside"),
        ("agent.volumes.1", "/var/run/docker.sock:/var/run/docker.sock", "path of the machine's"),
        ("courier.volumes.0", "${FEDPATH_HOME}:${FEDPATH_HOME}", "other things"),
        ("courier.volumes.0", "${FEDPATH_HOME}/keys:${FEDPATH_HOME}/keys:ro", "other things"),
        ("courier.volumes.0", "${FEDPATH_HOME}/ledger.db:${FEDPATH_HOME}/ledger.db:ro", "other things"),
        ("courier.volumes.0", "${FEDPATH_SLIDES}:${FEDPATH_SLIDES}:ro", "other things"),
        ("courier.volumes.1", "${FEDPATH_HOME}/socket:${FEDPATH_HOME}/socket", "read-only"),
        (
            "courier.secrets",
            [{"source": "node-key", "target": "${FEDPATH_HOME}/keys/release.key"}],
            "secrets",
        ),
        ("courier.user", "10001:10001", "the courier's user"),
        ("courier.ports", ["9094:9094"], "publishes ports"),
        ("courier.network_mode", "host", "shares a network"),
        ("courier.read_only", GONE, "can be written"),
        ("courier.devices", ["/dev/nvidia0"], "devices"),
        ("superlink.ports", ["9092:9092", "22:22"], "one port"),
        ("superlink.ports.1", "8787:8787", "one port"),
        ("superlink.volumes.1", "${FEDPATH_CAMPAIGNS}:${FEDPATH_CAMPAIGNS}", "campaigns read-only"),
        ("campaign.ports", ["1:1"], "publishes ports"),
        ("page.ports", ["8787:8787"], "publishes ports"),
        ("page.volumes.1", "${FEDPATH_PAGE_TLS}:${FEDPATH_PAGE_TLS}", "read-only"),
        ("page.network_mode", "host", "network of its own"),
        ("page.command", ["fedpath-consortium", "serve", "${FEDPATH_HOME}", "--host=0.0.0.0"], "without TLS"),
        ("database", {"image": "localhost/postgresql:15.0.0"}, "nothing is known"),
    ],
)
def test_each_planted_fault_is_found(where: str, value: object, named: str) -> None:
    """Catches a rule that finds nothing: one row is one way in which a stack was opened."""
    name = "coordinator.yaml" if where.split(".")[0] in ("superlink", "campaign", "page") else "hospital.yaml"
    document = copy.deepcopy(read(name))
    *path, last = where.split(".")
    place: Any = document["services"]
    for step in path:
        place = place[int(step) if step.isdecimal() else step]
    if value is GONE:
        del place[last]
    else:
        place[int(last) if last.isdecimal() else last] = value
    assert any(named in what for what in wrong(document)), wrong(document)


def test_both_stacks_name_every_variable_that_the_docs_do() -> None:
    """Catches a variable that nobody was told of."""
    told = set(re.findall(r"\bFEDPATH_\w+", (ROOT / "docs" / "howto" / "deploy.md").read_text("utf-8")))
    used = {
        name
        for path in COMPOSE.glob("*.yaml")
        for name in re.findall(r"\$\{(FEDPATH_\w+)", Path(path).read_text())
    }
    assert used <= told
