"""The systemd units: walls that must stand in each, and systemd's own word on them where it is here."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from demo.processes import ROOT

UNITS = ROOT / "compose" / "systemd"
ALL = AGENT, COURIER, SUPERLINK, PAGE, HOSPITAL_PAGE = tuple(
    f"fedpath-{name}.service" for name in ("agent", "courier", "superlink", "page", "hospital-page")
)
# As `systemd-analyze security` reckons it (0 is best, 10 worst); by systemd 252 the units stand at 1.2, 1.8, 1.6 and 1.6.
EXPOSURE = 2.0

EACH = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "PrivateTmp": "yes",
    "PrivateIPC": "yes",
    "ProtectProc": "invisible",
    "SystemCallFilter": "@system-service ~@privileged",
    "SystemCallArchitectures": "native",
    "UMask": "0077",
    "KillMode": "mixed",
}
_COORDINATOR = {
    "User": "fedpath-consortium",
    "ProtectSystem": "strict",
    "StateDirectory": "fedpath-consortium",
    "StateDirectoryMode": "0700",
    "PrivateDevices": "yes",
}
OF = {
    AGENT: {
        "User": "fedpath-agent",
        "PrivateNetwork": "yes",
        "ProtectSystem": "strict",
        "ReadOnlyPaths": "-/srv/fedpath",
        "StateDirectory": "fedpath",
        "StateDirectoryMode": "0711",
        "DevicePolicy": "closed",
        "DeviceAllow": "char-nvidia rw char-nvidia-frontend rw char-nvidia-uvm rw char-nvidia-caps rw",
    },
    COURIER: {
        "User": "fedpath-courier",
        "Environment": "FEDPATH_CONTAINED=1",
        "TemporaryFileSystem": "/:ro",
        "BindPaths": "%S/fedpath/courier",
        "PrivateDevices": "yes",
        "SystemCallFilter": "@system-service ~@privileged @resources",
    },
    SUPERLINK: _COORDINATOR,
    PAGE: _COORDINATOR,
    HOSPITAL_PAGE: {
        "User": "fedpath-agent",
        "ProtectSystem": "strict",
        "ReadOnlyPaths": "-/srv/fedpath",
        "StateDirectory": "fedpath",
        "IPAddressDeny": "any",
        "IPAddressAllow": "localhost",
        "PrivateDevices": "yes",
    },
}
# What of the machine the courier sees besides its own folder: the system, the installation, names and certificates.
SEEN = (
    "/usr /opt/fedpath -/bin -/lib -/lib64 -/etc/ssl -/etc/pki -/etc/ca-certificates -/etc/ld.so.cache -/etc/localtime "
    "-/etc/resolv.conf -/etc/hosts -/etc/nsswitch.conf -/etc/passwd -/etc/group %S/fedpath/socket "
    "%S/fedpath/trust/kit.json %S/fedpath/trust/coordinator.pub %S/fedpath/courier/supernode.key"
)


def settings(name: str) -> dict[str, str]:
    """A unit's settings; those that stand several times joined, as systemd joins lists."""
    found: dict[str, str] = {}
    for line in (UNITS / name).read_text("utf-8").splitlines():
        if set_here := re.fullmatch(r"(\w+)=(.*)", line):
            key, value = set_here.groups()
            found[key] = f"{found[key]} {value}" if key in found else value
    return found


@pytest.mark.parametrize("name", ALL)
def test_each_wall_stands(name: str) -> None:
    """Catches a setting that was dropped or loosened."""
    wanted = EACH | OF[name]
    assert {key: value for key, value in settings(name).items() if key in wanted} == wanted


def test_a_courier_in_a_unit_sees_no_more_than_it_is_given() -> None:
    """Catches a path of the hospital's that finds its way into the courier's file system."""
    assert settings(COURIER)["BindReadOnlyPaths"].split() == SEEN.split()


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as they are on a machine that has the commands and the documentation where they say."""
    for name in ALL:
        text = (UNITS / name).read_text("utf-8")
        text = re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text)
        (tmp_path / name).write_text(re.sub(r"(?m)^Documentation=.*\n", "", text))
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    return tmp_path


def test_systemd_knows_every_setting(installed: Path) -> None:
    """Catches a name that systemd passes over with a warning, and with it a wall."""
    units = [str(installed / name) for name in ALL]
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=60)
    said = [line for line in done.stderr.splitlines() if str(installed) in line or "fedpath" in line]
    assert (done.returncode, said) == (0, [])


@pytest.mark.parametrize("name", ALL)
def test_systemd_reckons_no_more_exposure(name: str, installed: Path) -> None:
    """Catches a unit that became easier to break out of, in whatever way systemd knows of."""
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", str(installed / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd judges no unit that is not loaded")
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert level is not None, done.stderr
    assert float(level[1]) <= EXPOSURE, done.stdout
