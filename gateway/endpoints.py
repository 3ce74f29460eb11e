"""The endpoints that take files: a body becomes files, and these an answer."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

from ..triton_repo.front.asgi import App, Receive, RefusedError, Scope, Send, answer
from .answers import TASKS, Answers, GivenUpError, Question
from .fetch import Fetcher
from .limits import GatewayLimits
from .query import arguments, numbers
from .uploads import ClientGoneError, Request, Upload, read_request


class FileEndpoints:
    """Answers POST requests for tags, embeddings, tokens and similarity; passes on all others.

    Args:
        app: the next.
        answers: answers them, in threads.
        pool: those threads.
        limits: of requests.
        fetcher: fetches the files of addresses; they are refused when None.
    """

    def __init__(
        self,
        app: App,
        answers: Answers,
        pool: ThreadPoolExecutor,
        limits: GatewayLimits,
        fetcher: Fetcher | None = None,
    ) -> None:
        self._app, self._answers, self._pool, self._limits = app, answers, pool, limits
        self._fetcher = fetcher
        self.audio_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; raises RefusedError for what is not answered."""
        task = scope["path"]
        if task not in TASKS:
            return await self._app(scope, receive, send)
        if scope.get("method") != "POST":
            raise RefusedError(405, "use POST", "POST")
        given = numbers(arguments(scope["query_string"], TASKS[task]), TASKS[task])
        loop = asyncio.get_running_loop()
        given_up = Event()
        with TemporaryDirectory(prefix="muqrt-gateway-") as folder:
            try:
                request = await read_request(scope, receive, Path(folder), self._limits)
            except ClientGoneError:
                return
            if request.fields:
                raise RefusedError(400, f"no such field: {', '.join(request.fields)[:100]}")

            def work() -> bytes:
                uploads = request.files or self._fetched(request, Path(folder), given_up)
                return self._answers.answer(Question(task, uploads, given, given_up))

            working = loop.run_in_executor(self._pool, work)
            gone = asyncio.ensure_future(receive())
            ends: set[asyncio.Future[Any]] = {working, gone}
            try:
                await asyncio.wait(
                    ends,
                    timeout=self._limits.answer_seconds,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not working.done():
                    # Its slot is given back when its thread is free.
                    given_up.set()
                body = await working
            except GivenUpError:
                if gone.done():
                    return
                seconds = self._limits.answer_seconds
                raise RefusedError(
                    408, f"no answer within {seconds:g} s; send shorter audio, or try again later"
                ) from None
            finally:
                given_up.set()  # also when the gateway stops: its thread would hold up the exit
                gone.cancel()
        await answer(send, 200, body)

    def _fetched(self, request: Request, folder: Path, given_up: Event) -> list[Upload]:
        """The files of a JSON body's addresses."""
        urls = _urls(request.json or b"", self._limits.files)
        if self._fetcher is None:
            raise RefusedError(403, "this gateway fetches no addresses: send the file itself")
        return [
            self._fetcher.fetch(url, folder / str(number), given_up)
            for number, url in enumerate(urls)
        ]


def _urls(body: bytes, most: int) -> list[str]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(400, "the body is not JSON") from None
    urls = document.get("urls") if isinstance(document, dict) and len(document) == 1 else None
    if not isinstance(urls, list) or not urls or not all(isinstance(each, str) for each in urls):
        raise RefusedError(400, 'a JSON body is {"urls": ["https://...", ...]}')
    if len(urls) > most:
        raise RefusedError(413, f"a request may have {most} files")
    return urls
