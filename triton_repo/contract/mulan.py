"""``config.pbtxt`` of a MuQ-MuLan's models in Python: ``mulan_text`` and ``zeroshot``.

Texts travel as UTF-8 bytes, not as Triton's strings: the Python backend of the server in the
nvidia-pytriton wheel was built for numpy 1, and one string makes it abort in a Python with numpy 2.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field, PositiveInt, TypeAdapter
from pydantic.dataclasses import dataclass as validated

from ...runtime.bundle.joint import LATENTS, Joint
from ...runtime.engines.session import WAVEFORM
from .artefact import Contract
from .config import MODEL_NAME_PATTERN, OURS, ragged_input, scripted_config
from .limits import Limits

TEXT, LABELS, TEMPLATES, LABEL_SET = "text", "labels", "templates", "label_set"
COSINES, PROBABILITIES, CLIP_COSINES, NAMES = "cosines", "probabilities", "clip_cosines", "names"
UNLEARNED = "unlearned"
TEXT_TOWER, AUDIO_TOWER, LABEL_SETS = "muqrt.text_tower", "muqrt.audio_tower", "muqrt.label_sets"
WORDS = "muqrt.words"  # the SHA-256 of the file of the words that the model learned
# Texts in a batch. Short ones, such as labels, cost no more than a clip.
MOST_TEXTS = 64
_MOST_QUESTIONS = 8
_BATCHING = {"max_queue_delay_microseconds": 2_000}

Name = Annotated[str, Field(pattern=MODEL_NAME_PATTERN)]


@validated(frozen=True)
class Tower:
    """A tower that is served as a model of its own; the models in Python call it.

    Attributes:
        model: name of the tower's model on the server.
        max_batch_size: the largest batch that the tower takes.
    """

    model: Name
    max_batch_size: PositiveInt
    contract: Contract

    @property
    def joint(self) -> Joint:
        """The joint space of both towers."""
        assert self.contract.joint is not None  # it gives latents
        return self.contract.joint


_TOWER = TypeAdapter(Tower)


def tower_in(parameters: Mapping[str, str], name: str) -> Tower:
    """Read a tower from a model's parameters.

    Raises:
        KeyError: the tower is missing, so muqrt did not write the model.
        ValueError: the parameter is not what muqrt writes.
    """
    return _TOWER.validate_json(parameters[name])


def tower_as_text(tower: Tower) -> str:
    """A tower as a model's parameter."""
    return _TOWER.dump_json(tower).decode()


@dataclass(frozen=True)
class TextConfig:
    """The model that embeds texts.

    Texts of different lengths share batches of the tower. Repeated texts are answered from the
    model's own memory, not from the server's response cache: that one returns refusals and
    cancelled requests as empty answers, and takes two texts in a request for one.

    Attributes:
        words_sha256: hash of the file of the words that the model learned; None without one.
    """

    name: str
    tower: Tower
    limits: Limits = field(default_factory=Limits)
    words_sha256: str | None = None

    @property
    def towers(self) -> list[Tower]:
        """The towers that the model calls."""
        return [self.tower]

    def to_protobuf(self) -> Any:
        """The configuration as ``tritonclient.grpc.model_config_pb2.ModelConfig``."""
        width = self.tower.joint.width
        return scripted_config(
            {
                OURS: self.tower.contract.artefact_sha256,
                TEXT_TOWER: tower_as_text(self.tower),
                **self.limits.to_parameters("max_text_bytes"),
                **_words_parameter(self.words_sha256),
            },
            name=self.name,
            max_batch_size=MOST_TEXTS,
            input=[ragged_input(TEXT, "TYPE_UINT8", optional=False)],
            output=[
                {"name": LATENTS, "data_type": "TYPE_FP32", "dims": [width]},
                *_words_output(self.words_sha256),
            ],
            dynamic_batching=_BATCHING,
        )


@dataclass(frozen=True)
class ZeroShotConfig:
    """The model that scores how well labels, or a label set, describe a waveform.

    Attributes:
        label_sets: folder of the label sets on the server's machine; the folder in the model's
            version when None.
        words_sha256: as ``TextConfig``'s.
    """

    name: str
    audio: Tower
    text: Tower
    label_sets: str | None = None
    limits: Limits = field(default_factory=Limits)
    words_sha256: str | None = None

    @property
    def towers(self) -> list[Tower]:
        """The towers that the model calls."""
        return [self.audio, self.text]

    def to_protobuf(self) -> Any:
        """The configuration as ``tritonclient.grpc.model_config_pb2.ModelConfig``."""
        parameters = {
            OURS: self.audio.contract.artefact_sha256,
            AUDIO_TOWER: tower_as_text(self.audio),
            TEXT_TOWER: tower_as_text(self.text),
            **self.limits.to_parameters(
                "max_track_seconds", "max_labels", "max_text_bytes", "max_question_bytes"
            ),
            **_words_parameter(self.words_sha256),
        }
        if self.label_sets is not None:
            parameters[LABEL_SETS] = self.label_sets
        return scripted_config(
            parameters,
            name=self.name,
            max_batch_size=_MOST_QUESTIONS,
            input=[
                ragged_input(WAVEFORM, "TYPE_FP32", optional=False),
                *(ragged_input(name, "TYPE_UINT8") for name in (LABELS, TEMPLATES, LABEL_SET)),
            ],
            output=[
                {"name": COSINES, "data_type": "TYPE_FP32", "dims": [-1]},
                {"name": PROBABILITIES, "data_type": "TYPE_FP32", "dims": [-1]},
                {"name": CLIP_COSINES, "data_type": "TYPE_FP32", "dims": [-1, -1]},
                {"name": NAMES, "data_type": "TYPE_UINT8", "dims": [-1]},
                *_words_output(self.words_sha256),
            ],
            dynamic_batching=_BATCHING,
        )


def _words_parameter(words_sha256: str | None) -> dict[str, str]:
    return {} if words_sha256 is None else {WORDS: words_sha256}


def _words_output(words_sha256: str | None) -> list[dict[str, Any]]:
    """None for a model that does not say which words it learned."""
    if words_sha256 is None:
        return []
    return [{"name": UNLEARNED, "data_type": "TYPE_UINT8", "dims": [-1]}]
