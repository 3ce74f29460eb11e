"""The bundle: the folder that ``muqrt export`` writes and everything else reads.

``bundle.json`` names the source checkpoint, the architecture, every artefact with its hashes,
inputs and outputs, and each artefact's parity certificate.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from ...common.documents import read_json
from ...common.files import atomic_file, sha256
from ...common.validation import first_problem
from ...errors import BundleError
from .artefact import Artefact, Tower
from .joint import IDS, MASK
from .meanings import Explained, Meanings, check_outputs, gather, spread
from .parts import levels_file
from .record import Record, RelativeFile, Sha256

MANIFEST = "bundle.json"
FORMAT_VERSION = 1
# Far above any real manifest; keeps a hostile one from filling the memory.
_MANIFEST_LIMIT_BYTES = 16 << 20


class Source(Record):
    """Where the weights came from."""

    checkpoint: str
    sha256: Sha256
    parameters: PositiveInt


class Framing(Record):
    """How audio is cut for the model; all lengths in samples at ``sample_rate_hz``."""

    sample_rate_hz: PositiveInt
    hop_samples: PositiveInt
    step_samples: PositiveInt
    minimum_samples: PositiveInt
    window_samples: PositiveInt

    @property
    def steps_per_second(self) -> float:
        """Rate of the features, in Hz."""
        return self.sample_rate_hz / self.step_samples

    @property
    def window_seconds(self) -> float:
        """Length of a window."""
        return self.window_samples / self.sample_rate_hz

    def whole_steps(self, seconds: float) -> int:
        """So many seconds in samples, rounded to whole steps."""
        return round(seconds * self.steps_per_second) * self.step_samples

    def with_window(self, seconds: float) -> "Framing":
        """The same with windows of another length, rounded to whole steps."""
        return self.model_copy(update={"window_samples": self.whole_steps(seconds)})


class StoredAnswers(Record):
    """What the reference answered to a few excerpts of music: ``muqrt parity`` compares with it
    where there is no checkpoint.

    Attributes:
        file: the arrays, an ``.npz`` in the bundle.
        sha256: hash of that file.
        reference: what answered, as certificates name it.
        level: the layer that its features are taken from.
        audio: names of the excerpts.
        requests: further ways to ask an artefact that may run another of its graphs: the outputs to
            ask for, by what the way is called.
        texts: what a text tower is compared on.
    """

    file: RelativeFile
    sha256: Sha256
    reference: str
    level: Annotated[int, Field(ge=0)]
    audio: Annotated[list[str], Field(min_length=1)]
    requests: dict[str, list[str]] = Field(default_factory=dict)
    texts: list[str] = Field(default_factory=list)


class Bundle(Explained, Record):
    """The validated manifest.

    ``folder`` is where it was read from and is not part of it. In the file each record of
    ``meanings`` stands under its own key, and ``answers`` only where there are any.
    """

    format_version: Literal[1] = 1
    created_by: str
    source: Source
    architecture: dict[str, Any]
    framing: Framing
    meanings: Meanings = Field(default_factory=dict)
    answers: StoredAnswers | None = None
    artefacts: list[Artefact]
    folder: Path = Field(default=Path(), exclude=True)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, document: Any) -> Any:
        return gather(document)

    @model_serializer(mode="wrap")
    def _spread(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document = spread(dump(self))
        if document.get("answers") is None:
            document.pop("answers", None)
        return document

    @model_validator(mode="after")
    def _bind_artefacts(self) -> "Bundle":
        facts = self.framing.model_dump_json() + self.source.sha256
        facts += "".join(meaning.model_dump_json() for meaning in self.meanings.values())
        for artefact in self.artefacts:
            if artefact.tower == "text":
                self._check_text_tower(artefact)
            else:
                check_outputs(artefact.outputs, self.meanings)
            artefact._shared_facts = facts
        return self

    def _check_text_tower(self, artefact: Artefact) -> None:
        joint = self.joint
        if joint is None:
            raise ValueError(f"{artefact.name} is for texts, but the bundle has no joint space")
        if artefact.inputs != [IDS, MASK] or artefact.outputs != [joint.spec]:
            raise ValueError(f"{artefact.name} is not what a text tower is")
        if artefact.files.get(joint.tokenizer) != joint.tokenizer_sha256:
            raise ValueError(f"{artefact.name} is not bound to the tokenizer {joint.tokenizer}")

    @property
    def audio_artefacts(self) -> list[Artefact]:
        """The artefacts that take audio."""
        return [artefact for artefact in self.artefacts if artefact.tower is None]

    def artefact(
        self,
        name: str | None = None,
        *,
        allow_uncertified: bool = False,
        tower: Tower | None = None,
    ) -> Artefact:
        """The artefact called ``name``, or the only/first certified one, of those of a tower.

        Raises:
            BundleError: no such artefact, or it lacks a passing certificate.
        """
        artefacts = [each for each in self.artefacts if each.tower == tower]
        if tower is not None and not artefacts:
            raise BundleError(
                f"{self.folder}: knows no texts. muqrt export makes a bundle from a MuQ-MuLan's "
                "checkpoint that does, such as OpenMuQ/MuQ-MuLan-large."
            )
        if name is not None:
            chosen = [self.named(name, tower)]
        else:
            usable = [each for each in artefacts if each.certified or allow_uncertified]
            chosen = usable or artefacts
            if not chosen:
                raise BundleError(f"{self.folder}: the bundle has no artefact; export it again.")
        if not chosen[0].certified and not allow_uncertified:
            needed = "" if self.answers is not None else " --checkpoint CHECKPOINT"
            raise BundleError(
                f"{self.folder}: artefact {chosen[0].name!r} has no passing parity certificate. "
                f"Run: muqrt parity {self.folder}{needed}"
            )
        return chosen[0]

    def named(self, name: str, *towers: Tower | None) -> Artefact:
        """The artefact called ``name``, certified or not, of any tower or of one of these.

        Raises:
            BundleError: no such artefact.
        """
        artefacts = [each for each in self.artefacts if not towers or each.tower in towers]
        known = ", ".join(each.name for each in artefacts) or "none"
        for each in artefacts:
            if each.name == name:
                return each
        raise BundleError(f"{self.folder}: no artefact {name!r}; it has: {known}.")

    @property
    def files(self) -> dict[str, str]:
        """Every file that the manifest lists, with its SHA-256; the manifest itself is not one."""
        found = {name: digest for each in self.artefacts for name, digest in each.files.items()}
        if self.answers is not None:
            found[self.answers.file] = self.answers.sha256
        return found

    @property
    def has_levels(self) -> bool:
        """Whether it was exported to give every hidden state up to its level."""
        return any(levels_file(each.file) in each.files for each in self.artefacts)

    def path(self, name: str) -> Path:
        """Absolute path of one of the bundle's files.

        Raises:
            BundleError: it is missing, or it or a link leads outside the folder.
        """
        root = self.folder.resolve()
        try:
            path = (root / name).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # missing, a loop of links, no name at all
            path = root
        if not path.is_relative_to(root):
            raise BundleError(f"{self.folder}: {name} leads outside the bundle's folder.")
        if not path.is_file():
            raise BundleError(f"{self.folder}: {name} is missing; export the bundle again.")
        return path

    def verify(self, artefact: Artefact) -> None:
        """Hash the artefact's files and compare.

        Raises:
            BundleError: a file is missing or its bytes are not those that were certified.
        """
        self._verify(artefact.files)

    def verify_all(self) -> None:
        """Hash every file that the manifest lists, each once, and compare.

        Raises:
            BundleError: as ``verify``.
        """
        self._verify(self.files)

    def verified(self, name: str) -> Path:
        """Absolute path of a file that the manifest lists, hashed and compared.

        Raises:
            BundleError: as ``verify``.
        """
        self._verify({name: self.files[name]})
        return self.path(name)

    def _verify(self, files: Mapping[str, str]) -> None:
        for name, expected in files.items():
            if sha256(self.path(name)) != expected:
                raise BundleError(
                    f"{self.folder}: {name} has changed since it was exported (its SHA-256 is "
                    "not the manifest's). Export the bundle again, or copy it again."
                )

    def size_bytes(self, artefact: Artefact) -> int:
        """Size of the artefact's files on disk."""
        return sum(self.path(name).stat().st_size for name in artefact.files)

    def save(self, folder: Path) -> None:
        """Write ``bundle.json`` into ``folder``, whole or not at all."""
        with atomic_file(folder / MANIFEST) as temporary:
            temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_bundle(folder: str | Path) -> Bundle:
    """Read and validate a bundle's manifest; the artefacts' bytes are checked by ``verify``.

    Raises:
        BundleError: not a bundle, not valid, of an unknown version, or pointing outside itself.
    """
    folder = Path(folder)
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise BundleError(f"{folder}: no {MANIFEST} there. Make a bundle with: muqrt export")
    if manifest.stat().st_size > _MANIFEST_LIMIT_BYTES:
        raise BundleError(f"{manifest}: larger than any manifest; this is not a bundle.")
    try:
        document = read_json(manifest, _MANIFEST_LIMIT_BYTES)
    except (OSError, ValueError) as error:  # also a number too long, or too many brackets
        raise BundleError(f"{manifest}: not JSON ({error}). Export the bundle again.") from None
    version = document.get("format_version") if isinstance(document, dict) else None
    if type(version) is not int or version != FORMAT_VERSION:  # True equals 1
        raise BundleError(
            f"{manifest}: format version {version!r}; this muqrt reads version {FORMAT_VERSION}. "
            "Use the muqrt that wrote it, or export again."
        )
    document.pop("folder", None)
    try:
        return Bundle(**document, folder=folder)
    except ValidationError as error:
        problem = first_problem(error)
        raise BundleError(f"{manifest}: {problem}. Export the bundle again.") from None
