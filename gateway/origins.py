"""Which pages may ask: a browser tells the origin of the page that does."""

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from ..common.environment import import_extra
from ..triton_repo.front.asgi import App, Receive, RefusedError, Scope, Send, header, refuse

_BEARER = "bearer."


def allowing_origins(app: App, origins: Collection[str], is_local: bool) -> App:
    """An application that pages of its own origin may ask, and those of some others.

    Args:
        app: the next.
        origins: such as https://music.example; ``*`` is every page.
        is_local: only programs on this machine reach it.
    """
    checked: App = _Origins(app, origins, is_local)
    if origins:
        cors = import_extra("web", "starlette.middleware.cors").CORSMiddleware
        checked = cors(
            checked,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
        )
    return checked


class _Origins:
    """Refuses what pages of other origins ask, which CORS only hides from them.

    A page that somebody visits could otherwise use a gateway on their machine. Its owner can also
    let the page's name mean that machine, so that the gateway seems to be the page's own origin:
    names other than localhost count only where they are among the origins.
    """

    def __init__(self, app: App, origins: Collection[str], is_local: bool) -> None:
        self._app, self._origins, self._is_local = app, set(origins), is_local
        self._names = {urlsplit(each).netloc for each in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if "*" not in self._origins:
                self._check(scope)
        except RefusedError as refused:
            return await refuse(scope, send, refused)
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        origin = (header(scope, b"origin") or b"").decode("latin-1")
        host = (header(scope, b"host") or b"").decode("latin-1")
        is_known = host in self._names or _has_no_name(host)
        if not origin:  # a program, or a page that reads from its own
            if self._is_local and not is_known:
                raise RefusedError(
                    403, "unknown host: use localhost, or start with --allow-origin http://HOST"
                )
            return
        is_own = is_known and origin in (f"http://{host}", f"https://{host}")
        if not is_own and origin not in self._origins:
            raise RefusedError(403, "pages of this origin may not ask: start with --allow-origin")


def _has_no_name(host: str) -> bool:
    """Whether a ``Host`` is an address, localhost or nothing: no name that may change its mind."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name in ("", "localhost") or bool(ip_address(name.partition("%")[0]))
    except ValueError:
        return False


class TokenInProtocol:
    """Takes a token from a WebSocket's protocols, ``bearer.TOKEN``: pages can set no header."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        tokens = [
            each.removeprefix(_BEARER)
            for each in scope.get("subprotocols", ())
            if each.startswith(_BEARER)
        ]
        if tokens:
            value = f"Bearer {tokens[0]}".encode("latin-1", "replace")
            scope = {**scope, "headers": [*scope["headers"], (b"authorization", value)]}
        await self._app(scope, receive, send)
