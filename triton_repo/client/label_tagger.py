"""Zero-shot tags from a Triton server's ``zeroshot`` model."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from ...errors import AudioError, MissingDependencyError, ServerError
from ...runtime.audio.damage import USUAL, Tolerance
from ...runtime.audio.read import load
from ...runtime.audio.tracks import AudioFile
from ...runtime.inference.clips import ClippingConfig
from ...runtime.inference.runner import OnWindow
from ...runtime.text.labels import LabelSet
from ...runtime.text.zero_shot import LabelTags, ZeroShot
from ..contract.mulan import AUDIO_TOWER, tower_in
from .connection import Connection, contract_in
from .endpoint import Endpoint
from .session import TIMEOUT_SECONDS
from .zero_shot import ask_labels

# gRPC's status for audio that the server cannot use; it is in the message.
_REFUSED = "INVALID_ARGUMENT"


class ServedLabelTagger:
    """Like ``LabelTagger``, with both towers on a server, which embeds the labels too.

    Args:
        url: host and port of the server's gRPC endpoint.
        labels: the labels to score, with their templates.
        model: name of the zero-shot model on the server.
        timeout_seconds: how long the answer for one track may take.
        tolerance: how much damage of a file is accepted.

    Attributes:
        zero_shot: what is known of the labels; once the server has answered, also which of their
            words its model did not learn, if it says so.
        framing: how audio is cut for the model.

    Raises:
        ServerError: the server cannot be reached, or has no such model.
        MissingDependencyError: tritonclient is not installed.
    """

    def __init__(
        self,
        url: str | Endpoint,
        labels: LabelSet,
        model: str = "zeroshot",
        timeout_seconds: float = TIMEOUT_SECONDS,
        tolerance: Tolerance = USUAL,
    ) -> None:
        self._tolerance = tolerance
        self._url, self._model, self._timeout_seconds = url, model, timeout_seconds
        with Connection(url) as connection:
            tower = contract_in(
                connection.call("get_model_config", model, timeout_seconds),
                lambda parameters: tower_in(parameters, AUDIO_TOWER),
                f"Model {model!r} at {url} takes no labels",
                "Write one that does from a MuQ-MuLan's bundle with: muqrt repository",
            )
        self.framing = tower.contract.framing
        self._rate_hz = self.framing.sample_rate_hz
        self._clipping = ClippingConfig(self.framing, tower.joint.clip_samples)
        clip_seconds = tower.joint.clip_samples / self._rate_hz
        self.zero_shot = ZeroShot(labels, tower.joint.temperature, clip_seconds)

    def tag_files(
        self, paths: Iterable[AudioFile], on_window: OnWindow | None = None
    ) -> Iterator[tuple[AudioFile, LabelTags | AudioError]]:
        """Tag many files; a bad file does not stop the others.

        ``on_window`` is called with each of a file's clips, once the server has answered.

        Yields:
            (path, its labels or the error of a bad file), in order.

        Raises:
            ServerError: the server cannot be reached, or failed.
        """
        for path in paths:
            try:
                yield path, self._tag(path, on_window)
            except AudioError as error:
                yield path, error
            except MissingDependencyError as error:
                yield path, AudioError(str(error))

    def _tag(self, path: AudioFile, on_window: OnWindow | None) -> LabelTags:
        waveform = load(path, self._rate_hz, self._tolerance)
        labels = self.zero_shot.labels
        try:
            answer = ask_labels(
                self._url,
                waveform,
                labels.labels,
                self._model,
                templates=labels.templates,
                timeout_seconds=self._timeout_seconds,
            )
        except ServerError as error:
            if _REFUSED in str(error):
                raise AudioError(f"{path}: {error}") from None
            raise
        if self.zero_shot.unlearned is None:
            self.zero_shot = replace(self.zero_shot, unlearned=answer.unlearned)
        clips = list(self._clipping.cut([waveform], str(path)))
        if on_window is not None:
            for clip in clips:
                on_window(clip)
        silent = np.array([clip.is_silent for clip in clips])
        seconds = len(waveform) / self._rate_hz
        return self.zero_shot.describe(answer.cosines, answer.clip_cosines, silent, seconds)
