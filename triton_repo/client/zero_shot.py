"""Zero-shot labels and text embeddings from a Triton server."""

import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ...common.words import unlearned_line
from ...errors import UsageError
from ...runtime.bundle.joint import LATENTS
from ...runtime.engines.session import WAVEFORM
from ...runtime.text.texts import Texts, as_texts
from ..contract.mulan import (
    CLIP_COSINES,
    COSINES,
    LABEL_SET,
    LABELS,
    NAMES,
    PROBABILITIES,
    TEMPLATES,
    TEXT,
    UNLEARNED,
)
from ..serving.zero_shot import Answer
from .connection import Connection, tensors
from .endpoint import Endpoint
from .session import TIMEOUT_SECONDS

# They share batches on the server.
_TEXTS_AT_ONCE = 16


def tag_labels(
    url: str | Endpoint,
    waveform: np.ndarray,
    labels: Texts | None = None,
    model: str = "zeroshot",
    *,
    templates: Texts | None = None,
    label_set: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Answer:
    """Score how well labels describe a waveform, on a Triton server.

    Words of the labels that the model did not learn are a warning, where the server knows them.

    Args:
        url: host and port of the server's gRPC endpoint.
        waveform: mono float32 (samples,) at 24 kHz, up to an hour.
        labels: one or several, in your own words; give these or ``label_set``.
        model: name of the zero-shot model on the server.
        templates: sentences with ``{}`` in place of the label; the default ones when None.
        label_set: name of a label set on the server.
        timeout_seconds: how long the answer may take.

    Raises:
        UsageError: labels and label_set both or neither. ServerError: the server cannot be
            reached, has no such model, or refused the request; the message says why.
    """
    answer = ask_labels(
        url,
        waveform,
        labels,
        model,
        templates=templates,
        label_set=label_set,
        timeout_seconds=timeout_seconds,
    )
    if answer.unlearned:
        warnings.warn(unlearned_line(answer.unlearned), stacklevel=2)
    return answer


def ask_labels(
    url: str | Endpoint,
    waveform: np.ndarray,
    labels: Texts | None,
    model: str,
    *,
    templates: Texts | None = None,
    label_set: str | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Answer:
    """``tag_labels`` without a warning: the answer has the words that were not learned."""
    if (labels is None) == (label_set is None):
        raise UsageError("give either labels or the name of a label_set.")
    inputs = {WAVEFORM: np.asarray(waveform, np.float32)}
    if labels is not None:
        inputs[LABELS] = _lines("label", labels)
    if templates is not None:
        inputs[TEMPLATES] = _lines("template", templates)
    if label_set is not None:
        inputs[LABEL_SET] = _lines("label_set", [label_set])
    with Connection(url) as connection:
        found = _infer(connection, model, inputs, timeout_seconds)
    scores = found[COSINES], found[PROBABILITIES], found[CLIP_COSINES]
    return Answer(_texts(found[NAMES]), *scores, _unlearned(found))


def embed_text(
    url: str | Endpoint,
    text: str,
    model: str = "mulan_text",
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> np.ndarray:
    """Embed a text on a Triton server: float32 (width,), of length one.

    Words that the model did not learn are a warning, where the server knows them.

    Raises:
        ServerError: the server cannot be reached, has no such model, or refused the text.
    """
    with Connection(url) as connection:
        found = _embedded(connection, text, model, timeout_seconds)
    if unlearned := _unlearned(found):
        warnings.warn(unlearned_line(unlearned), stacklevel=2)
    latents: np.ndarray = found[LATENTS]
    return latents


def embed_texts(
    url: str | Endpoint,
    texts: Texts,
    model: str = "mulan_text",
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
    on_texts: Callable[[int], None] = lambda count: None,
) -> np.ndarray:
    """Embed texts on a Triton server, several at once: float32 (texts, width), of length one.

    Args:
        texts: at least one.
        timeout_seconds: how long the answer for one may take.
        on_texts: called with how many more are asked for.

    Raises:
        ServerError: as for ``embed_text``.
    """
    with Connection(url) as connection, ThreadPoolExecutor(_TEXTS_AT_ONCE) as pool:

        def embed(text: str) -> np.ndarray:
            on_texts(1)
            found: np.ndarray = _embedded(connection, text, model, timeout_seconds)[LATENTS]
            return found

        try:
            return np.stack(list(pool.map(embed, as_texts(texts))))
        finally:
            pool.shutdown(cancel_futures=True)


def _lines(kind: str, texts: Texts) -> np.ndarray:
    """Texts as UTF-8, one a line."""
    texts = as_texts(texts)
    for text in texts:
        if "\n" in text:
            raise UsageError(f"{kind} {text!r} contains a line break.")
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


def _texts(lines: np.ndarray) -> tuple[str, ...]:
    text = lines.tobytes().decode()
    return tuple(text.split("\n")) if text else ()


def _unlearned(found: Mapping[str, np.ndarray]) -> tuple[str, ...] | None:
    """The words that the model did not learn; None where it does not say."""
    return _texts(found[UNLEARNED]) if UNLEARNED in found else None


def _embedded(
    connection: Connection, text: str, model: str, timeout_seconds: float
) -> dict[str, Any]:
    inputs = {TEXT: np.frombuffer(text.encode(), np.uint8)}
    return _infer(connection, model, inputs, timeout_seconds)


def _infer(
    connection: Connection, model: str, inputs: Mapping[str, np.ndarray], timeout_seconds: float
) -> dict[str, Any]:
    """Every output that the model has."""
    rows = {name: array[None] for name, array in inputs.items()}
    answer = connection.call("infer", model, timeout_seconds, **tensors(rows, ()))
    return {each.name: answer.as_numpy(each.name)[0] for each in answer.get_response().outputs}
