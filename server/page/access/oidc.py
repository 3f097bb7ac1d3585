"""Log-in through an identity provider: OpenID Connect's authorization code flow, with PKCE, state and nonce.

`access.toml` in the home says which provider, and which of its users are let in, as what; nobody is by default:

    [oidc]
    issuer = "https://login.example.org/realms/consortium"
    client_id = "fedpath"
    client_secret_file = "keys/oidc.secret"          # of mode 0600, relative to the home
    page = "https://fedpath.example.org"             # where browsers reach this page
    claim = "groups"                                 # of the identity token: a text, or a list of texts
    [oidc.roles]
    fedpath-coordinators = "coordinator"
    fedpath-auditors = "auditor"
"""

from __future__ import annotations

import re
import secrets
import threading
import tomllib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.jwk import KeySet

from server.errors import HomeError, ServerError
from server.page.access.roles import Role

FILE = "access.toml"
_KEYS = {"issuer", "client_id", "client_secret_file", "page", "claim", "roles"}
_ALGORITHMS = [
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "ES256",
    "ES384",
    "EdDSA",
]  # never "none", never a shared secret
_SCOPE = "openid profile"
_PENDING, _PENDING_S = 256, 600.0
_SKEW_S = 60
_TIMEOUT_S = 10.0
_OTHER = re.compile(r"[^a-z0-9._-]")
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class OidcRefused(ServerError):  # noqa: N818 - reads as what happened
    """The provider's word does not let anybody in; the message says why, and holds nothing that it said."""


@dataclass(frozen=True)
class Oidc:
    """Which provider, and who is let in as what."""

    issuer: str
    client_id: str
    secret: str = field(repr=False)
    page: str
    claim: str
    roles: Mapping[str, Role]

    @property
    def redirect(self) -> str:
        """Where the provider sends browsers back to: register it there."""
        return f"{self.page}/oidc/callback"

    def role_of(self, claims: Mapping[str, Any]) -> Role:
        """The highest role that the claim gives. Raises `OidcRefused` where it gives none."""
        said = claims.get(self.claim)
        groups = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        found = [self.roles[group] for group in groups if isinstance(group, str) and group in self.roles]
        if not found:
            raise OidcRefused(f"the provider knows you, but none of your {self.claim} is let in here")
        return max(found, key=list(Role).index)


@dataclass(frozen=True)
class Pending:
    """A log-in that was begun: what must come back, and where to go on to."""

    state: str
    nonce: str
    verifier: str
    then: str
    begun: float


@dataclass(frozen=True)
class Known:
    """Who came back."""

    name: str
    role: Role
    then: str


class Provider:
    """One identity provider; log-ins under way are kept in memory, each good once and for ten minutes."""

    def __init__(self, settings: Oidc, clock: Callable[[], float]) -> None:
        self.settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._pending: OrderedDict[str, Pending] = OrderedDict()

    def begin(self, then: str) -> tuple[str, str]:
        """What the browser's cookie is to hold, and the provider's address to send it to. Raises `OidcRefused`."""
        found = self._discovered()
        state, nonce, verifier = (secrets.token_urlsafe(length) for length in (32, 32, 48))
        pending = Pending(state, nonce, verifier, then, self._clock())
        with self._client() as client:
            address, _ = client.create_authorization_url(
                found["authorization_endpoint"],
                pending.state,
                code_verifier=pending.verifier,
                nonce=pending.nonce,
            )
        ticket = secrets.token_urlsafe(32)
        with self._lock:
            self._pending[ticket] = pending
            while len(self._pending) > _PENDING:
                self._pending.popitem(last=False)
        return ticket, address

    def finish(self, ticket: str | None, query: Mapping[str, str]) -> Known:
        """Who comes back with this cookie and these parameters. Raises `OidcRefused`."""
        with self._lock:
            pending = self._pending.pop(ticket or "", None)
        if pending is None or self._clock() - pending.begun > _PENDING_S:
            raise OidcRefused("this log-in was not begun here, or too long ago: begin again")
        if not secrets.compare_digest(query.get("state", "").encode(), pending.state.encode()):
            raise OidcRefused("the provider's answer is not to this log-in: begin again")
        if query.get("iss", self.settings.issuer) != self.settings.issuer:
            raise OidcRefused("the answer comes from another provider")
        if "code" not in query:
            raise OidcRefused("the provider let nobody in")
        found = self._discovered()
        try:
            with self._client() as client:
                token = client.fetch_token(
                    found["token_endpoint"],
                    code=query["code"],
                    code_verifier=pending.verifier,
                    grant_type="authorization_code",
                )
                keys = client.request("GET", found["jwks_uri"], withhold_token=True).json()
            claims = self._claims(token, KeySet.import_key_set(keys), pending.nonce)
        except Exception as error:  # hostile words through two libraries: whatever fails, nobody comes in
            raise OidcRefused(f"the provider's word can't be trusted ({type(error).__name__})") from None
        return Known(_name(claims), self.settings.role_of(claims), pending.then)

    def _claims(self, token: Mapping[str, Any], keys: KeySet, nonce: str) -> Mapping[str, Any]:
        decoded = jwt.decode(token["id_token"], keys, algorithms=_ALGORITHMS)
        rules = jwt.JWTClaimsRegistry(
            leeway=_SKEW_S,
            iss={"essential": True, "value": self.settings.issuer},
            aud={"essential": True, "value": self.settings.client_id},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": nonce},
            sub={"essential": True},
        )
        rules.validate(decoded.claims)
        if decoded.claims.get("azp", self.settings.client_id) != self.settings.client_id:
            raise ValueError("azp")
        return decoded.claims

    def _discovered(self) -> Mapping[str, str]:
        try:
            answer = httpx.get(f"{self.settings.issuer}/.well-known/openid-configuration", timeout=_TIMEOUT_S)
            found = answer.raise_for_status().json()
            wanted = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")
            values = {key: str(found[key]) for key in wanted}
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise OidcRefused(
                f"the identity provider does not answer as one ({type(error).__name__})"
            ) from None
        if values["issuer"] != self.settings.issuer or not all(_is_safe(values[key]) for key in wanted):
            raise OidcRefused("the identity provider says that it is another one, or is not reached over TLS")
        return values

    def _client(self) -> OAuth2Client:
        return OAuth2Client(
            self.settings.client_id,
            self.settings.secret,
            scope=_SCOPE,
            redirect_uri=self.settings.redirect,
            code_challenge_method="S256",
            timeout=_TIMEOUT_S,
        )


def read_oidc(home: Path) -> Oidc | None:
    """The home's settings; None where there are none. Raises `HomeError`, saying what to mend."""
    path = home / FILE
    if not path.exists():
        return None
    try:
        values = tomllib.loads(path.read_text("utf-8"))["oidc"]
        if set(values) != _KEYS:
            raise ValueError(f"it must have {', '.join(sorted(_KEYS))}, and has {', '.join(sorted(values))}")
        roles = {str(group): Role(role) for group, role in values["roles"].items()}
        secret = home / values["client_secret_file"]
        if secret.stat().st_mode & 0o077:
            raise ValueError(f"others may read {secret}: chmod 600 {secret}")
        settings = Oidc(
            str(values["issuer"]).rstrip("/"),
            str(values["client_id"]),
            secret.read_text("utf-8").strip(),
            str(values["page"]).rstrip("/"),
            str(values["claim"]),
            roles,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise HomeError(f"{path}: {error}") from error
    for what, address in (("issuer", settings.issuer), ("page", settings.page)):
        if not _is_safe(address):
            raise HomeError(f"{path}: {what} = {address!r}: write an https address")
    return settings


def _is_safe(address: str) -> bool:
    """Over TLS; on this very machine without."""
    parts = urlsplit(address)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)


def _name(claims: Mapping[str, Any]) -> str:
    """What the log and the page call the user: spelled as a local user's name is."""
    said = str(claims.get("preferred_username") or claims["sub"]).lower()
    return _OTHER.sub("-", said).lstrip("._-")[:64] or "somebody"
