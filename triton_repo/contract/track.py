"""``config.pbtxt`` of ``track``: an encoded file in, its tags and its embedding out."""

from dataclasses import dataclass, field
from typing import Any

from ...errors import UsageError
from ...runtime.bundle.tagging import TAGS
from ...runtime.inference.results import EMBEDDING, FEATURES
from .config import OURS, ragged_input, scripted_config
from .limits import Limits
from .mulan import Tower, tower_as_text

AUDIO = "audio"
# The parameter that says which model runs the windows.
TRACK_MODEL = "muqrt.track_model"
# Each is decoded in its turn; the windows of all share the other model's batches.
_MOST_FILES = 8


@dataclass(frozen=True)
class TrackConfig:
    """The model that takes a file as it is. Its only input is bytes, so that a client need not
    describe it: Triton's raw binary request does.

    Attributes:
        model: the model that runs the windows.
        limits: of a file.

    Raises:
        UsageError: that model gives neither tags nor an embedding.
    """

    name: str
    model: Tower
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.outputs:
            raise UsageError(
                "--track needs the output tags, or embedding and features: add it to --outputs."
            )

    @property
    def towers(self) -> list[Tower]:
        """The models that it calls."""
        return [self.model]

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """Its outputs: those of the two that the other model gives."""
        contract = self.model.contract
        widths = {spec.name: spec.shape[-1] for spec in contract.outputs}
        return [
            {"name": name, "data_type": "TYPE_FP32", "dims": [widths[name]]}
            for name in (TAGS, EMBEDDING)
            # A long track's embedding is made from its windows' features.
            if name in widths and (name == TAGS or FEATURES in widths)
        ]

    def to_protobuf(self) -> Any:
        """The configuration as ``tritonclient.grpc.model_config_pb2.ModelConfig``."""
        return scripted_config(
            {
                OURS: self.model.contract.artefact_sha256,
                TRACK_MODEL: tower_as_text(self.model),
                **self.limits.to_parameters("max_track_seconds", "max_file_bytes"),
            },
            name=self.name,
            max_batch_size=_MOST_FILES,
            input=[ragged_input(AUDIO, "TYPE_UINT8", optional=False)],
            output=self.outputs,
            dynamic_batching={"default_queue_policy": {"max_queue_size": 64}},
        )
