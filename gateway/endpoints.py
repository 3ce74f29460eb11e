"""The endpoints that take files: a body becomes files, and these an answer."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

from ..triton_repo.front.asgi import App, Receive, RefusedError, Scope, Send, answer
from .answers import TASKS, TEXTS, Answers, GivenUpError, Question
from .fetch import Fetcher
from .limits import GatewayLimits
from .query import arguments, numbers
from .uploads import (
    ClientGoneError,
    Request,
    Upload,
    read_request,
    telling_of_full_disks,
)


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
        field = TEXTS.get(task)
        given, texts = arguments(scope["query_string"], TASKS[task], field)
        ranged = numbers(given, TASKS[task])
        loop = asyncio.get_running_loop()
        given_up = Event()
        with telling_of_full_disks(), TemporaryDirectory(prefix="muqrt-gateway-") as folder:
            try:
                request = await read_request(scope, receive, Path(folder), self._limits)
            except ClientGoneError:
                return
            fields, urls = self._fields(request)
            if field is not None:
                texts += fields.pop(field, [])
            if fields:
                raise RefusedError(400, f"no such field: {', '.join(fields)[:100]}")
            self._check_texts(texts)

            def work() -> bytes:
                uploads = request.files or self._fetched(urls, Path(folder), given_up)
                return self._answers.answer(Question(task, uploads, ranged, texts, given_up))

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

    def _fields(self, request: Request) -> tuple[dict[str, list[str]], list[str]]:
        """A body's fields beside its files, and a JSON body's addresses."""
        if request.json is None:
            return request.fields, []
        fields = _lists_in(request.json)
        urls = fields.pop("urls")
        if len(urls) > self._limits.files:
            raise RefusedError(413, f"a request may have {self._limits.files} files")
        return fields, urls

    def _check_texts(self, texts: list[str]) -> None:
        if len(texts) > self._limits.texts:
            raise RefusedError(413, f"a request may have {self._limits.texts} texts")
        for text in texts:
            if not text.strip() or any("\ud800" <= each <= "\udfff" for each in text):
                raise RefusedError(400, f"text {text[:100]!r}: empty, or not Unicode")

    def _fetched(self, urls: list[str], folder: Path, given_up: Event) -> list[Upload]:
        """The files of addresses."""
        if self._fetcher is None:
            raise RefusedError(403, "this gateway fetches no addresses: send the file itself")
        return [
            self._fetcher.fetch(url, folder / str(number), given_up)
            for number, url in enumerate(urls)
        ]


def _lists_in(body: bytes) -> dict[str, list[str]]:
    """The lists of a JSON body, of which ``urls`` is one."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError(400, "the body is not JSON") from None
    if not (
        isinstance(document, dict)
        and document.get("urls")
        and all(isinstance(each, list) for each in document.values())
        and all(isinstance(text, str) for each in document.values() for text in each)
    ):
        raise RefusedError(400, 'a JSON body is {"urls": ["https://...", ...]}')
    return document
