"""Texts to latents behind Triton's Python backend: the ``model.py`` of ``mulan_text``.

``muqrt repository`` copies it beside the tokenizer. It only translates: requests to texts, which
are encoded together by the tower that is a model of its own. muqrt itself is installed in the
server's Python.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from muqrt.errors import MuqrtError, UsageError
from muqrt.runtime.bundle.joint import LATENTS
from muqrt.runtime.text.encoder import TextEncoder
from muqrt.triton_repo.backends.onnxruntime.model import Shared
from muqrt.triton_repo.backends.python.tower import TowerSession, cancelled, failure
from muqrt.triton_repo.contract.mulan import TEXT, TEXT_TOWER, tower_in
from muqrt.triton_repo.repository.mulan import load_tokenizer
from muqrt.triton_repo.serving.latent_cache import RecentLatents

_LONGEST_TEXT_BYTES = 1 << 16  # far above what the model has positions for


class TritonPythonModel:
    """The only instance of the model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the tokenizer in ``<model_repository>/<version>``."""
        config = json.loads(args["model_config"])
        parameters = {name: each["string_value"] for name, each in config["parameters"].items()}
        folder = Path(args["model_repository"]) / args["model_version"]
        try:
            tower = tower_in(parameters, TEXT_TOWER)
            tokenizer = load_tokenizer(folder, tower.joint)
            self._encoder = TextEncoder(TowerSession(tower), tokenizer)
        except MuqrtError as error:
            raise pb_utils.TritonModelException(str(error)) from None
        self._recent: RecentLatents[str] = RecentLatents()
        labels = {"model": args["model_name"], "version": args["model_version"]}
        self._metrics = _Metrics(labels)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Encode the texts of all requests together."""
        responses: list[Any] = [None] * len(requests)
        texts: dict[int, str] = {}
        for place, request in enumerate(requests):
            if request.is_cancelled():
                responses[place] = cancelled()
                continue
            try:
                texts[place] = _text(
                    np.from_dlpack(pb_utils.get_input_tensor_by_name(request, TEXT))
                )
            except UsageError as refusal:
                responses[place] = failure(refusal)
        if texts:
            try:
                found = self._recent.of(list(texts.values()), self._encoder.encode)
                answers = [pb_utils.InferenceResponse([_latents(row)]) for row in found]
            except MuqrtError as error:
                answers = [failure(error) for _ in texts]
            for place, answer in zip(texts, answers, strict=True):
                responses[place] = answer
            self._metrics.publish(self._recent)
        return responses


class _Metrics:
    """What was asked and found, as the server's metrics."""

    def __init__(self, labels: dict[str, str]) -> None:
        def counter(name: str, description: str) -> Any:
            family = pb_utils.MetricFamily(
                name=name, description=description, kind=pb_utils.MetricFamily.COUNTER
            )
            self._families.append(family)
            return family.Metric(labels=labels)

        self._families: list[Any] = []  # a metric ends with its family
        self._texts = counter("muqrt_texts_total", "Texts that were embedded or remembered")
        self._found = counter("muqrt_texts_remembered_total", "Texts that were not computed again")

    def publish(self, recent: RecentLatents[str]) -> None:
        """What has changed since the last time."""
        for metric, total in ((self._texts, recent.asked), (self._found, recent.found)):
            metric.increment(total - metric.value())


def _latents(row: np.ndarray) -> Any:
    return pb_utils.Tensor.from_dlpack(LATENTS, Shared(row[None]))


def _text(array: np.ndarray) -> str:
    """The only text of a request, uint8 (1, bytes)."""
    if len(array) != 1:
        raise UsageError(f"{len(array)} texts; send each in a request of its own.")
    if not 1 <= array.shape[1] <= _LONGEST_TEXT_BYTES:
        raise UsageError(
            f"a text of {array.shape[1]} bytes; it may have 1 to {_LONGEST_TEXT_BYTES}."
        )
    try:
        return array.tobytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"the text is not UTF-8: {error}.") from None
