"""A hospital that has vLLM says so in hospital.toml."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.check import findings
from client.cli import app
from client.model.base import Base
from client.model.experts import attach
from client.rpc import call
from client.sampler import own_share, vllm_of
from privacy import envelope, tensors
from privacy.experts import EXPERTS, same_form
from privacy.mechanism import Mechanism
from tests import process_tree
from tests.documented import claim
from tests.tiny_families import qwen3
from tests.unit.client.conftest import House, house_maker
from tests.unit.client.test_client_team import running
from tests.vllm_python import vllm_python

MakeHouse = Callable[..., House]
COMMANDS = claim("docs/howto/vllm.md", "fedpath-hospital")


def with_vllm(place: House, python: Path) -> House:
    settings = place.home.folder / "hospital.toml"
    settings.write_text(settings.read_text() + f'vllm = "{python}"\n')
    return place


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose heads are as wide as vLLM's kernels for CPUs have them."""
    folder = tmp_path_factory.mktemp("base")
    qwen3(folder, heads=1, kv_heads=1)
    return folder


def test_check_tells_what_is_no_vllm(house: MakeHouse) -> None:
    """Catches a hospital that learns from its first rollouts that the line can't serve."""
    place = house()
    assert not any(finding.code == "vllm" for finding in findings(place.home).problems)
    with_vllm(place, Path(sys.executable))
    (found,) = [finding for finding in findings(place.home).problems if finding.code == "vllm"]
    assert "no Python that has vLLM" in found.what
    assert "docs/howto/vllm.md" in found.advice


def test_vllm_has_a_part_of_what_the_policy_gives(house: MakeHouse) -> None:
    """Catches agent and vLLM that together take more of a GPU than the hospital gives."""
    place = house()
    assert vllm_of(place.home, 0, lambda: None) is None
    assert [own_share(place.home, share, True) for share in (None, 0.5)] == [None, 0.5]
    with_vllm(place, Path(sys.executable))
    sampler = vllm_of(place.home, 0, lambda: 0.5)
    assert sampler is not None
    base = Base.load(place.home.settings.base)
    theirs = sampler._wanted(attach(base, same_form(EXPERTS, 2, 4.0), 3), 8).share
    ours = own_share(place.home, 0.5, True)
    assert ours == pytest.approx(0.5 - theirs)
    assert 0 < theirs < ours


def furnished(wide: Path, data: Path, folder: Path) -> House:
    """A joined home that has vLLM."""
    base = Base.load(wide)
    experts = attach(base, same_form(EXPERTS, 2, 4.0), 3)
    states = {name: tensors.encode(experts.initial(name)) for name in EXPERTS}
    return with_vllm(house_maker(folder, wide, data, (base.hash, states))(), vllm_python())


@pytest.mark.nightly
def test_an_agent_without_a_network_has_vllm_sample(wide: Path, data: Path, tmp_path: Path) -> None:
    """Catches a vLLM that can't come up behind the agent's walls, that stays when there are no rollouts to sample or the
    agent is gone, and a log among what the courier may see.
    """
    place = furnished(wide, data, tmp_path)
    named = ("scale/roi", "scale/wsi", "task/classification", "task/vqa")
    trained = named[2:]
    mechanism = Mechanism(1.0, 1.0, 0.8, 2, 4)
    rollouts = place.plan(
        stage="grpo",
        experts=trained,
        mechanism=mechanism,
        experts_hash={name: tensors.digest(place.states[name]) for name in named},
        forms=same_form(named, 2, 4.0),
        rollouts=2,
        kl_beta=0.0,
        max_answer_tokens=8,
    )
    with running(place, 1) as process:
        assert not process_tree.running(process.pid, "vllm_serve.py")
        reply = envelope.unpack(
            call(place.home.socket, "train", envelope.pack(place.request(rollouts)), timeout=300), 1 << 28
        )
        assert set(reply) == {f"release/{name}" for name in trained}, details(place)
        (engine,) = process_tree.running(process.pid, "vllm_serve.py")
        call(place.home.socket, "train", envelope.pack(place.request(place.plan(2))), timeout=120)
        assert not process_tree.running(process.pid, "vllm_serve.py")
        call(
            place.home.socket,
            "train",
            envelope.pack(place.request(replace(rollouts, round=3))),
            timeout=300,
        )
        (engine,) = process_tree.running(process.pid, "vllm_serve.py")
    engine.wait(timeout=60)
    assert place.home.vllm().stat().st_mode & 0o777 == 0o700


def details(place: House) -> str:
    return "".join(
        path.read_text()[-3000:]
        for path in (place.home.details(), place.home.vllm() / "vllm.log")
        if path.exists()
    )


@pytest.mark.nightly
def test_check_and_selftest_pass_as_the_page_has_them(
    wide: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a sampler by which one patient moves what others contribute: the self-test measures it as the agent runs. And
    a page that says otherwise.
    """
    place = furnished(wide, data, tmp_path)
    (tmp_path / "north").symlink_to(place.home.folder)
    monkeypatch.chdir(tmp_path)
    said = {}
    for command in COMMANDS:
        result = CliRunner().invoke(app, command.arguments)
        assert result.exit_code == 0, result.output
        said[command.arguments[0]] = result.output
    assert "vLLM 0.32" in said["check"]
    assert "passed" in said["selftest"]
