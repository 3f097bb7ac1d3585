"""What the agent says of its network where it may make no namespace: a container's or a unit's own cut, or none."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

# In a user namespace of its own, with no further namespaces allowed in it: as a container forbids them.
_FORBID = "echo 0 > /proc/sys/user/max_user_namespaces; echo 0 > /proc/sys/user/max_net_namespaces"
_SAY = "from client.network import cut_network; done = cut_network(); print(done.cut, done.words)"


def _said(before: str, *namespaces: str, say: str = _SAY) -> str:
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("unshare (util-linux) and ip (iproute2) are needed")
    inside = ["unshare", "--user", "--map-root-user", *namespaces, "sh", "-ec"]
    script = f'{before}; {_FORBID}; exec "$0" -c "{say}"'
    done = subprocess.run(
        [*inside, script, sys.executable], capture_output=True, text=True, timeout=120, check=False
    )
    if "unshare" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "before",
    ["true", "ip link set lo up", "ip link set lo up; ip link add one type veth peer name two"],
    ids=["loopback down", "loopback up", "interfaces that are down"],
)
def test_an_agent_in_a_container_without_a_network_says_so(before: str) -> None:
    """Catches an alarm ("NOT cut off") under `network_mode: none` and `PrivateNetwork=yes`, where nothing is amiss."""
    said = _said(before, "--net")
    assert said == "True none: started in a network namespace without interfaces, a loopback excepted"


def test_a_container_with_a_network_is_not_taken_for_one_without() -> None:
    """Catches an agent that calls itself cut off in a container that someone gave a network."""
    said = _said("ip link add one type veth peer name two; ip link set one up; ip link set two up", "--net")
    assert said.startswith("False NOT cut off")
    assert "network_mode: none" in said


def test_the_machines_own_network_is_never_called_none() -> None:
    """Catches a claim that hangs on which interfaces happen to be there: on a machine of its own they come and go."""
    assert _said("true").startswith("False NOT cut off")
    bare = (
        f"import client.network as n; n._OF_THE_MACHINE = 'somaxconn'; {_SAY}"  # as if it were the machine's
    )
    assert _said("true", "--net", say=bare).startswith("False NOT cut off")
