"""The bundle that the coordinator ships: what is in it, and that the courier's half runs from it alone."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from flwr.cli.build import build_fab_from_disk

from demo.processes import ROOT


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, unpacked as Flower unpacks it."""
    folder = tmp_path_factory.mktemp("bundle")
    zipfile.ZipFile(io.BytesIO(build_fab_from_disk(ROOT))).extractall(folder)
    return folder


def test_holds_the_coordinators_code_and_the_courier_and_no_more(bundle: Path) -> None:
    """Catches training code, data or a model that would travel, and a module that the courier lacks."""
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert {file for file in files if file.startswith("client/")} == {
        "client/__init__.py",
        "client/app.py",
        "client/rpc.py",
    }
    assert {file.split("/")[0] for file in files} <= {
        "client",
        "server",
        "strategies",
        "privacy",
        "pyproject.toml",
        ".info",
        "LICENSE",
    }
    assert sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file()) < 1_000_000


@pytest.mark.parametrize("component", ["client.app", "server.app"])
def test_each_component_loads_from_the_bundle_alone(bundle: Path, component: str) -> None:
    """Catches an import of something that is not bundled: it would fail at the hospital, in the first round."""
    code = (
        "import sys; sys.path = [p for p in sys.path if 'site-packages' in p or 'lib' in p]; "
        f"sys.path.insert(0, {str(bundle)!r}); import importlib; m = importlib.import_module({component!r}); "
        "print(m.__file__, m.app, [n for n in ('torch', 'client.agent') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, cwd=bundle)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(bundle))
    assert done.stdout.rstrip().endswith("[]")
