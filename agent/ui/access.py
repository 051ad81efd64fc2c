"""Who may use the page: a cookie with an unguessable token for each browser, and a key where one is set."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

VISITOR_COOKIE = "deeprec-ui"
KEY_COOKIE = "deeprec-ui-key"
MAX_AGE_S = 180 * 24 * 3600
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def visitor_of(request: Request) -> str | None:
    """The token of the browser that asks; None where it has none yet."""
    token = request.cookies.get(VISITOR_COOKIE, "")
    return token if _TOKEN.fullmatch(token) else None


def new_visitor() -> str:
    """A token that nobody can guess (256 bits)."""
    return secrets.token_urlsafe(32)


def thread_of(visitor: str, conversation: str) -> str:
    """The thread of a browser's conversation: an address without the browser's cookie opens no thread of it."""
    return hashlib.sha256(f"thread {visitor} {conversation}".encode()).hexdigest()[:32]


def person_of(visitor: str) -> str:
    """The key of a person in carts and traces. The token cannot be found from it."""
    return hashlib.sha256(f"person {visitor}".encode()).hexdigest()[:32]


def remember(response: Response, request: Request, visitor: str, key: str | None = None) -> None:
    """Set the cookies of a browser; with a key, also the proof that its person gave it."""
    cookies = {VISITOR_COOKIE: visitor} | ({KEY_COOKIE: _proof(key, visitor)} if key else {})
    for name, value in cookies.items():
        response.set_cookie(
            name, value, max_age=MAX_AGE_S, httponly=True, samesite="lax", secure=request.url.scheme == "https"
        )


def has_key(request: Request, key: str | None) -> bool:
    """Whether the request may pass: no key is set, its browser gave the key before, or its header has it."""
    if key is None:
        return True
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    proof = request.cookies.get(KEY_COOKIE, "")
    return is_key(given, key) or hmac.compare_digest(proof.encode(), _proof(key, visitor_of(request) or "").encode())


def is_key(given: str, key: str) -> bool:
    """Compare in a time that does not depend on how much of the key is right."""
    return hmac.compare_digest(given.encode(), key.encode())


def is_own_page(request: Request) -> bool:
    """Whether a posting request comes from this page, or from a program, and not from a page of another site."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("Host")


def _proof(key: str, visitor: str) -> str:
    return hmac.new(key.encode(), visitor.encode(), hashlib.sha256).hexdigest()
