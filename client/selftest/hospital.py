"""A made-up hospital: a real home with a real agent, in a folder that is thrown away."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.agent import Agent
from client.home import Home, Settings, create
from client.network import Network
from client.rpc import LIMIT
from client.selftest.patients import ordinary, write_manifest, write_slides
from client.selftest.plans import SAMPLES
from privacy import durable, envelope, keys
from privacy.egress import CODE
from privacy.egress_record import RELEASE
from privacy.errors import PrivacyError
from privacy.plan import Plan
from privacy.release import Expectation, check

NAME = "selftest"
_POLICY = """\
hospital = "selftest"
epsilon_budget = 1000.0
delta = {delta!r}
nominal_patients = {nominal_patients}
minimum_noise_multiplier = 0.5
maximum_sampling_rate = 1.0
maximum_steps = 10
maximum_samples_per_patient = {samples}
tasks = ["classification", "detection", "segmentation", "vqa"]
scales = ["roi", "wsi"]
campaigns = ["selftest"]
"""


class NoAnswerError(PrivacyError):
    """The agent did not answer a plan of the self-test with releases; the message holds its code."""


@dataclass(frozen=True)
class Hospital:
    """One patient, a policy that allows the self-test's plans, and a coordinator whose key is at hand."""

    home: Home
    coordinator: keys.PrivateKey
    states: Mapping[str, bytes]  # of every expert, as they start

    def open_agent(self) -> Agent:
        """The hospital's own agent, with its own source of randomness; each call is a new start."""
        return Agent(self.home, Network(False, "not cut off: self-test"))

    def ask(self, agent: Agent, plan: Plan) -> dict[str, bytes]:
        """What the agent lets out for a plan: sealed releases by expert.  Raises `NoAnswerError`."""
        parts = {"plan": plan.to_bytes(), "signature": plan.sign(self.coordinator)}
        parts |= {f"expert/{name}": self.states[name] for name in plan.experts_hash}
        reply = envelope.unpack(agent.courier_methods["train"](envelope.pack(parts)), LIMIT)
        releases = {
            name.removeprefix(RELEASE): data for name, data in reply.items() if name.startswith(RELEASE)
        }
        if set(releases) != set(plan.experts):
            code = reply.get(CODE, b"other experts than were asked for").decode()
            raise NoAnswerError(f"the agent answered {plan.stage} round {plan.round} with {code}")
        return releases

    def read(
        self,
        plan: Plan,
        releases: Mapping[str, bytes],
        shapes: Mapping[str, Mapping[str, tuple[int, ...]]],
    ) -> dict[str, NDArray[np.float32]]:
        """Released tensors as "expert::tensor", checked as the consortium checks them (`ReleaseRefused`)."""
        key = keys.load(self.home.release_key).public
        expected = Expectation(plan, {NAME: key}, shapes, LIMIT, math.inf)
        return {
            f"{expert}::{name}": value
            for expert, data in releases.items()
            for name, value in check(data, expected).tensors.items()
        }


def make(
    folder: Path, base: Path, nominal_patients: int, states: Mapping[str, bytes], vllm: Path | None = None
) -> Hospital:
    """Make the hospital in an empty `folder`; `vllm` samples its rollouts, where there is one."""
    samples = ordinary("patient")
    write_slides(folder / "slides", samples)
    write_manifest(folder / "manifest.csv", samples)
    settings = Settings(NAME, folder / "slides", folder / "manifest.csv", base.absolute(), vllm=vllm)
    home = create(folder / "home", settings)
    policy = _POLICY.format(delta=0.1 / nominal_patients, nominal_patients=nominal_patients, samples=SAMPLES)
    (home.folder / "policy.toml").write_text(policy, "utf-8")
    coordinator = keys.generate(folder / "coordinator.key")
    durable.replace(home.trust / "coordinator.pub", coordinator.public.to_pem())  # no network: no kit
    return Hospital(home, coordinator, states)
