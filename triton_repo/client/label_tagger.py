"""Tags from words by a Triton server: its model for labels, as ``muqrt repository`` writes it."""

from collections.abc import Iterable, Iterator

from ...errors import AudioError, MissingDependencyError, ServerError
from ...runtime.audio.read import load
from ...runtime.audio.tracks import AudioFile
from ...runtime.text.labels import LabelSet
from ...runtime.text.zero_shot import LabelTags, ZeroShot
from ..contract.mulan import AUDIO_TOWER, tower_in
from .connection import Connection, config_arguments, contract_in
from .session import TIMEOUT_SECONDS
from .zero_shot import tag_labels

# gRPC's name for what the server says of audio that it cannot use, here or in ``explained``.
_REFUSED = "INVALID_ARGUMENT"


class ServedLabelTagger:
    """A ``LabelTagger`` whose towers are on a server, which embeds the labels too.

    Args:
        url: host and port of the server's gRPC endpoint.
        labels: the user's.
        model: the server's name for its model that takes labels.
        timeout_seconds: for one track.

    Raises:
        ServerError: the server cannot be reached, or has no such model.
        MissingDependencyError: tritonclient is not installed.
    """

    def __init__(
        self,
        url: str,
        labels: LabelSet,
        model: str = "zeroshot",
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        self._url, self._model, self._timeout_seconds = url, model, timeout_seconds
        with Connection(url) as connection:
            arguments = config_arguments(model, timeout_seconds)
            tower = contract_in(
                connection.call("get_model_config", model, **arguments),
                lambda parameters: tower_in(parameters, AUDIO_TOWER),
                f"Model {model!r} at {url} takes no labels",
                "Write one that does from a MuQ-MuLan's bundle with: muqrt repository",
            )
        self._rate_hz = tower.contract.framing.sample_rate_hz
        clip_seconds = tower.joint.clip_samples / self._rate_hz
        self.zero_shot = ZeroShot(labels, tower.joint.temperature, clip_seconds)

    def tag_files(
        self, paths: Iterable[AudioFile]
    ) -> Iterator[tuple[AudioFile, LabelTags | AudioError]]:
        """Tag many files; one that cannot be used does not stop the others.

        Yields:
            (path, its labels or what is wrong with the file), in order.

        Raises:
            ServerError: the server went away, or gave up.
        """
        for path in paths:
            try:
                yield path, self._tag(path)
            except AudioError as error:
                yield path, error
            except MissingDependencyError as error:
                yield path, AudioError(str(error))

    def _tag(self, path: AudioFile) -> LabelTags:
        waveform, labels = load(path, self._rate_hz), self.zero_shot.labels
        try:
            answer = tag_labels(
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
        seconds = len(waveform) / self._rate_hz
        return self.zero_shot.describe(answer.cosines, answer.clip_cosines, seconds)
