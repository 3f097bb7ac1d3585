"""A hospital's home: the folder that holds its settings, keys and ledger, and who may open what.

    hospital.toml          name, slides, manifest, base; ledger, where it is not ledger.db; segmenter, vllm
    policy.toml            what the hospital allows
    keys/release.key       signs releases and ledger
    keys/ledger.pgpass     the password of a ledger in PostgreSQL, where it takes one
    keys/pseudonyms.key    the secret of the pseudonyms in the catalogue
    campaigns.json         campaigns that asked and were not approved: client/asked_campaigns.py
    paused                 there while no new round is taken
    pair.lock              held by the one `start` that runs agent and courier
    withdrawn.txt          patients who withdrew their consent, one a line
    trust/                 whom the hospital trusts, and what they sent: coordinator.pub (who may sign plans), successors.json
                           (keys that followed it since), kit.json, its proposals for a policy and a compose file, and
                           invitation.json until it is answered
    request.json           what the hospital sends to the coordinator
    peers/                 the other hospitals' release keys, by this hospital's own record: client/peers.py
    ledger.db              what was spent and what left
    catalogue.db           what is known of the slides: client/slides/catalogue.py
    features/              cached visual features of slides and regions; in grids/, those that slides are pooled from
    checkpoints/           the round under way, after its last step
    sums/                  this hospital's place in a round under distributed trust: secrets of that round alone
    experts/               the experts that were received last, for local evaluation
    evaluation/            what `evaluate` wrote, unless it was told another folder
    vllm/                  of vLLM (vllm-1/: a worker's), where it samples: log, caches, adapters; client/training/vllm.py
    rewards.jsonl          mean reward by round, step and task: the learning curve
    page/address           where the hospital's page is, with what lets in once: client/page/entry.py
    details.log            what agent and (details-1.log) workers say in free words: privacy/details.py; it goes nowhere else
    metrics/               figures for the hospital's monitoring, for whom IT lets in: client/metrics.py
    agent.lock             held by the one agent that runs
    courier.txt            what confinement the courier runs under; held by it
    meeting                where the processes of an agent with several GPUs find each other
    status.sock            the agent's door for local IT
    socket/agent.sock      the agent's door for the courier: the courier's group may connect, and no more
    courier/               the courier's own folder: supernode.key, ca.crt, Flower's files

Everything but `socket/` and `courier/` is for the agent's user alone (0700, 0600). Under root the courier is
a user of its own, as systemd's DynamicUser would choose it, and owns `courier/` only. Where root makes a home in a
folder that is another user's, what it makes is that user's; where `courier/` is there already, it stays its owner's.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pwd
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from client.errors import HomeError
from client.ledger_place import ledger_place
from client.pseudonyms import Pseudonyms
from privacy import durable, keys, succession
from privacy.enrolment import node_key
from privacy.enrolment.default_policy import default_policy
from privacy.enrolment.kit import Kit
from privacy.errors import SignatureInvalid, WireError
from privacy.policy import Policy

_DYNAMIC_USERS = range(61184, 65520)  # systemd's range for DynamicUser: never a person's

_LOCK_SECONDS = 20.0


@dataclass(frozen=True)
class Settings:
    """`hospital.toml`: where the hospital's data and base model lie. Relative paths start from the home.

    `ledger` is a PostgreSQL database's URL, without a password; None keeps the ledger in the home.
    `segmenter` is a folder of a promptable segmenter (docs/howto/segmenter.md); None has boxes cover themselves.
    `vllm` is the Python of an environment that vLLM is installed in (docs/howto/vllm.md); without one, rollouts are sampled
    by the agent itself.
    """

    name: str
    slides: Path
    manifest: Path
    base: Path
    ledger: str | None = None
    segmenter: Path | None = None
    vllm: Path | None = None


@dataclass(frozen=True)
class Home:
    """Paths in a home, and what is read from them."""

    folder: Path

    @property
    def settings(self) -> Settings:
        """Read `hospital.toml`. Raises `HomeError` that names the key."""
        path = self.folder / "hospital.toml"
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise HomeError(_why_none(self.folder, error)) from None
        except ValueError as error:
            raise HomeError(f"{path}: not TOML: {error}") from None
        needed = {"name", "slides", "manifest", "base"}
        odd = sorted(set(values) - {"ledger", "segmenter", "vllm"} ^ needed)
        if odd or not all(isinstance(value, str) for value in values.values()):
            what = ", ".join(odd) or "a value that is no text"
            raise HomeError(
                f"{path}: has {what}: it holds exactly the texts {', '.join(sorted(needed))}, "
                "and may hold ledger, segmenter and vllm"
            )
        paths = ("slides", "manifest", "base", "segmenter", "vllm")
        where = {key: self.folder / values[key] for key in paths if key in values}
        return Settings(name=values["name"], ledger=values.get("ledger"), **where)

    @property
    def policy_file(self) -> Path:
        """What the hospital allows, as its IT writes it."""
        return self.folder / "policy.toml"

    @property
    def policy(self) -> Policy:
        """Read `policy.toml` (`PolicyError`); `HomeError` where it is another hospital's."""
        policy = Policy.load(self.policy_file)
        if policy.hospital != self.settings.name:
            raise HomeError(
                f"{self.policy_file}: is {policy.hospital}'s, but hospital.toml says "
                f"{self.settings.name}: give both the name under which you are enrolled"
            )
        return policy

    @property
    def release_key(self) -> Path:
        """The key that signs releases and the ledger."""
        return self.folder / "keys" / "release.key"

    @property
    def trust(self) -> Path:
        """Whom the hospital trusts: client/enrolment.py."""
        return self.folder / "trust"

    @property
    def pinned(self) -> keys.PublicKey:
        """The coordinator's key as it was at the last `join` (`KeyFileError` before that)."""
        return keys.load_public(self.trust / "coordinator.pub")

    @property
    def coordinator(self) -> keys.PublicKey:
        """The coordinator's key: the pinned one, or the last of those that followed it (`HomeError` for a damaged record)."""
        path = self.successors
        if not path.exists():
            return self.pinned
        try:
            chain = succession.from_bytes(path.read_bytes(), self.kit.consortium, self.pinned)
        except (WireError, SignatureInvalid) as error:
            raise HomeError(f"{path}: was changed: {error}: remove it, then join with a new kit") from error
        return chain[-1].new if chain else self.pinned

    @property
    def successors(self) -> Path:
        """The keys that followed the pinned one."""
        return self.trust / "successors.json"

    @property
    def kit_file(self) -> Path:
        """The kit as the coordinator signed it: all that a contained courier sees of settings."""
        return self.trust / "kit.json"

    @property
    def kit(self) -> Kit:
        """The kit that the hospital joined with (`HomeError` before `join`, `EnrolmentFileError` where it was changed)."""
        if not self.kit_file.exists():
            raise HomeError(f"{self.kit_file}: there is none: take in the kit with `fedpath-hospital join`")
        return Kit.load(self.kit_file, self.pinned)

    @property
    def request(self) -> Path:
        """What the hospital sends to the coordinator."""
        return self.folder / "request.json"

    @property
    def node_key(self) -> Path:
        """The key under which Flower knows the courier."""
        return self.courier / "supernode.key"

    @property
    def ledger(self) -> Path | str:
        """The ledger's SQLite file, or its PostgreSQL database's URL: `client.ledger_place`."""
        return ledger_place(self.folder, self.settings.ledger)

    @property
    def withdrawn(self) -> Path:
        """Patients who withdrew their consent, one a line."""
        return self.folder / "withdrawn.txt"

    @property
    def asked_campaigns(self) -> Path:
        """The campaigns that asked and were not approved."""
        return self.folder / "campaigns.json"

    @property
    def paused(self) -> Path:
        """There while no new round is taken."""
        return self.folder / "paused"

    @property
    def pair_lock(self) -> Path:
        """Held by the one `start` that runs agent and courier."""
        return self.folder / "pair.lock"

    @property
    def catalogue(self) -> Path:
        """What is known of the slides."""
        return self.folder / "catalogue.db"

    @property
    def pseudonyms(self) -> Pseudonyms:
        """Pseudonyms under this hospital's secret, which is made where there is none (`HomeError`)."""
        return Pseudonyms.of_file(self.folder / "keys" / "pseudonyms.key")

    @property
    def features(self) -> Path:
        """The cache of visual features."""
        return self.folder / "features"

    @property
    def checkpoints(self) -> Path:
        """Where a killed round goes on from."""
        return self.folder / "checkpoints"

    @property
    def peers(self) -> Path:
        """The other hospitals' release keys."""
        return self.folder / "peers"

    @property
    def sums(self) -> Path:
        """Where a killed round under distributed trust goes on from."""
        return self.folder / "sums"

    @property
    def meeting(self) -> Path:
        """Where the agent and its workers find each other."""
        return self.folder / "meeting"

    @property
    def experts(self) -> Path:
        """The experts that were received last."""
        return self.folder / "experts"

    @property
    def evaluation(self) -> Path:
        """Where `evaluate` writes."""
        return self.folder / "evaluation"

    @property
    def rewards(self) -> Path:
        """Mean reward by round, step and task."""
        return self.folder / "rewards.jsonl"

    @property
    def page(self) -> Path:
        """The page's own folder, made by it."""
        return self.folder / "page"

    @property
    def metrics(self) -> Path:
        """Figures for the hospital's monitoring."""
        return self.folder / "metrics" / "fedpath-hospital.prom"

    def vllm(self, rank: int = 0) -> Path:
        """What vLLM writes, of the agent's (0) or a worker's."""
        return self.folder / ("vllm" if rank == 0 else f"vllm-{rank}")

    def details(self, rank: int = 0) -> Path:
        """Where the agent, or one of its workers, says in free words what its log must not."""
        return self.folder / ("details.log" if rank == 0 else f"details-{rank}.log")

    @property
    def status_socket(self) -> Path:
        """The agent's door for local IT."""
        return self.folder / "status.sock"

    @property
    def socket(self) -> Path:
        """The agent's door for the courier."""
        return self.folder / "socket" / "agent.sock"

    @property
    def courier(self) -> Path:
        """The courier's own folder."""
        return self.folder / "courier"

    @property
    def courier_report(self) -> Path:
        """What confinement the courier runs under, in words; it holds the file's lock while it lives."""
        return self.folder / "courier.txt"

    @property
    def courier_user(self) -> int | None:
        """The courier's user id where it is not this user's."""
        owner = self.courier.stat().st_uid
        return owner if os.geteuid() == 0 and owner != 0 else None

    @contextmanager
    def only_agent(self) -> Iterator[None]:
        """Be the one process that is this hospital's agent; the kernel lets go when it ends, however it ends.

        Waits a while for one that is just ending, then raises `HomeError`: two agents would void each
        other's reservations.
        """
        self.settings  # noqa: B018 - says what to do where there is no home
        with (self.folder / "agent.lock").open("ab") as file:
            end = time.monotonic() + _LOCK_SECONDS
            while not _locked(file):
                if time.monotonic() > end:
                    raise HomeError(f"{self.folder}: another agent runs on this home: stop it first")
                time.sleep(0.1)
            yield

    def is_held(self) -> bool:
        """Whether some living process is this hospital's agent. (One that starts at this instant waits for an instant.)"""
        return _is_locked(self.folder / "agent.lock")

    def courier_lives(self) -> bool:
        """Whether some living process is this hospital's courier, or its SuperNode. Of a contained one nothing is known here."""
        return _is_locked(self.courier_report)

    def open_socket(self) -> None:
        """Let the courier's group connect to the agent's socket."""
        self.socket.chmod(0o660)
        if self.courier_user is not None:
            os.chown(self.socket, 0, self.courier_user)


def home_at(folder: Path) -> Home:
    """The home in a folder that somebody named, where all commands begin but those that make one.

    Raises `HomeError` for a folder that is no hospital's home, one that this user may not read, and damaged settings.
    """
    home = Home(folder.absolute())
    home.settings  # noqa: B018 - says what is wrong
    return home


def couriers_home_at(folder: Path) -> Home:
    """As `home_at`, for what a courier runs: contained, it sees of its home the kit, and no settings."""
    home = Home(folder.absolute())
    return home if os.access(home.kit_file, os.R_OK, effective_ids=True) else home_at(folder)


def _why_none(folder: Path, error: OSError) -> str:
    """Why a folder's settings can't be read, with what to do."""
    if isinstance(error, PermissionError):
        return _whose(folder)
    if not folder.exists():
        what = "there is no such folder"
    else:
        what = "it has no hospital.toml" if folder.is_dir() else "it is no folder"
    return f"{folder}: is no hospital's home: {what}: name the folder that `fedpath-hospital init` made, or make one with it"


def _whose(folder: Path) -> str:
    """Whose a home is that this user may not read; where it can't be seen either, whose the folder is that hides it."""
    seen = next(path for path in (folder, *folder.parents) if os.access(path, os.F_OK, effective_ids=True))
    user = seen.stat().st_uid
    if user == os.geteuid():
        return f"{seen}: is this user's, who may not read what is in it: give them the right to"
    try:
        owner = pwd.getpwuid(user).pw_name
    except KeyError:
        return f"{seen}: belongs to the user {user}, who has no name here, and this one may not read it: run this as that user"
    return (
        f"{seen}: belongs to the user {owner}, and this one may not read it: run this as that user, "
        f"`runuser -u {owner} -- fedpath-hospital ...`"
    )


def create(folder: Path, settings: Settings) -> Home:
    """Make a home with keys that never leave it, and a policy to edit.

    Raises `HomeError` where there is one already.
    """
    if (folder / "hospital.toml").exists():
        raise HomeError(f"{folder}: is a home already: keys are never overwritten; give another folder")
    home = Home(folder.absolute())
    _folder(home.folder, 0o711)  # the courier's user passes through to its two folders, and sees no others
    _folder(home.socket.parent, 0o750)
    for path in (home.release_key.parent, home.trust, home.features, home.courier):
        _folder(path, 0o700)
    values = {key: getattr(settings, key) for key in Settings.__dataclass_fields__}
    lines = [f"{key} = {json.dumps(str(value))}\n" for key, value in values.items() if value is not None]
    home.pseudonyms  # noqa: B018 - makes their secret, or keeps that of an `index` that came first
    keys.generate(home.release_key)
    node_key.generate(home.node_key)
    durable.replace(home.folder / "policy.toml", default_policy(settings.name).encode())
    # last: a home without it is not finished
    durable.replace(home.folder / "hospital.toml", "".join(lines).encode())
    give_to_owners(home)
    return home


def _locked(file: IO[bytes], how: int = fcntl.LOCK_EX) -> bool:
    """Take the file's lock; whether it could be had."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_locked(path: Path) -> bool:
    """Whether a living process holds it for itself. Nothing is written, so that who may only read the home may ask, and
    those who ask are not in each other's way.
    """
    try:
        with path.open("rb") as file:
            return not _locked(file, fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _folder(path: Path, mode: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)


def give_to_owners(home: Home) -> None:
    """Under root, of what this process made in the home: `courier/` to a user of its own, all else to the owner of the home.

    The socket's folder is the owner's, with the courier's group, which all that is made in it gets: the agent need not
    be root.
    """
    if os.geteuid() != 0:
        return
    user, owner = home.courier_user or _free_user(home.folder), home.folder.stat()
    for path in (home.courier, *home.courier.iterdir()):
        os.chown(path, user, user, follow_symlinks=False)
    for folder in (home.folder, home.release_key.parent, home.trust):
        for path in folder.iterdir():
            if path not in (home.courier, home.socket.parent):
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    os.chown(home.socket.parent, owner.st_uid, user)
    home.socket.parent.chmod(0o2750)


def _free_user(folder: Path) -> int:
    """A user id for this home's courier: from the path, so that it stays; never one that has a name."""
    start = int.from_bytes(hashlib.sha256(os.fsencode(folder)).digest()[:4])
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    users = [user for user in _DYNAMIC_USERS if user not in taken]
    return users[start % len(users)]
