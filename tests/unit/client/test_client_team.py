"""`fedpath-hospital agent --gpus 2`, as it runs: two processes, one release, and no way to hang."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from client.data import open_data
from client.model.base import Base
from client.model.slide_features import SlideFeatures
from client.rpc import AgentUnreachableError, call
from client.tasks.sample import Sample
from client.training.distributed import rank_of
from privacy import envelope
from privacy.mechanism import Mechanism
from tests.unit.client.conftest import House

MakeHouse = Callable[..., House]


@contextmanager
def running(place: House, gpus: int) -> Iterator[subprocess.Popen[bytes]]:
    code = "from client.cli import app; app()"
    command = [sys.executable, "-c", code, "agent", str(place.home.folder), "--gpus", str(gpus)]
    with (place.home.folder / "agent.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        deadline = time.monotonic() + 120
        while not _ready(place):
            assert process.poll() is None, (place.home.folder / "agent.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


def _ready(place: House) -> bool:
    try:
        call(place.home.status_socket, "status", b"", timeout=5)
    except AgentUnreachableError:
        return False
    return True


def _workers(agent: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(agent.pid).children()
        if "client.worker" in " ".join(child.cmdline())
    ]


def test_two_processes_answer_a_plan_and_end_together(house: MakeHouse) -> None:
    """Catches workers that never meet without a network, that outlive their agent, or an agent that hangs on a dead
    worker.
    """
    place = house()
    everyone = place.plan(mechanism=Mechanism(1.0, 1.0, 0.8, 2, 4))
    with running(place, 2) as agent:
        (worker,) = _workers(agent)
        reply = envelope.unpack(
            call(place.home.socket, "train", envelope.pack(place.request(everyone)), timeout=120), 1 << 28
        )
        assert set(reply) == {"release/scale/roi", "release/scale/wsi"}, _log(place)
        assert place.ledger().summary().spent == 1
        agent.send_signal(signal.SIGTERM)
        agent.wait(timeout=30)
        worker.wait(timeout=30)
    with running(place, 2) as agent:
        _workers(agent)[0].kill()
        assert agent.wait(timeout=30) == 1, "who supervises it must see that it has to be started again"


def test_a_worker_reads_the_slides_as_the_agent_has_them_now(
    house: MakeHouse, data: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """Catches a worker that goes by the slides of its start: a slide put there since would void every round that its patient
    is drawn in, and a changed mpp.csv have patients read at two scales, by whose worker has them.
    """
    slides, manifest = tmp_path / "slides", tmp_path / "manifest.csv"
    shutil.copytree(data / "slides", slides)
    with (data / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    own = {patient: f"p{number}" for number, patient in enumerate(sorted({row["patient"] for row in rows}))}
    assert {rank_of(patient, 2) for patient in own.values()} == {0, 1}
    rows = [{**row, "patient": own[row["patient"]]} for row in rows]
    late = next(row["slide"] for row in rows if rank_of(row["patient"], 2) == 1)

    def write(asked: Iterable[dict[str, str]]) -> None:
        with manifest.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(asked)

    place = house(slides=slides)
    settings = place.home.folder / "hospital.toml"
    settings.write_text(settings.read_text().replace(str(place.home.settings.manifest), str(manifest)))
    policy = place.home.policy_file
    policy.write_text(policy.read_text().replace("sampling_rate = 0.8", "sampling_rate = 1.0"))
    (slides / late).rename(tmp_path / "late.svs")
    write(row for row in rows if row["slide"] != late)
    with running(place, 2):
        (tmp_path / "late.svs").rename(slides / late)
        write(rows)
        (tmp_path / "mpp.csv").write_text("slide,mpp\n./,0.55\n")
        policy.write_text(policy.read_text() + "skip_bad_rows = true\n")
        request = place.request(place.plan(mechanism=Mechanism(1.0, 1.0, 1.0, 1, 4)))
        reply = envelope.unpack(
            call(place.home.socket, "train", envelope.pack(request), timeout=120), 1 << 28
        )
    assert set(reply) == {"release/scale/roi", "release/scale/wsi"}, _log(place)
    now, features = open_data(place.home), SlideFeatures(Base.load(tiny_base), place.home.features)
    assert {slide.mpp for slide in now.index.slides.values()} == {0.55}

    def was_read(sample: Sample) -> bool:
        slide = now.index.slides[sample.slide]
        return features.has(slide) if sample.region is None else features.has_region(slide, sample.region)

    seen = {sample.patient for sample in now.manifest.samples if was_read(sample)}
    assert seen == set(own.values()), "all were drawn, and read at the scale of now"


def _log(place: House) -> str:
    return Path(place.home.folder / "agent.log").read_text()
