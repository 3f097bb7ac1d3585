"""The hospital's page over a real home: what it tells, who gets in, what it does, and that it only reads else."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from client import paused
from client.events import Phase
from client.page.entry import COOKIE, LONGEST_S, Entry
from client.page.routes import ADDRESSES
from privacy.ledger.database import Database
from tests.documented import claim
from tests.unit.client.conftest import House
from tests.unit.client.page_site import CODE, Site, make_site

(SERVE,) = claim("docs/hospitals-page.md")
PAGES = ("/", "/left", "/budget", "/policy", "/campaigns", "/slides", "/learning")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


@pytest.fixture
def site(house: Callable[..., House]) -> Site:
    return make_site(house())


def test_pages_tell_what_the_home_holds(site: Site) -> None:
    """Catches a page that is empty, that fails, or that reads something else than the ledger."""
    client = site.client()
    texts = {path: client.get(path).text for path in PAGES}
    spent = f"{site.house.ledger().epsilon(site.house.home.policy.delta):.3f}"
    for path, words in {
        "/": [
            "Not well", "none runs", "not seen from here", "never run under this code", "never indexed",
            "policy-noise", "less noise than", "No agent answers", "entries verify", "GiB are free",
        ],
        "/left": ["release/scale/roi", "2 parts of replies", spent, "policy-noise", "its round alone"],
        "/budget": ["in all", spent, "2 requests were charged", "more rounds like the last one", "by Renyi", "spring"],
        "/policy": ["epsilon_budget", "50.0", "the most epsilon that may ever be spent", "the first policy"],
        "/campaigns": ["autumn", "spring", "Approve", "of 50"],
        "/slides": ["can serve"],
        "/learning": ["None yet"],
    }.items():  # fmt: skip
        assert [word for word in words if word not in texts[path]] == [], path


def test_what_left_is_told_for_one_campaign(site: Site) -> None:
    """Catches a filter that lets others through, and one that is a way to ask for anything."""
    client = site.client()
    assert "2 parts of replies" in client.get("/left?campaign=spring").text
    assert "0 parts of replies" in client.get("/left?campaign=autumn").text
    for odd in ("../etc", "A B", "<script>", "x" * 300):
        assert client.get("/left", params={"campaign": odd}).status_code == 404, odd


@pytest.mark.parametrize("page", ["0", "-1", "1e3", "x", "", "9" * 40, "\N{SUPERSCRIPT TWO}"])
def test_an_odd_page_number_is_no_page(site: Site, page: str) -> None:
    """Catches a number that fails inside, or that takes long to be read."""
    client = site.client()
    for path in ("/left", "/slides"):
        assert client.get(path, params={"page": page}).status_code == 404, path


def test_nothing_is_shown_and_nothing_done_without_a_session(site: Site) -> None:
    """Catches an address that forgot its guard, for every method; a cookie that is made up, and the secret as one."""
    client = site.client(enter=False)
    taken: dict[str, set[str]] = {}
    for address in ADDRESSES:
        path = address.path.format(name="autumn", key="k")
        head = {"HEAD"} if address.method == "GET" else set()
        taken.setdefault(path, set()).update({address.method} | head)
    ended = site.entry.enter(site.entry.secret)
    site.entry.leave(ended)
    for cookie in ("", "wrong", site.entry.secret, str(ended)):
        client.cookies.clear()
        client.cookies.set(COOKIE, cookie, domain="127.0.0.1", path="/")
        for path, methods in taken.items():
            for method in _METHODS:
                answer = client.request(method, path)
                assert answer.status_code == (401 if method in methods else 405), (method, path)
                assert "north" not in answer.text
    assert paused.since(site.house.home.paused) is None
    assert site.house.ledger().approved() == frozenset()


@pytest.mark.parametrize("secret", ["", "wrong", "\xff", "x" * 5000])
def test_only_the_secret_opens(site: Site, secret: str) -> None:
    client = site.client(enter=False)
    assert client.get("/enter", params={"secret": secret}).status_code == 403
    assert COOKIE not in client.cookies


def test_a_secret_opens_once(site: Site) -> None:
    """Catches an address in a browser's history, or one read over a shoulder, that opens the page again."""
    told: list[str] = []
    site.entry = Entry(told.append)
    (first,) = told
    client = site.client()
    assert len(told) == 2
    assert first != told[1] == site.entry.secret
    assert client.get(f"/enter?secret={first}").status_code == 303  # who is in goes on, whatever it gives
    assert site.client(enter=False).get(f"/enter?secret={first}").status_code == 403


def test_the_cookie_is_kept_from_scripts_and_other_sites_and_ends(site: Site) -> None:
    client = site.client(enter=False)
    secret = site.entry.secret
    cookie = client.get(f"/enter?secret={secret}").headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert secret not in cookie
    site.clock.now += LONGEST_S + 1
    assert client.get("/").status_code == 401


def test_who_leaves_is_out(site: Site) -> None:
    """Catches a log-out that only forgets the cookie in the browser."""
    client = site.client()
    client.post("/leave", data={"csrf": site.csrf(client)})
    assert client.get("/").status_code == 401


@pytest.mark.parametrize(
    ("form", "headers"),
    [
        ({}, {}),
        ({"csrf": "wrong"}, {}),
        (None, {"origin": "https://evil.example"}),
        (None, {"origin": "http://127.0.0.1:9999"}),
        (None, {"origin": "null"}),
        (None, {"sec-fetch-site": "cross-site"}),
        (None, {"sec-fetch-site": "same-site"}),
    ],
    ids=str,
)
def test_a_form_from_elsewhere_does_nothing(
    site: Site, form: dict[str, str] | None, headers: dict[str, str]
) -> None:
    """Catches another site's page, or another port's, that pauses a hospital or approves a campaign through an open browser."""
    client = site.client()
    given = {"csrf": site.csrf(client)} if form is None else form
    for path in [address.path.format(name="autumn") for address in ADDRESSES if address.method == "POST"]:
        assert client.post(path, data=given, headers=headers).status_code == 403, path
    assert paused.since(site.house.home.paused) is None
    assert site.house.ledger().approved() == frozenset()
    assert client.get("/").status_code == 200


def test_what_is_done_is_what_the_commands_do(site: Site) -> None:
    client = site.client()
    form = {"csrf": site.csrf(client)}
    assert client.post("/pause", data=form).status_code == 303
    assert paused.since(site.house.home.paused) is not None
    assert "paused since" in client.get("/").text
    client.post("/resume", data=form)
    assert paused.since(site.house.home.paused) is None
    assert client.post("/campaigns/autumn/approve", data=form).status_code == 303
    assert site.house.ledger().approved() == {"autumn"}
    client.post("/campaigns/autumn/withdraw", data=form)
    assert site.house.ledger().approved() == frozenset()
    again = client.post("/campaigns/autumn/withdraw", data=form)
    assert (again.status_code, "is not approved" in again.text) == (503, True)
    for name in ("made-up", "--help", "..%2fautumn", "%00"):
        assert client.post(f"/campaigns/{name}/approve", data=form).status_code == 404, name


def test_a_page_over_a_home_that_it_may_not_write_only_looks(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches buttons that fail, in a container or a unit that gives the page its home read-only."""
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK)
    client = site.client()
    assert "This page only looks" in client.get("/").text
    assert '<button id="steer"' not in client.get("/").text
    assert '<form class="inline" method="post" action="/campaigns' not in client.get("/campaigns").text
    for path in ("/pause", "/resume", "/campaigns/autumn/approve", "/campaigns/autumn/withdraw"):
        assert client.post(path, data={"csrf": site.csrf(client)}).status_code == 409, path
    assert paused.since(site.house.home.paused) is None


def test_looking_changes_nothing_in_the_home(site: Site) -> None:
    """Catches a page that writes where it should read: a ledger that is opened to be written, a catalogue that is mended."""
    home = site.house.home
    client = site.client()
    before = state(home.folder)
    for path in PAGES:
        client.get(path)
    assert state(home.folder) == before


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_writer_keeps_no_reader_waiting(site: Site) -> None:
    """Catches a page that stands still while the agent writes, or an agent that waits for a page; and old figures after."""
    home, client = site.house.home, site.client()
    with Database(home.ledger).transaction():
        assert "2 parts of replies" in client.get("/left").text
    ledger, plan = site.house.ledger(), site.house.plan(3)
    ledger.spend(ledger.reserve(plan, home.policy, CODE), {"scale/roi": b"third"})
    assert "3 requests were charged" in client.get("/budget").text


def test_a_changed_ledger_is_a_verdict_and_nothing_else_is_told_of_it(site: Site) -> None:
    """Catches a page that shows figures of a ledger that does not verify, or that fails as a whole."""
    home = site.house.home
    data = home.ledger.read_bytes()
    assert data.count(b"policy-noise") >= 1
    home.ledger.write_bytes(data.replace(b"policy-noise", b"policy-steps"))
    client = site.client()
    text = client.get("/").text
    assert "can&#39;t be read" in text or "can't be read" in text
    assert "Not well" in text
    assert client.get("/left").status_code == 503
    assert client.get("/slides").status_code == 200


def test_what_the_agent_does_is_told(site: Site) -> None:
    """Catches a status that is not the agent's: its phase, step, campaign and round."""
    with site.agent() as agent:
        agent.progress.begin(Phase.TRAINING, campaign="spring", round=7)
        agent.progress.step(3, 9)
        text = site.client().get("/").text
    for words in ("ready", str(Phase.TRAINING), "3 of 9", "round 7"):
        assert words in text, words


def test_the_command_tells_its_address_to_a_file_alone(site: Site) -> None:
    """Catches a secret or a private name in a log, a page that other machines reach without TLS, a page that loads torch or
    another one that holds the release key.
    """
    home = site.house.home
    command = [
        sys.executable,
        "-c",
        "from client.cli import app; app()",
        *({"north": str(home.folder)}.get(word, word) for word in SERVE.arguments),
        "--port",
        "0",
    ]
    for odd in (["--host", "0.0.0.0"], ["--tls-key", "x.pem"]):
        refused = subprocess.run([*command, *odd], capture_output=True, text=True, timeout=120)
        assert (refused.returncode, "error: " in refused.stderr) == (2, True), odd
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as served:
        assert served.stdout is not None
        said = served.stdout.readline()
        file = home.page / "address"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(home.page.stat().st_mode) == 0o700
        address = file.read_text().strip()
        secret = address.partition("secret=")[2]
        assert len(secret) > 30
        asked = _asked_by_a_browser(address)
        assert file.read_text().strip() not in ("", address)  # another one, for the next browser
        maps = Path(f"/proc/{served.pid}/maps").read_text()
        memory = _memory(served.pid)
        served.terminate()
        rest = served.stdout.read()
        assert served.wait(30) == 0, rest
    assert asked == [200] * len(PAGES)
    for private in (secret, "autumn", "spring"):
        assert private not in said + rest
    assert "libtorch" not in maps
    key = home.release_key.read_bytes().split(b"\n")[1]
    assert len(key) > 40
    assert key not in memory
    assert not file.exists()


def _asked_by_a_browser(address: str) -> list[int]:
    import httpx

    with httpx.Client(follow_redirects=True, timeout=60) as browser:
        assert browser.get(address).status_code == 200
        base = address.partition("/enter")[0]
        return [browser.get(base + path).status_code for path in PAGES]


def _memory(process: int) -> bytes:
    """All that it has in memory that it may write."""
    found = []
    with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            place, rights, *_ = line.split()
            start, end = (int(part, 16) for part in place.split("-"))
            if rights.startswith("rw") and end - start < 1 << 28:
                memory.seek(start)
                try:
                    found.append(memory.read(end - start))
                except OSError:
                    continue
    return b"".join(found)


def test_sessions_are_bounded() -> None:
    """Catches a table that grows with every visit: the oldest goes."""
    entry = Entry()
    tokens = [entry.enter(entry.secret) for _ in range(70)]
    alive = [token for token in tokens if entry.session(token)]
    assert alive == tokens[-64:]


def test_one_secret_lets_one_in_whoever_hurries() -> None:
    """Catches two browsers that come in by one secret at the same moment."""
    entry, found = Entry(), list[str | None]()
    secret, start = entry.secret, threading.Barrier(8)

    def come() -> None:
        start.wait(30)
        found.append(entry.enter(secret))

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(token is not None for token in found) == 1
