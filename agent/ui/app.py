"""The page of conversations as an application: `uvicorn.run(make_ui_app(agent, catalogue))`."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial, wraps
from importlib.resources import files
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

from langchain_core.messages import HumanMessage
from langgraph.graph.state import CompiledStateGraph
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from deeprec.agent.traces import TraceStore
from deeprec.agent.ui.access import (
    has_key,
    is_key,
    is_own_page,
    new_visitor,
    person_of,
    remember,
    thread_of,
    visitor_of,
)
from deeprec.agent.ui.answer import TEMPLATES, answer, read_thread
from deeprec.agent.ui.turns import Turns
from deeprec.agent.views import page_environment, run_html
from deeprec.agent.views.html.style import PAGE_STYLE
from deeprec.trm_tool import Catalogue
from deeprec.trm_tool.errors import DeepRecError
from deeprec.trm_tool.text import whole_characters

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
"""Names of this machine. A page of another site that resolves its own name to it has that name in `Host`."""
MAX_MESSAGE_CHARS = 4_000
MAX_BODY = 64 * 1024
WELCOME = "Say what you are looking for, in your own words. You can refine, correct and take back what you said."
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_RUN_POLICY = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; script-src 'none'"
"""Run pages have a policy of their own, which allows their inline style sheet by its hash."""
_CONVERSATION = re.compile(r"[A-Za-z0-9_-]{1,64}")
_Endpoint = Callable[["_Page", Request], Awaitable[Response]]


def make_ui_app(
    agent: CompiledStateGraph[Any, Any, Any, Any],
    catalogue: Catalogue,
    *,
    store: TraceStore | None = None,
    key: str | None = None,
    about: str = "",
) -> Starlette:
    """Make the page of conversations.

    Each browser gets a token of its own in a cookie; a conversation's thread follows from the token and the address, so
    that an address alone opens nobody's conversation. Without a key the application answers under names of this machine
    alone, so that no page of another site reaches it.

    Args:
        agent: A graph as `build_shopping_agent` makes it, with a checkpointer: its threads are the conversations.
        catalogue: The catalogue that it recommends from.
        store: The trace store of its searches, for their full pages; without it there are none.
        key: What a person has to give once before anything else; needed wherever others can reach the server.
        about: A line about the catalogue and the model, below the title.
    """
    page = _Page(agent, catalogue, store, key, about)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        yield
        await page.turns.stop_all()

    routes = [
        Route("/", page.start),
        Route("/key", page.ask_key, methods=["GET"]),
        Route("/key", page.take_key, methods=["POST"]),
        Route("/c/{conversation}", page.show),
        Route("/c/{conversation}/turns", page.take_turn, methods=["POST"]),
        Route("/c/{conversation}/events", page.follow),
        Route("/c/{conversation}/stop", page.stop, methods=["POST"]),
        Route("/c/{conversation}/runs/{run_id}", page.run),
        Route("/static/{name}", _static),
    ]
    hosts = ["*"] if key else list(LOOPBACK_HOSTS)
    middleware = [Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)]
    return Starlette(routes=routes, middleware=middleware, lifespan=lifespan)


def _guarded(endpoint: _Endpoint) -> Callable[[_Page, Request], Awaitable[Response]]:
    """Refuse requests of other sites' pages and of people without the key, and give the answer its headers."""

    @wraps(endpoint)
    async def guarded(self: _Page, request: Request) -> Response:
        if request.method == "POST" and not is_own_page(request):
            return _plain(403, "The request comes from a page of another site.")
        is_key_page = request.url.path == "/key"
        if has_key(request, self.key) or is_key_page:
            return _hardened(await endpoint(self, request))
        if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            return _hardened(RedirectResponse("/key", 303))
        return _plain(401, "The key is missing or wrong.")

    return guarded


class _Page:
    """The addresses of the page."""

    def __init__(
        self,
        agent: CompiledStateGraph[Any, Any, Any, Any],
        catalogue: Catalogue,
        store: TraceStore | None,
        key: str | None,
        about: str,
    ) -> None:
        self.agent, self.catalogue, self.store = agent, catalogue, store
        self.key, self.about, self.turns = key, about, Turns()

    @_guarded
    async def start(self, request: Request) -> Response:
        """A new conversation."""
        return RedirectResponse(f"/c/{token_urlsafe(9)}", 303)

    @_guarded
    async def ask_key(self, request: Request) -> Response:
        """The form that asks for the key."""
        return RedirectResponse("/", 303) if has_key(request, self.key) else _html("key.html.j2", is_wrong=False)

    @_guarded
    async def take_key(self, request: Request) -> Response:
        """Check the key and remember the browser."""
        body = await _body(request)
        given = parse_qs((body or b"").decode("utf-8", "replace")).get("key", [""])[0]
        if self.key is None or not is_key(given, self.key):
            return _html("key.html.j2", 403, is_wrong=True)
        answered = RedirectResponse("/", 303)
        remember(answered, request, visitor_of(request) or new_visitor(), self.key)
        return answered

    @_guarded
    async def show(self, request: Request) -> Response:
        """The page of a conversation, with all of it that was."""
        visitor = visitor_of(request) or new_visitor()
        thread = _thread(request, visitor)
        turn = self.turns.get(thread)
        is_running = turn is not None and turn.is_running
        # The events of a running turn bring all of it, so the page shows what was before.
        view = turn.before if turn is not None and is_running else await read_thread(self.agent, thread, self.catalogue)
        answered = _html(
            "conversation.html.j2",
            address=_address(request),
            about=self.about,
            welcome=WELCOME,
            view=view,
            is_running=is_running,
            max_chars=MAX_MESSAGE_CHARS,
        )
        remember(answered, request, visitor)
        return answered

    @_guarded
    async def take_turn(self, request: Request) -> Response:
        """Start a turn with a message, an edit, or both."""
        visitor = visitor_of(request)
        if visitor is None:
            return _plain(403, "This browser keeps no cookies. Allow them for this page and reload it.")
        asked = _turn(await _body(request), request.headers.get("Content-Type", ""))
        if asked is None:
            return _plain(400, f"Send JSON with a message of 1 to {MAX_MESSAGE_CHARS} characters, or with an edit.")
        thread = _thread(request, visitor)
        view = await read_thread(self.agent, thread, self.catalogue)
        if self.turns.is_running(thread):  # nothing is awaited between this and the start
            return _plain(409, "An answer is being written in this conversation. Wait for it, or stop it.")
        if self.turns.are_full:
            return _plain(503, "Too many answers are being written. Try again in a moment.")
        given = asked | {"person": person_of(visitor)}
        work = partial(answer, self.agent, self.catalogue, _address(request), given, thread)
        self.turns.start(thread, work, view)
        return PlainTextResponse("", 202)

    @_guarded
    async def follow(self, request: Request) -> Response:
        """The parts of the last turn as server-sent events, from the one after `Last-Event-ID`."""
        turn = self.turns.get(_thread(request, visitor_of(request) or ""))
        if turn is None:
            return Response(status_code=204)  # a browser asks no further
        last = request.headers.get("Last-Event-ID", "")
        start = int(last) + 1 if last.isdecimal() and len(last) < 9 else 0
        return StreamingResponse(turn.events(start), media_type="text/event-stream")

    @_guarded
    async def stop(self, request: Request) -> Response:
        """Cancel the running turn, if there is one."""
        turn = self.turns.get(_thread(request, visitor_of(request) or ""))
        if turn is not None:
            await turn.stop()
        return Response(status_code=204)

    @_guarded
    async def run(self, request: Request) -> Response:
        """The full trace of an answer of this conversation; the runs of others are not found."""
        run_id = request.path_params["run_id"]
        view = await read_thread(self.agent, _thread(request, visitor_of(request) or ""), self.catalogue)
        if self.store is None or run_id not in view.run_ids:
            return _plain(404, "This conversation has no such run.")
        try:
            trace = await run_in_threadpool(self.store.run, UUID(run_id))
        except (DeepRecError, ValueError):
            return _plain(404, "The trace store has no such run; it may have been pruned.")
        answered = HTMLResponse(await run_in_threadpool(run_html, trace, self.catalogue))
        answered.headers["Content-Security-Policy"] = _RUN_POLICY
        return answered


async def _static(request: Request) -> Response:
    folder = files("deeprec.agent.ui") / "static"
    match request.path_params["name"]:
        case "ui.css":
            return _hardened(Response(PAGE_STYLE + (folder / "ui.css").read_text("utf-8"), media_type="text/css"))
        case "ui.js":
            return _hardened(Response((folder / "ui.js").read_text("utf-8"), media_type="text/javascript"))
        case "icon.svg":
            return _hardened(Response((folder / "icon.svg").read_text("utf-8"), media_type="image/svg+xml"))
    return _plain(404, "There is nothing here.")


def _thread(request: Request, visitor: str) -> str:
    """The thread of a request. An address that the page does not make has none."""
    conversation = request.path_params["conversation"]
    if not _CONVERSATION.fullmatch(conversation):
        raise HTTPException(404, "There is no such conversation. Open the start page for a new one.")
    return thread_of(visitor, conversation)


def _address(request: Request) -> str:
    return f"/c/{request.path_params['conversation']}"


def _turn(body: bytes | None, content_type: str) -> dict[str, Any] | None:
    """The input of a turn; None where the body is none. A page of another site cannot send JSON unasked."""
    if body is None or content_type.partition(";")[0].strip() != "application/json":
        return None
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(asked, dict):
        return None
    message, edit = asked.get("message", ""), asked.get("edit")
    if not isinstance(message, str) or len(message) > MAX_MESSAGE_CHARS or not isinstance(edit, dict | None):
        return None
    message = whole_characters(message)
    if not message.strip() and edit is None:
        return None
    return {"messages": [HumanMessage(message)] if message.strip() else [], "edit": edit}


async def _body(request: Request) -> bytes | None:
    """The body of a request; None where it is too long."""
    parts: list[bytes] = []
    async for part in request.stream():
        parts.append(part)
        if sum(map(len, parts)) > MAX_BODY:
            return None
    return b"".join(parts)


def _html(template: str, status: int = 200, **values: object) -> HTMLResponse:
    return HTMLResponse(page_environment(TEMPLATES).get_template(template).render(values), status)


def _plain(status: int, text: str) -> Response:
    return _hardened(PlainTextResponse(text, status))


def _hardened(response: Response) -> Response:
    """Add the headers that keep a page to itself."""
    headers = {
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    for name, value in headers.items():
        response.headers.setdefault(name, value)
    return response
