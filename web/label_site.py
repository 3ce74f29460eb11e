"""What a site has of a MuQ-MuLan: both towers, the tokenizer, and a stored answer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BundleError
from ..runtime.bundle.manifest import Artefact, Bundle
from ..runtime.engines.open_session import open_session
from ..runtime.text.encoder import open_text_encoder
from ..runtime.text.labels import TEMPLATES, LabelSet
from ..runtime.text.tokenizer import TextTokenizer
from ..runtime.text.zero_shot import LabelTagger
from .graph_weights import weight_ranges

# What a browser may have to load and to hold; a full-size text tower has 1.1 GB.
_MOST_BYTES = 128 << 20
# Of a label's cosine, between engines in full precision.
LARGEST_CHANGE = 1e-4
_ANSWER_LABELS = ("piano", "loud drums, fast", "钢琴")
# The parts of a tokenizer.json that the page reads; of the others there must be none.
_WORDS = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
_MARKS = {"type": "Punctuation", "behavior": "Isolated"}

Put = Callable[[str, bytes], dict[str, Any]]


def chosen(bundle: Bundle, name: str | None = None) -> Artefact:
    """The audio tower that the page runs, certified: this one, or the first that a browser runs.

    Raises:
        BundleError: a browser runs none, or not this one; or it is too much to load.
    """
    for each in bundle.audio_artefacts:
        if (each.engine, each.precision) == ("onnxruntime", "fp32") and name in (None, each.name):
            break
    else:
        asked = "no artefact" if name is None else f"artefact {name!r} is none"
        raise BundleError(
            f"{bundle.folder}: {asked} that a browser runs: a MuQ-MuLan's in ONNX, fp32."
        )
    texts = bundle.artefact(tower="text")
    size = bundle.size_bytes(each) + bundle.size_bytes(texts)
    if size > _MOST_BYTES:
        raise BundleError(
            f"{bundle.folder}: {size >> 20} MiB, and a page loads {_MOST_BYTES >> 20} at most. "
            "Serve it with muqrt gateway, and ask that from the page."
        )
    bundle.verify(texts)
    return bundle.artefact(each.name)  # refused unless it is certified


def label_facts(
    bundle: Bundle, artefact: Artefact, put: Put, excerpt: dict[str, Any], waveform: np.ndarray
) -> dict[str, Any]:
    """Write the towers, and say what the page has to know of them.

    Args:
        put: writes a file into the site.
        excerpt: the file of ``waveform``, float32 (samples,), in the site.
    """
    joint, texts = bundle.joint, bundle.artefact(tower="text")
    assert joint is not None  # it has been asked for
    graphs = {"audio": bundle.path(artefact.file), "text": bundle.path(texts.file)}
    weights = []
    for name in weight_ranges(graphs.values()):
        data = bundle.path(name).read_bytes()
        file = put(name, data)
        weights.append({"name": name, "total_bytes": len(data), "offset": 0, "file": file})
    tokenizer = bundle.path(joint.tokenizer)
    _check_tokenizer(tokenizer)
    labels = LabelSet(_ANSWER_LABELS)
    with (
        open_text_encoder(bundle.folder, texts.name, threads=1) as encoder,
        open_session(bundle, artefact, threads=1) as session,
    ):
        tagger = LabelTagger(session, labels, labels.latents(encoder.encode))
        cosines = tagger.tag(waveform, bundle.framing.sample_rate_hz).cosines
    encode = TextTokenizer(tokenizer, joint.max_tokens).encode
    return {
        **{name: put(graph.name, graph.read_bytes()) for name, graph in graphs.items()},
        "weights": weights,
        "tokenizer": put(tokenizer.name, tokenizer.read_bytes()),
        "max_tokens": joint.max_tokens,
        "clip_samples": joint.clip_samples,
        "temperature": joint.temperature,
        "templates": list(TEMPLATES),
        "answer": {
            "file": excerpt,
            "labels": list(labels.labels),
            "ids": [encode(text)[0][0].tolist() for text in labels.texts],
            "cosines": cosines.tolist(),
            "largest_change": LARGEST_CHANGE,
        },
    }


def _check_tokenizer(path: Path) -> None:
    """Refuse a tokenizer that does what the page's does not."""
    file = json.loads(path.read_text(encoding="utf-8"))
    model, before = file["model"], file.get("pre_tokenizer") or {}
    if (
        file.get("normalizer") is not None
        or (model["type"], model.get("byte_fallback", False)) != ("Unigram", False)
        or before.get("pretokenizers") != [_WORDS, _MARKS]
        or any(each["normalized"] or each["lstrip"] for each in file["added_tokens"])
    ):
        raise BundleError(
            f"{path}: the page has no such tokenizer, only those of muqrt train mulan. Serve the "
            "bundle with muqrt gateway, and ask that from the page."
        )
