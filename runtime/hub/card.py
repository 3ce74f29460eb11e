"""A bundle's model card: what its manifest and its certificates say, and nothing else."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from ...errors import UsageError
from ..bundle.manifest import Artefact, Bundle
from ..parity.checks import checks
from .address import HubAddress

CARD = "README.md"
# A card without this line is somebody's own, and stays as it is.
MARK = "<!-- Written by muqrt push. Delete this line to keep your own text in later pushes. -->"
# Released checkpoints, by the names that muqrt export was given, and the licence of their weights.
_RELEASED = {
    "OpenMuQ/MuQ-large-msd-iter": "cc-by-nc-4.0",
    "OpenMuQ/MuQ-MuLan-large": "cc-by-nc-4.0",
}
_LICENCE = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")


@dataclass(frozen=True)
class Origin:
    """Where the weights come from, as far as it is known.

    Attributes:
        licence: the hub's identifier of the weights' licence, such as cc-by-nc-4.0.
        base_model: the hub id of the checkpoint.
    """

    licence: str | None = None
    base_model: str | None = None

    @classmethod
    def of(
        cls, bundle: Bundle, licence: str | None = None, base_model: str | None = None
    ) -> "Origin":
        """What is given, and else what is known of released checkpoints.

        Raises:
            UsageError: no identifier of a licence, or no hub id.
        """
        if licence is not None and not _LICENCE.fullmatch(licence):
            raise UsageError(
                f"licence {licence!r}: give the hub's identifier, in lower case, such as "
                "cc-by-nc-4.0, mit or other."
            )
        if base_model is not None:
            HubAddress.parse(base_model)
        known = _RELEASED.get(bundle.source.checkpoint)
        released = None if known is None else bundle.source.checkpoint
        return cls(licence or known, base_model or released)


def model_card(bundle: Bundle, address: HubAddress, origin: Origin) -> str:
    """The card as Markdown, with the hub's metadata in front.

    Args:
        bundle: what is described.
        address: where it is going to be.
        origin: licence and base model.
    """
    parts = [
        _metadata(bundle, origin),
        MARK,
        f"# {address.repository.partition('/')[2]}",
        _what(bundle),
        "## Use it",
        _use(bundle, address),
        "## What is in it",
        *_artefacts(bundle),
        "## Licence",
        _licence(origin),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(bundle: Bundle, origin: Origin) -> str:
    engines = dict.fromkeys(each.engine for each in bundle.artefacts)
    tags = ["muq", "music", "audio", "onnx" if "onnxruntime" in engines else "", *engines]
    facts = {
        "library_name": "muqrt",
        "license": origin.licence,
        "pipeline_tag": "feature-extraction" if bundle.tagging is None else "audio-classification",
        "tags": [each for each in dict.fromkeys(tags) if each],
        "base_model": origin.base_model,
        "base_model_relation": None if origin.base_model is None else "quantized",
    }
    # JSON is YAML, and quotes whatever a name may hold.
    lines = [f"{key}: {json.dumps(value)}" for key, value in facts.items() if value is not None]
    return "\n".join(["---", *lines, "---"])


def _what(bundle: Bundle) -> str:
    framing, source = bundle.framing, bundle.source
    kind = "MuQ-MuLan" if bundle.joint is not None else "MuQ"
    checkpoint = PurePath(source.checkpoint)
    name = checkpoint.name if checkpoint.is_absolute() else source.checkpoint
    facts = [
        f"A {kind} music model of {source.parameters / 1e6:.1f}M parameters, exported by "
        f"{bundle.created_by} from the checkpoint {_code(name)}, SHA-256 "
        f"`{source.sha256[:16]}...`.",
        f"- It takes mono audio at {framing.sample_rate_hz} Hz as it is, in windows of "
        f"{framing.window_seconds:g} s, and gives {framing.steps_per_second:g} steps a second.",
    ]
    outputs: dict[str, list[int | str]] = {}
    for artefact in bundle.audio_artefacts:
        outputs.update({spec.name: spec.shape for spec in artefact.outputs})
    for output, shape in outputs.items():
        facts.append(f"- `{output}`: ({', '.join(map(str, shape))})")
    for meaning in bundle.meanings.values():
        facts += [f"- {_text(line)}" for line in meaning.summary(framing.sample_rate_hz)]
    return "\n".join([facts[0], "", *facts[1:]])


def _use(bundle: Bundle, address: HubAddress) -> str:
    if bundle.joint is not None:
        answer, command = 'similarity("song.flac", ["calm piano"])', "embed"
    elif bundle.tagging is not None:
        answer, command = 'tag("song.flac")', "tag"
    else:
        answer, command = 'embed("song.flac")', "embed"
    return "\n".join(
        [
            "```python",
            "import muqrt",
            f'with muqrt.load("{address}") as model:',
            f"    answer = model.{answer}",
            "```",
            "",
            "```sh",
            f"muqrt {command} song.flac --bundle {address}",
            "```",
        ]
    )


def _artefacts(bundle: Bundle) -> Iterator[str]:
    yield (
        "Each artefact was compared with the PyTorch reference on music before it became part of "
        "the bundle; the gates are the same for every bundle."
    )
    columns = ["artefact", "engine", "precision", "MB", "proven", "proven on"]
    yield _table(columns, [_row(bundle, each) for each in bundle.artefacts])
    rows = [
        [each.name, check.output, check.figure, check.value, check.gate]
        for each in bundle.artefacts
        if each.certificate is not None
        for check in checks(each.certificate)
    ]
    if rows:
        yield _table(["artefact", "output", "figure", "worst", "gate"], rows)


def _row(bundle: Bundle, artefact: Artefact) -> list[str]:
    size = f"{bundle.size_bytes(artefact) / 1e6:.1f}"
    engine = artefact.engine if artefact.tower is None else f"{artefact.engine}, texts"
    facts = [artefact.name, engine, artefact.precision, size]
    if artefact.certificate is None:
        return [*facts, "no", ""]
    return [*facts, "yes" if artefact.certified else "NO", artefact.certificate.where]


def _licence(origin: Origin) -> str:
    if origin.licence is None:
        return "The bundle does not say under which licence its weights are: ask whoever shares it."
    of = f", as those of `{origin.base_model}`" if origin.base_model is not None else ""
    return f"The weights are under `{origin.licence}`{of}. muqrt itself is Apache-2.0."


def _table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(text: str) -> str:
    """Text of a manifest on one line, so that nothing in it is taken for Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", _one_line(text))


def _code(text: str) -> str:
    return f"`{_one_line(text.replace('`', ''))}`"


def _one_line(text: str) -> str:
    """Without line ends and whatever a terminal would take for a command."""
    return "".join(each for each in " ".join(text.split()) if each.isprintable())
