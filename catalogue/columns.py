"""The outputs of a job as columns of its parts: how each is computed, described and stored."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BundleError
from ..runtime.audio.tracks import Audio
from ..runtime.bundle.joint import Joint
from ..runtime.bundle.manifest import Artefact, Bundle
from ..runtime.bundle.output import Output
from ..runtime.bundle.tagging import Tagging
from ..runtime.bundle.tokens import Tokenizer, arrow_tokens
from ..runtime.inference.clips import ClippingConfig
from ..runtime.inference.windows import WindowingConfig, WindowLength

if TYPE_CHECKING:
    from ..runtime.model import Model

_WIDTH, _WINDOWING = "width", "windowing"


class Column(ABC):
    """One output of a job, float32 (width,) a track; tokens are otherwise."""

    @abstractmethod
    def facts(
        self, bundle: Bundle, artefact: Artefact, window: WindowLength | None
    ) -> dict[str, Any]:
        """What the numbers depend on beside the artefact, and their shape, as JSON.

        Raises:
            BundleError: the artefact lacks this output.
        """

    @abstractmethod
    def compute(
        self, model: "Model", audio: Audio, rate_hz: int | None, window: WindowLength | None
    ) -> np.ndarray:
        """One track's value."""

    def arrow_type(self, facts: dict[str, Any]) -> Any:
        """The column's type in Arrow."""
        import pyarrow

        return pyarrow.list_(pyarrow.float32(), facts[_WIDTH])

    def arrow(self, values: Sequence[np.ndarray], facts: dict[str, Any]) -> Any:
        """Tracks' values as an array of ``arrow_type``."""
        import pyarrow

        flat = np.concatenate(values) if values else np.zeros(0, np.float32)
        return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(flat), facts[_WIDTH])


class _Embedding(Column):
    def facts(
        self, bundle: Bundle, artefact: Artefact, window: WindowLength | None
    ) -> dict[str, Any]:
        found = [spec for spec in artefact.outputs if spec.name == "features"]
        if not found:
            raise BundleError(f"{bundle.folder}: artefact {artefact.name!r} has no embeddings.")
        windowing = WindowingConfig.of(bundle.framing, window).facts
        return {_WIDTH: int(found[0].shape[-1]), _WINDOWING: windowing}

    def compute(
        self, model: "Model", audio: Audio, rate_hz: int | None, window: WindowLength | None
    ) -> np.ndarray:
        return model.embed(audio, rate_hz, window=window)


class _Tags(Column):
    def facts(
        self, bundle: Bundle, artefact: Artefact, window: WindowLength | None
    ) -> dict[str, Any]:
        tagging = _meaning(bundle, artefact, Tagging)
        windowing = WindowingConfig.every(bundle.framing, tagging.window_seconds).facts
        names = tagging.model_dump(include={"vocabulary", "thresholds", "groups"})
        return {_WIDTH: len(tagging.vocabulary), _WINDOWING: windowing, **names}

    def compute(
        self, model: "Model", audio: Audio, rate_hz: int | None, window: WindowLength | None
    ) -> np.ndarray:
        return model.tag(audio, rate_hz).scores


class _Latents(Column):
    def facts(
        self, bundle: Bundle, artefact: Artefact, window: WindowLength | None
    ) -> dict[str, Any]:
        joint = _meaning(bundle, artefact, Joint)
        windowing = ClippingConfig(bundle.framing, joint.clip_samples).facts
        return {_WIDTH: joint.width, _WINDOWING: windowing}

    def compute(
        self, model: "Model", audio: Audio, rate_hz: int | None, window: WindowLength | None
    ) -> np.ndarray:
        return model.embed_audio(audio, rate_hz)


class _Tokens(Column):
    """Integers (stages, steps), as a list of stages that are lists of steps."""

    def facts(
        self, bundle: Bundle, artefact: Artefact, window: WindowLength | None
    ) -> dict[str, Any]:
        tokenizer = _meaning(bundle, artefact, Tokenizer)
        facts = tokenizer.model_dump() | {"dtype": tokenizer.file_dtype.name}
        if tokenizer.level is not None:
            facts[_WINDOWING] = WindowingConfig.of(bundle.framing).facts
        return facts

    def compute(
        self, model: "Model", audio: Audio, rate_hz: int | None, window: WindowLength | None
    ) -> np.ndarray:
        return model.tokens(audio, rate_hz)

    def arrow_type(self, facts: dict[str, Any]) -> Any:
        import pyarrow

        return pyarrow.list_(pyarrow.list_(pyarrow.from_numpy_dtype(facts["dtype"])))

    def arrow(self, values: Sequence[np.ndarray], facts: dict[str, Any]) -> Any:
        import pyarrow

        if not values:
            return pyarrow.array([], self.arrow_type(facts))
        return arrow_tokens([each.astype(facts["dtype"]) for each in values])


def _meaning(bundle: Bundle, artefact: Artefact, kind: type[Output]) -> Any:
    found = bundle.meaning(kind)
    if found is None or kind.output not in [spec.name for spec in artefact.outputs]:
        raise BundleError(f"{bundle.folder}: {kind.how_to_get}")
    return found


COLUMNS: dict[str, Column] = {
    "embedding": _Embedding(),
    "tags": _Tags(),
    "tokens": _Tokens(),
    "latents": _Latents(),
}
