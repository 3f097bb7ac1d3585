"""Log-in through an identity provider, with a real one on loopback, and what such a provider, or a stranger, may try."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Page, expect
from starlette.testclient import TestClient

from server.errors import HomeError
from server.page.access.oidc import Oidc, Provider, read_oidc
from server.page.access.roles import Role
from tests.unit.page.conftest import Site, serving
from tests.unit.page.identity_provider import IdentityProvider, provided

_ROLES = {"fedpath-auditors": Role.AUDITOR, "fedpath-coordinators": Role.COORDINATOR}
_HOME = "http://127.0.0.1:8787"


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with provided(IdentityProvider()) as started:
        yield started


@pytest.fixture
def client(site: Site, provider: IdentityProvider) -> TestClient:
    return _with(site, provider, _HOME).client()


def _with(site: Site, provider: IdentityProvider, page: str) -> Site:
    settings = Oidc(provider.issuer, "fedpath", "a secret", page, "groups", _ROLES)
    return replace(site, access=replace(site.access, provider=Provider(settings, site.clock)))


def _round_trip(client: TestClient, then: str = "/privacy") -> httpx.Response:
    """Begin at the page, go to the provider as a browser would, and come back."""
    begun = client.get(f"/oidc/start?next={then}")
    assert begun.status_code == 303, begun.text
    back = httpx.get(begun.headers["location"]).headers["location"]
    return client.get(back.removeprefix(_HOME))  # type: ignore[return-value]


def test_a_user_of_the_provider_comes_in_with_the_role_that_was_said(client: TestClient) -> None:
    answer = _round_trip(client)
    assert (answer.status_code, answer.headers["location"]) == (303, "/privacy")
    assert "grace-example.org" in client.get("/privacy").text
    assert client.get("/campaigns/spring/pause").status_code == 403


@pytest.mark.parametrize(
    "changes",
    [
        {"claims": {"nonce": "another"}},
        {"claims": {"nonce": None}},
        {"claims": {"iss": "https://evil.example"}},
        {"claims": {"aud": "another client"}},
        {"claims": {"aud": None}},
        {"claims": {"azp": "another client"}},
        {"claims": {"exp": 1_000_000_000}},
        {"claims": {"exp": None}},
        {"claims": {"iat": 4_000_000_000, "exp": 4_000_000_300}},
        {"claims": {"sub": None}},
        {"claims": {"groups": None}},
        {"claims": {"groups": ["others"]}},
        {"claims": {"groups": {"fedpath-coordinators": True}}},
        {"claims": {"groups": [["fedpath-coordinators"], 7]}},
        {"sign": "none"},
        {"sign": "hs256"},
        {"wrong_key": True},
        {"state": "another"},
        {"state": ""},
    ],
    ids=str,
)
def test_a_word_that_can_not_be_trusted_lets_nobody_in(
    client: TestClient, provider: IdentityProvider, changes: dict[str, object]
) -> None:
    """Catches each check of the flow that is left out; the session cookie must not be set, whatever is shown."""
    for name, value in changes.items():
        setattr(provider, name, value)
    answer = _round_trip(client)
    assert answer.status_code == 401
    assert client.get("/").status_code == 303


def test_a_code_is_good_once_and_for_who_began(client: TestClient, provider: IdentityProvider) -> None:
    """Catches log-in forgery: another browser's answer, an answer played back, an answer to nothing."""
    begun = client.get("/oidc/start")
    back = httpx.get(begun.headers["location"]).headers["location"].removeprefix(_HOME)
    stranger = TestClient(client.app, base_url=_HOME, follow_redirects=False)
    assert stranger.get(back).status_code == 401
    assert client.get(back).status_code == 303
    assert client.get(back).status_code == 401


def test_a_log_in_that_took_too_long_begins_again(client: TestClient, site: Site) -> None:
    begun = client.get("/oidc/start")
    back = httpx.get(begun.headers["location"]).headers["location"].removeprefix(_HOME)
    site.clock.now += 601
    assert client.get(back).status_code == 401


@pytest.mark.parametrize("changes", [{"down": True}, {"says_issuer": "https://evil.example"}], ids=str)
def test_a_provider_that_is_away_or_another_is_said(
    client: TestClient, provider: IdentityProvider, changes: dict[str, object]
) -> None:
    for name, value in changes.items():
        setattr(provider, name, value)
    answer = client.get("/oidc/start")
    assert answer.status_code == 502
    assert "identity provider" in answer.text


def test_what_is_asked_of_the_provider(client: TestClient) -> None:
    """Catches a flow without PKCE, state or nonce, or one that goes on to another site."""
    asked = parse_qs(urlsplit(client.get("/oidc/start?next=//evil.example").headers["location"]).query)
    assert asked["response_type"] == ["code"]
    assert asked["redirect_uri"] == [f"{_HOME}/oidc/callback"]
    assert asked["code_challenge_method"] == ["S256"]
    assert all(len(asked[key][0]) >= 32 for key in ("state", "nonce", "code_challenge"))


def test_a_browser_comes_in_through_the_provider(
    site: Site, provider: IdentityProvider, browser_page: Page
) -> None:
    """The whole way in Chromium; the page's policy for forms and scripts must let it through."""
    there = _with(site, provider, "")
    known = there.access.provider
    assert known is not None
    with serving(there) as address:
        known.settings = replace(known.settings, page=address)
        browser_page.goto(address + "/privacy")
        browser_page.get_by_role("link", name="Log in with the identity provider").click()
        browser_page.wait_for_url(address + "/privacy")
        expect(browser_page.get_by_role("heading", name="Privacy")).to_be_visible()


_GOOD = """[oidc]
issuer = "https://login.example.org/realms/x"
client_id = "fedpath"
client_secret_file = "oidc.secret"
page = "https://fedpath.example.org/"
claim = "groups"
[oidc.roles]
fedpath-auditors = "auditor"
"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("https://login", "http://login"), "https"),
        (("https://fedpath", "http://fedpath"), "https"),
        (('"auditor"', '"admin"'), "admin"),
        (("claim", "claims"), "claims"),
        (("oidc.secret", "none.secret"), "none.secret"),
        (("[oidc]", "[oidc"), "access.toml"),
    ],
)
def test_settings_that_can_not_be_used_say_why(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    (tmp_path / "oidc.secret").touch(0o600)
    (tmp_path / "access.toml").write_text(_GOOD.replace(*change))
    with pytest.raises(HomeError, match=words):
        read_oidc(tmp_path)


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "oidc.secret").write_text("secret")
    (tmp_path / "oidc.secret").chmod(0o644)
    (tmp_path / "access.toml").write_text(_GOOD)
    with pytest.raises(HomeError, match="chmod 600"):
        read_oidc(tmp_path)
    (tmp_path / "oidc.secret").chmod(0o600)
    read = read_oidc(tmp_path)
    assert read is not None
    assert read.redirect == "https://fedpath.example.org/oidc/callback"
    assert "secret" not in repr(read)
