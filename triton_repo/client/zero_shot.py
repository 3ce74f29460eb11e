"""Zero-shot labels and text embeddings from a Triton server."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

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
    if (labels is None) == (label_set is None):
        raise UsageError("give either labels or the name of a label_set.")
    inputs = {WAVEFORM: np.asarray(waveform, np.float32)}
    if labels is not None:
        inputs[LABELS] = _lines("label", labels)
    if templates is not None:
        inputs[TEMPLATES] = _lines("template", templates)
    if label_set is not None:
        inputs[LABEL_SET] = _lines("label_set", [label_set])
    wanted = (COSINES, PROBABILITIES, CLIP_COSINES, NAMES)
    with Connection(url) as connection:
        found = _infer(connection, model, inputs, wanted, timeout_seconds)
    names = tuple(found[NAMES].tobytes().decode().split("\n"))
    return Answer(names, found[COSINES], found[PROBABILITIES], found[CLIP_COSINES])


def embed_text(
    url: str | Endpoint,
    text: str,
    model: str = "mulan_text",
    *,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> np.ndarray:
    """Embed a text on a Triton server: float32 (width,), of length one.

    Raises:
        ServerError: the server cannot be reached, has no such model, or refused the text.
    """
    return embed_texts(url, [text], model, timeout_seconds=timeout_seconds)[0]


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
            inputs = {TEXT: np.frombuffer(text.encode(), np.uint8)}
            found: np.ndarray = _infer(connection, model, inputs, (LATENTS,), timeout_seconds)[
                LATENTS
            ]
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


def _infer(
    connection: Connection,
    model: str,
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[str],
    timeout_seconds: float,
) -> dict[str, Any]:
    rows = {name: array[None] for name, array in inputs.items()}
    answer = connection.call("infer", model, timeout_seconds, **tensors(rows, outputs))
    return {name: answer.as_numpy(name)[0] for name in outputs}
