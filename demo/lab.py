"""Hospitals and public patients to experiment with, held open by a process a core (`demo.experiment` says what they do)."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import torch

from client.model.base import Base
from client.model.experts import Experts
from demo import experiment
from demo.arms import Hospital, State, fresh, plan_of, start
from demo.cohort import Cohort, Site, write_cohort
from demo.experiment import Change, Rows
from demo.house import EMBEDDED
from demo.recipe import Recipe, cohorts
from demo.study_runs import ENCODED, encode, experts_of, open_encoded
from privacy.base_folder import folder_hash
from privacy.experts import EXPERTS
from privacy.plan import Plan

PUBLIC = "public"
_K = TypeVar("_K")


@dataclass(frozen=True)
class Place:
    """Where the cohorts of a recipe lie: a folder for each site's hospital, and one of public patients."""

    folder: Path
    recipe: Recipe
    sites: tuple[Site, ...]


class Lab:
    """Draws what is not there yet, reads it once, and keeps it for as many rounds as are asked. Close it at the end.

    All patients are drawn, so nothing here is private; that is why an experiment may see what a consortium never does:
    hospitals' changes under several amounts of noise, and the same round under several rules.
    """

    def __init__(
        self, folder: Path, recipe: Recipe, sites: tuple[Site, ...], workers: int = os.cpu_count() or 1
    ) -> None:
        self._place = Place(folder.absolute(), recipe, sites)
        self._pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
        list(self._pool.map(_draw, cohorts(self._place.folder, recipe, recipe.seed, sites)))
        labels = {site.name: experts_of(site) for site in sites} | {PUBLIC: list(EXPERTS)}
        list(self._pool.map(_encode, [self._place.folder / name for name in labels], labels.values()))
        self._experts = fresh(Base.load(EMBEDDED), recipe)

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes."""
        self._pool.shutdown()

    def start(self) -> State:
        """The public start of every expert, at which they change nothing."""
        return start(self._experts)

    def plan(self, recipe: Recipe, number: int) -> Plan:
        """What the coordinator would send in this round of the recipe: its noise may be another than the lab's own."""
        return plan_of(self._experts, recipe.rounds[number - 1], recipe, number)

    def train(self, state: State, plan: Plan, seed: int) -> list[dict[str, Change]]:
        """What each hospital would send after a round from `state`; other seeds are other draws and other noise."""
        jobs = [
            self._pool.submit(_train, self._place, site, state, plan.to_bytes(), f"{seed}/{plan.round}")
            for site in self._place.sites
        ]
        return [job.result() for job in jobs]

    def scores(self, states: Mapping[_K, State | None]) -> dict[_K, Rows]:
        """What public patients' questions score under each state; None is the base without experts."""
        jobs = {key: self._pool.submit(_score, self._place, state) for key, state in states.items()}
        return {key: job.result() for key, job in jobs.items()}


def _draw(cohort: Cohort) -> None:
    write_cohort(cohort, 1, lambda done, of: None)


def _encode(folder: Path, experts: Sequence[str]) -> None:
    """As `encode`, and anew where another base has encoded what is there."""
    stamp, base = folder / "encoded-by", folder_hash(EMBEDDED)
    if not stamp.exists() or stamp.read_text() != base:
        (folder / ENCODED).unlink(missing_ok=True)
        stamp.write_text(base)
    encode(folder, experts)


def _train(place: Place, site: Site, state: State, plan: bytes, seed: str) -> dict[str, Change]:
    return experiment.train(_experts(place), _hospital(place, site), state, Plan.from_bytes(plan), seed)


def _score(place: Place, state: State | None) -> Rows:
    experts = _experts(place)
    trained = state is not None
    return experiment.ask(experts, state or start(experts), _public(place), scale_experts=trained)


@lru_cache(1)
def _experts(place: Place) -> Experts:
    torch.set_num_threads(1)  # the processes share the cores
    return fresh(Base.load(EMBEDDED), place.recipe)


@lru_cache(None)
def _hospital(place: Place, site: Site) -> Hospital:
    whole = open_encoded(place.folder / site.name, _experts(place).base, experts_of(site))
    return replace(whole, nominal_patients=place.recipe.patients)


@lru_cache(1)
def _public(place: Place) -> Hospital:
    return open_encoded(place.folder / PUBLIC, _experts(place).base, EXPERTS)
