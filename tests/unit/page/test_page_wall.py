"""Who gets through the wall: every address, every role, every method; forms from elsewhere; sessions that are over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from server.page.access.roles import Role
from server.page.access.sessions import IDLE_S, LONGEST_S
from server.page.routes import ADDRESSES, Address
from tests.unit.page.conftest import NAMES, PASSWORD, Site

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _path(address: Address) -> str:
    file = "scale__roi.safetensors" if "/rounds/" in address.path else "spring.toml"
    return address.path.format(name="spring", number="1", file=file)


def _taken() -> dict[str, dict[str, Role]]:
    """By path: the least role of each method that it takes. A GET answers HEAD too."""
    found: dict[str, dict[str, Role]] = {}
    for address in ADDRESSES:
        methods = found.setdefault(_path(address), {})
        methods[address.method] = address.role
        if address.method == "GET":
            methods["HEAD"] = address.role
    return found


@pytest.mark.parametrize("role", [None, *Role], ids=str)
def test_every_address_answers_each_role_as_the_table_says(site: Site, role: Role | None) -> None:
    """Catches an address that forgot its guard, a role that may too much or too little, and a method that nobody thought of."""
    client = site.client(role)
    for path, taken in _taken().items():
        if path == "/events":
            continue  # a stream: below
        for method in _METHODS:
            status = client.request(method, path).status_code
            if method not in taken:
                assert status == 405, (method, path)
            elif role is None:
                assert status == (303 if method in ("GET", "HEAD") else 401), (method, path)
            elif not role.may(taken[method]):
                assert status == 403, (method, path)
            elif method == "POST":
                assert status == 403, "no form of this page was sent"
            else:
                assert status == 200, (method, path, role)


def test_a_stream_tells_nobody_anything_without_a_session(site: Site) -> None:
    headers = {"accept": "text/event-stream"}
    assert site.client().get("/events", headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("changes", "headers"),
    [
        ({"csrf": ""}, {}),
        ({"csrf": "wrong"}, {}),
        ({}, {"origin": "https://evil.example"}),
        ({}, {"origin": "http://127.0.0.1:9999"}),
        ({}, {"origin": "null"}),
        ({}, {"sec-fetch-site": "cross-site"}),
        ({}, {"sec-fetch-site": "same-site"}),
    ],
    ids=str,
)
def test_a_form_from_elsewhere_does_nothing(
    site: Site, changes: dict[str, str], headers: dict[str, str]
) -> None:
    """Catches a campaign that another site's page, or another user's form, pauses."""
    client = site.client(Role.COORDINATOR)
    before = site.world.store.journal()[-1]
    form = {"csrf": site.csrf(client), **changes}
    assert client.post("/campaigns/spring/pause", data=form, headers=headers).status_code == 403
    assert client.post("/campaigns/spring/pause", json=form).status_code == 403
    assert site.world.store.journal()[-1] == before


def test_another_sessions_token_is_none(site: Site) -> None:
    one, other = site.client(Role.COORDINATOR), site.client(Role.COORDINATOR)
    assert one.post("/campaigns/spring/pause", data={"csrf": site.csrf(other)}).status_code == 403


@pytest.mark.parametrize(
    ("seconds", "uses", "over"), [(IDLE_S - 1, 1, False), (IDLE_S + 1, 1, True), (IDLE_S - 1, 26, True)]
)
def test_a_session_ends(site: Site, seconds: float, uses: int, over: bool) -> None:
    """Catches a session that lasts though nobody used it, or though it was used, for longer than a working day."""
    assert (uses * seconds > LONGEST_S) == (uses == 26)
    client = site.client(Role.READ_ONLY)
    for _ in range(uses):
        site.clock.now += seconds
        status = client.get("/").status_code
    assert status == (303 if over else 200)


def test_an_open_stream_keeps_no_session_alive(site: Site) -> None:
    """Catches a page that was left open on a desk for the night."""
    client = site.client(Role.READ_ONLY)
    token = client.cookies[site.access.cookie]
    site.clock.now += IDLE_S - 1
    assert site.access.visitor(token, use=False) is not None
    site.clock.now += 2
    assert site.access.visitor(token, use=False) is None


def test_who_is_changed_or_gone_is_logged_out(site: Site) -> None:
    """Catches a role that was taken away, or a user removed, and a session that goes on under it."""
    users = site.access.users
    users.add("temp", Role.COORDINATOR, PASSWORD)
    for change in (
        lambda: users.set_role("temp", Role.READ_ONLY),
        lambda: users.set_password("temp", PASSWORD + "2"),
        lambda: users.remove("temp"),
    ):
        client = site.client()
        words = {"name": "temp", "password": PASSWORD, "next": "/"}
        assert client.post("/login", data=words).status_code == 303
        assert client.get("/").status_code == 200
        change()
        assert client.get("/").status_code == 303
        if "temp" in users.all():
            users.set_password("temp", PASSWORD)


def test_log_in_begins_a_fresh_session_and_log_out_ends_it(site: Site) -> None:
    """Catches fixation: a cookie that somebody planted before, and that is good afterwards."""
    client = site.client()
    client.cookies.set(site.access.cookie, "planted", domain="127.0.0.1", path="/")
    answer = client.post(
        "/login", data={"name": NAMES[Role.AUDITOR], "password": PASSWORD, "next": "//evil.example"}
    )
    cookie = answer.headers["set-cookie"]
    assert answer.headers["location"] == "/"
    assert "planted" not in cookie
    assert all(word in cookie.lower() for word in ("httponly", "samesite=lax", "path=/"))
    token = client.cookies[site.access.cookie]
    assert client.post("/logout", data={"csrf": site.csrf(client)}).status_code == 303
    assert site.access.visitor(token) is None


def test_over_tls_the_cookie_goes_nowhere_else(site: Site) -> None:
    site.access = replace(site.access, secure=True)
    client = site.client()
    answer = client.post("/login", data={"name": "cora", "password": PASSWORD, "next": "/"})
    assert answer.headers["set-cookie"].startswith("__Host-fedpath=")
    assert "secure" in answer.headers["set-cookie"].lower()


@pytest.mark.parametrize("name", ["cora", "nobody", "x" * 5000, "' or 1=1", "\0"])
def test_guessing_is_slowed_down_and_a_wait_is_told(site: Site, name: str) -> None:
    """Catches passwords tried at will; a name that is known and one that is not are answered alike."""
    client = site.client()
    statuses = []
    for _ in range(8):
        answer = client.post("/login", data={"name": name, "password": "wrong password", "next": "/"})
        statuses.append(answer.status_code)
        site.clock.now += 0.5
    assert statuses[:6] == [401] * 6
    assert 429 in statuses[6:]
    assert int(answer.headers.get("retry-after", "1")) >= 1
    assert "wrong password" not in answer.text


def test_a_stranger_locks_nobody_out_for_good(site: Site) -> None:
    """Catches a lock that anybody can put on anybody's name: from another address half a minute is the longest wait."""
    for _ in range(500):
        site.access.attempts.failed("cora", "203.0.113.9")
    assert site.access.attempts.wait_s("cora", "203.0.113.9") > 600
    assert site.access.attempts.wait_s("cora", "127.0.0.1") <= 30
    site.clock.now += 31
    site.client(Role.COORDINATOR)


@pytest.mark.parametrize(
    "cookies",
    ["fedpath=", "fedpath=x; fedpath=y", "fedpath=" + "z" * 4000, "fedpath=\xff\xfe", "=;;;", "fedpath=%00"],
)
def test_garbage_in_a_cookie_is_nobody(site: Site, cookies: str) -> None:
    headers = {"cookie": cookies.encode("latin-1")}
    assert site.client().get("/", headers=headers).status_code == 303  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"name=%ff%fe&password=x",
        b"&" * 60000,
        b"name=" + b"a" * 60000,
        b"name=a&" * 3000,
        b"\x00\x01\x02",
    ],
    ids=range(6),
)
def test_garbage_in_a_form_is_refused(site: Site, body: bytes) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert 400 <= site.client().post("/login", content=body, headers=headers).status_code < 500
