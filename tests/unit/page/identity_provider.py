"""A small OpenID provider that really speaks the protocol on loopback; attacks are fields."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from pages.serving import listen


@dataclass
class IdentityProvider:
    """`claims` go into the identity token over what is right there; None takes a claim out. `sign` may be "none" or "hs256"."""

    claims: dict[str, Any] = field(default_factory=dict)
    sign: str = "rs256"
    issuer: str = ""
    says_issuer: str = ""
    wrong_key: bool = False
    down: bool = False
    state: str | None = None

    def __post_init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "one"})
        self.codes: dict[str, dict[str, str]] = {}

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._configuration),
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/keys", self._keys),
            ]
        )

    async def _configuration(self, request: Request) -> Response:
        if self.down:
            return Response("not now", 503)
        ends = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        found = {key: f"{self.issuer}/{path}" for key, path in ends.items()}
        return JSONResponse({"issuer": self.says_issuer or self.issuer, **found})

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        back = {"code": code, "state": asked["state"] if self.state is None else self.state}
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(back)}", 302)

    async def _token(self, request: Request) -> Response:
        form = await request.form()
        asked = self.codes.pop(str(form["code"]), None)
        verifier = str(form.get("code_verifier", ""))
        challenge = _base64(hashlib.sha256(verifier.encode()).digest())
        if asked is None or challenge != asked["code_challenge"] or "authorization" not in request.headers:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": asked["client_id"],
            "sub": "user-1",
            "preferred_username": "Grace@Example.org",
            "nonce": asked["nonce"],
            "iat": now,
            "exp": now + 300,
            "groups": ["fedpath-auditors", "others"],
            **self.claims,
        }
        claims = {key: value for key, value in claims.items() if value is not None}
        return JSONResponse({"access_token": "x", "token_type": "Bearer", "id_token": self._signed(claims)})

    async def _keys(self, request: Request) -> Response:
        return JSONResponse({"keys": [self.key.as_dict(private=False)]})

    def _signed(self, claims: dict[str, Any]) -> str:
        if self.sign == "none":
            return f"{_part({'alg': 'none'})}.{_part(claims)}."
        if self.sign == "hs256":  # with the public key as the shared secret
            signed = f"{_part({'alg': 'HS256', 'kid': 'one'})}.{_part(claims)}"
            mac = hmac.new(self.key.as_pem(private=False), signed.encode(), hashlib.sha256).digest()
            return f"{signed}.{_base64(mac)}"
        key = RSAKey.generate_key(2048, {"kid": "one"}) if self.wrong_key else self.key
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, key)


def _part(values: dict[str, Any]) -> str:
    return _base64(json.dumps(values).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@contextmanager
def provided(provider: IdentityProvider) -> Iterator[IdentityProvider]:
    """Serve it on a free port of loopback."""
    sock = listen("127.0.0.1", 0)
    provider.issuer = f"http://127.0.0.1:{sock.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(provider.app(), log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        yield provider
    finally:
        server.should_exit = True
        thread.join(30)
