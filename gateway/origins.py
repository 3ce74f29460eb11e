"""Which pages may ask: a browser tells the origin of the page that does."""

from collections.abc import Collection

from ..common.environment import import_extra
from ..triton_repo.front.asgi import App, Receive, RefusedError, Scope, Send, header, refuse


def allowing_origins(app: App, origins: Collection[str]) -> App:
    """An application that pages of its own origin may ask, and those of some others.

    Args:
        app: the next.
        origins: such as https://music.example; ``*`` is every page.
    """
    checked: App = _Origins(app, origins)
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

    A page that somebody visits could otherwise use a gateway on their machine.
    """

    def __init__(self, app: App, origins: Collection[str]) -> None:
        self._app, self._origins = app, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            origin = (header(scope, b"origin") or b"").decode("latin-1")
            host = (header(scope, b"host") or b"").decode("latin-1")
            its_own = ("", f"http://{host}", f"https://{host}")
            if origin not in its_own and not {origin, "*"} & set(self._origins):
                raise RefusedError(
                    403, "pages of this origin may not ask: start with --allow-origin"
                )
        except RefusedError as refused:
            return await refuse(scope, send, refused)
        await self._app(scope, receive, send)
