"""Bearer tokens: who may ask, and as whom."""

import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path

from ...errors import ServerError
from .asgi import App, Receive, RefusedError, Scope, Send, header, refuse

_SHORTEST = 16
_SCHEME = "Bearer "


class Tokens:
    """The tokens that are accepted: of a file, one a line; ``#`` begins a comment.

    Raises:
        ServerError: the file cannot be read, has no token, or one that is short or has spaces.
    """

    def __init__(self, file: Path) -> None:
        try:
            lines = file.read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ServerError(f"{file}: the tokens cannot be read ({error}).") from error
        tokens = [line.partition("#")[0].strip() for line in lines]
        self._digests = [_digest(token) for token in tokens if token]
        if not self._digests:
            raise ServerError(f"{file}: no token there. Write one a line; openssl rand -hex 32")
        for number, token in enumerate(tokens, 1):
            if token and (len(token) < _SHORTEST or len(token.split()) > 1):
                raise ServerError(
                    f"{file}, line {number}: a token has at least {_SHORTEST} characters and no "
                    "spaces. Make one with: openssl rand -hex 32"
                )

    def client(self, authorization: str | None) -> str | None:
        """Who sent this Authorization header; None if it has no token that is accepted."""
        if authorization is None or not authorization.startswith(_SCHEME):
            return None
        given = _digest(authorization.removeprefix(_SCHEME).strip())
        # All are compared, and each in constant time: the time tells nothing.
        same = [hmac.compare_digest(given, each) for each in self._digests]
        return f"token {same.index(True) + 1}" if any(same) else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


class BearerToken:
    """Passes on requests with a token, and those for paths that need none, such as probes'.

    What follows finds the client's name in ``scope["state"]["client"]``: its token's, or its
    address where no tokens are asked for.

    Args:
        app: the next.
        tokens: that are asked for; none when None.
        is_open: whether a path needs none.
    """

    def __init__(self, app: App, tokens: Tokens | None, is_open: Callable[[str], bool]) -> None:
        self._app, self._tokens, self._is_open = app, tokens, is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        try:
            scope["state"]["client"] = self._client(scope)
        except RefusedError as refused:
            return await refuse(scope, send, refused)
        await self._app(scope, receive, send)

    def _client(self, scope: Scope) -> str:
        address = str((scope.get("client") or ("unknown",))[0])
        if self._tokens is None or self._is_open(scope["path"]):
            return address
        given = header(scope, b"authorization")
        client = self._tokens.client(None if given is None else given.decode("latin-1"))
        if client is None:
            raise RefusedError(401, "send a token of this server's: Authorization: Bearer ...")
        return client
