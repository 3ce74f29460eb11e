"""A bundle as an application of Ray Serve: audio in the body of a request, results as JSON."""

import asyncio
from os import PathLike
from tempfile import NamedTemporaryFile
from typing import Any

from ...common.environment import import_extra
from ...errors import AudioError, MissingDependencyError
from ...runtime.bundle.shipped import SHIPPED_BUNDLE
from ...runtime.bundle.tagging import Tagging

MOST_BODY_BYTES = 256 << 20
_TOO_LARGE, _NOT_AUDIO = 413, 422


class _Served:
    """One replica."""

    def __init__(
        self,
        bundle: str,
        artefact: str | None,
        threads: int,
        device: str | None,
        most_body_bytes: int,
    ) -> None:
        from ...runtime.load import load

        self._most_body_bytes = most_body_bytes
        self._model = load(bundle, artefact, threads, device=device)

    async def __call__(self, request: Any) -> Any:
        """Answer a POST: ``embedding``, and ``tags`` where the bundle has a head."""
        from starlette.responses import JSONResponse

        size = 0
        with NamedTemporaryFile(prefix="muqrt-") as file:
            async for block in request.stream():
                size += len(block)
                if size > self._most_body_bytes:
                    error = f"send at most {self._most_body_bytes:,} bytes."
                    return JSONResponse({"error": error}, _TOO_LARGE)
                file.write(block)
            file.flush()
            try:
                return JSONResponse(await asyncio.to_thread(self._answer, file.name))
            except (AudioError, MissingDependencyError) as error:
                reason = str(error).removeprefix(f"{file.name}: ")
                return JSONResponse({"error": reason}, _NOT_AUDIO)

    def _answer(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {"embedding": self._model.embed(path).tolist()}
        if Tagging.output in self._model.session.outputs:
            tags = self._model.tag(path)
            found["tags"] = dict(zip(tags.tagging.vocabulary, tags.scores.tolist(), strict=True))
        return found


def application(
    bundle: str | PathLike[str] = SHIPPED_BUNDLE,
    artefact: str | None = None,
    threads: int = 1,
    device: str | None = None,
    most_body_bytes: int = MOST_BODY_BYTES,
    **options: Any,
) -> Any:
    """A bundle as an application for ``ray.serve.run``.

    It takes a POST with an audio file as its body, and answers JSON: ``embedding``, and where the
    bundle has a head ``tags`` with a score each; or ``error``, with status 413 for a body that is
    too large and 422 for one that is no audio.

    Args:
        bundle: its folder on every node, or hf://user/name.
        artefact, device: as for ``muqrt.load``.
        threads: of a replica's model; as many CPUs are its, unless ``options`` say otherwise.
        most_body_bytes: the largest body that is taken.
        options: for ``ray.serve.deployment``, such as ``num_replicas``, ``ray_actor_options`` with
            ``num_gpus``, or ``autoscaling_config``.

    Raises:
        MissingDependencyError: Ray Serve is not installed.
    """
    serve: Any = import_extra("ray", "ray.serve", "starlette")
    options = {
        "name": "muqrt",
        "max_ongoing_requests": 2,  # one is decoded while the model computes the other
        "ray_actor_options": {"num_cpus": threads},
        **options,
    }
    deployment = serve.deployment(**options)(_Served)
    return deployment.bind(str(bundle), artefact, threads, device, most_body_bytes)
