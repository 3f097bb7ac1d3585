"""The coordinator's key is rotated: whom a hospital follows, and whom not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from client.enrolment import join
from client.errors import HomeError
from client.home import Home, Settings, create
from client.succession import follow
from privacy import keys, succession
from privacy.errors import EnrolmentFileError, PrivacyError, SignatureInvalid
from privacy.handover import Handover
from privacy.keys import PrivateKey, Purpose
from privacy.ledger.store import Ledger
from tests.enrolment_cases import enrol_alone, kit
from tests.unit.client.conftest import House, ask

MakeHouse = Callable[..., House]


@dataclass
class Following:
    """A joined home, and the coordinator's keys in their order."""

    home: Home
    folder: Path
    keys: list[PrivateKey]
    handovers: list[Handover] = field(default_factory=list)

    def rotate(self, purpose: Purpose = Purpose.SUCCESSION, name: str = "rhine") -> PrivateKey:
        self.keys.append(keys.generate(self.folder / f"c{len(self.keys)}.key"))
        self.handovers.append(Handover.make(name, self.keys[-2], self.keys[-1].public, purpose))
        return self.keys[-1]

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.home.ledger, keys.load(self.home.release_key))

    def follow(self, handovers: list[Handover] | None = None) -> keys.PublicKey:
        return follow(self.home, self.ledger, succession.to_bytes(handovers or self.handovers))

    def recorded(self) -> list[str]:
        return [entry.body["new"] for entry in self.ledger.entries() if entry.kind == "succession"]

    def kit(self, signer: PrivateKey, later: float = 1.0) -> Path:
        path = self.folder / "next-kit.json"
        issued = datetime.now(UTC) + timedelta(seconds=later)
        made = kit("north", keys.load(self.home.release_key).public, issued=issued)
        path.write_bytes(made.seal(signer, self.handovers))
        return path


@pytest.fixture
def place(tmp_path: Path) -> Following:
    home = create(tmp_path / "home", Settings("north", tmp_path, tmp_path / "m.csv", tmp_path))
    first = keys.generate(tmp_path / "coordinator.key")
    enrol_alone(home, first, tmp_path / "kit.json")
    return Following(home, tmp_path, [first])


@pytest.mark.parametrize("times", [1, 3])
def test_a_hospital_follows_its_coordinator_and_writes_it_down(place: Following, times: int) -> None:
    """Catches a hospital that is lost by a rotation, or by one that it did not hear of; a step that its ledger lacks; and
    a home that forgets it.
    """
    for _ in range(times):
        place.rotate()
    for _ in range(2):  # told again at every run
        assert place.follow() == place.keys[-1].public
    assert Home(place.home.folder).coordinator == place.keys[-1].public
    assert place.home.pinned == place.keys[0].public
    assert place.recorded() == [key.public.raw.hex() for key in place.keys[1:]]
    place.rotate()
    assert place.follow() == place.keys[-1].public
    assert len(place.recorded()) == times + 1


def _forged(place: Following) -> list[Handover]:
    """A stranger signs that the coordinator handed over to it."""
    stranger = keys.generate(place.folder / "stranger.key")
    made = Handover.make("rhine", stranger, stranger.public, Purpose.SUCCESSION)
    return [Handover("rhine", place.keys[0].public, stranger.public, made.proof)]


def _a_hospitals_word(place: Following) -> list[Handover]:
    place.rotate(Purpose.ENROLMENT)
    return place.handovers


def _another_consortiums(place: Following) -> list[Handover]:
    place.rotate(name="danube")
    return place.handovers


@pytest.mark.parametrize("spoil", [_forged, _a_hospitals_word, _another_consortiums])
def test_a_key_that_the_trusted_one_did_not_hand_over_to_is_refused(
    place: Following, spoil: Callable[[Following], list[Handover]]
) -> None:
    """Catches a stranger who becomes the coordinator."""
    with pytest.raises(SignatureInvalid):
        place.follow(spoil(place))
    assert place.home.coordinator == place.keys[0].public
    assert place.recorded() == []


def test_a_replaced_key_has_no_say_any_more(place: Following) -> None:
    """Catches who finds the old key later, and hands the hospital over to another."""
    place.rotate()
    place.follow()
    thief = keys.generate(place.folder / "thief.key")
    stolen = Handover.make("rhine", place.keys[0], thief.public, Purpose.SUCCESSION)
    assert place.follow([stolen]) == place.keys[1].public
    assert place.home.coordinator == place.keys[1].public
    with pytest.raises(EnrolmentFileError, match="tampered with, or is another coordinator's"):
        join(place.home, place.kit(place.keys[0]), datetime.now(UTC))


def test_a_death_between_ledger_and_home_is_taken_up(
    place: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches a succession that is on record twice, or that is never followed."""
    place.rotate()
    monkeypatch.setattr(
        "client.succession.durable.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    with pytest.raises(KeyboardInterrupt):
        place.follow()
    monkeypatch.undo()
    assert place.home.coordinator == place.keys[0].public
    assert place.follow() == place.keys[1].public
    assert len(place.recorded()) == 1


def test_a_damaged_record_is_told(place: Following) -> None:
    """Catches a home that falls back to a key that was given up."""
    place.rotate()
    place.follow()
    place.home.successors.write_bytes(place.home.successors.read_bytes().replace(b'"new":"', b'"new":"0', 1))
    with pytest.raises((HomeError, PrivacyError), match=r"successors\.json"):
        _ = place.home.coordinator


@pytest.mark.parametrize("told_before", [True, False])
def test_a_kit_of_the_new_key_is_joined_with(place: Following, told_before: bool) -> None:
    """Catches a kit that can't be taken after a rotation, and a succession by kit that no ledger knows of."""
    new = place.rotate()
    if told_before:
        place.follow()
    join(place.home, place.kit(new), datetime.now(UTC))
    assert place.home.pinned == place.home.coordinator == new.public
    assert place.home.kit.successions == ()
    assert not place.home.successors.exists()
    assert len(place.recorded()) == 1
    place.rotate()
    assert place.follow() == place.keys[-1].public


def test_the_first_kit_may_be_a_successors(tmp_path: Path) -> None:
    """Catches a hospital that was invited before a rotation and approved after it."""
    from client.enrolment import answer
    from tests.enrolment_cases import invitation

    home = create(tmp_path / "home", Settings("north", tmp_path, tmp_path / "m.csv", tmp_path))
    first = keys.generate(tmp_path / "coordinator.key")
    answer(home, invitation("north", first.public), datetime.now(UTC))
    place = Following(home, tmp_path, [first])
    new = place.rotate()
    join(home, place.kit(new), datetime.now(UTC))
    assert home.coordinator == new.public


def test_an_agent_takes_plans_of_the_successor_alone(house: MakeHouse) -> None:
    """Catches an agent that has to be started again, or that goes on taking the old key's plans."""
    made = house()
    agent, old = made.agent(), made.coordinator
    new = keys.generate(made.home.folder / "next.key")
    plan = made.plan()
    assert "code" in ask(agent, "train", made.request(plan) | {"signature": plan.sign(new)})
    handover = Handover.make("rhine", old, new.public, Purpose.SUCCESSION)
    assert ask(agent, "coordinator", {"handovers": succession.to_bytes([handover])}) == {}
    assert ask(agent, "train", made.request(plan)) == {"code": b"plan-unsigned"}
    answered = ask(agent, "train", made.request(plan) | {"signature": plan.sign(new)})
    assert set(answered) == {"release/scale/roi", "release/scale/wsi"}
    assert {record.destination for _, record in made.ledger().egress()[-2:]} == {new.public.raw.hex()}
    assert ask(agent, "coordinator", {"handovers": b"[1]"}) == {"code": b"bad-request"}
    assert ask(agent, "coordinator", {}) == {"code": b"bad-request"}
