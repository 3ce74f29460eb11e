"""Music and texts in one space: what a MuQ-MuLan's two towers give."""

import warnings
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from ..common.closing import Closing
from ..common.words import unlearned_line
from ..errors import AudioError, BundleError
from .audio.damage import Tolerance
from .audio.tracks import SECONDS_AHEAD, Audio, AudioFile, Audios, as_tracks, one_track
from .bundle.joint import Joint
from .engines.session import Session, require_output
from .inference.clips import LastClip
from .inference.results import by_file, clip_latents, or_raise, track_latents
from .inference.runner import OnWindow, Runner
from .inference.windows import refuse_window
from .text.encoder import TextEncoder
from .text.texts import Texts


class MusicAndText(Closing):
    """The methods of ``Model`` that place music and texts in one space.

    Args:
        session: the audio tower, closed with the model.
        batch_size: how many clips to run at once.
        open_texts: opens the text tower when texts are first asked for; it is closed with the
            model.
        tolerance: how much damage of a file is accepted.
        seconds_ahead: how much audio to decode in advance.
    """

    def __init__(
        self,
        session: Session,
        batch_size: int,
        open_texts: Callable[[], TextEncoder] | None,
        tolerance: Tolerance | None = None,
        seconds_ahead: int = SECONDS_AHEAD,
    ) -> None:
        self.session = session
        self._runner = Runner(session, batch_size, tolerance, seconds_ahead)
        self._open_texts = open_texts
        self._texts: TextEncoder | None = None
        self._reopen: Callable[[], Closing] | None = None

    def reopened_by(self, reopen: Callable[[], Closing]) -> None:
        """Say what opens the same model in another process, and when it is pickled."""
        self._reopen = reopen

    def __reduce__(self) -> tuple[Callable[[], Closing], tuple[()]]:
        """Pickle what opens the model again, in place of the model.

        Raises:
            TypeError: the model was made from a session.
        """
        if self._reopen is None:
            raise TypeError(
                "a Model made from a session cannot be pickled, because its session cannot: open "
                "one in each process, or use muqrt.load, whose models are opened again by path."
            )
        return self._reopen, ()

    @property
    def joint(self) -> Joint:
        """The space that music and texts share.

        Raises:
            BundleError: the model has none.
        """
        return require_output(self.session, Joint)

    @property
    def texts(self) -> TextEncoder:
        """The text tower.

        Raises:
            BundleError: the model has none.
        """
        if self._texts is None:
            if self._open_texts is None:
                raise BundleError("this model was opened without a text tower: use muqrt.load.")
            self._texts = self._open_texts()
        return self._texts

    def embed_audio(
        self,
        x: Audio | Audios,
        rate_hz: int | None = None,
        on_window: OnWindow | None = None,
        last_clip: LastClip = "wrapped",
        window: None = None,
    ) -> np.ndarray:
        """A track's place among texts: the mean of its clips' embeddings, as the official package
        has it, so not of length one.

        Args:
            x: an audio file's path or an array, (samples,) or (channels, samples), or a list.
            rate_hz: an array's sample rate.
            on_window: called after each clip.
            last_clip: what fills an incomplete last clip: the track's beginning, or silence
                ("padded").
            window: none; there is no choice.

        Returns:
            float32 (width,), or (tracks, width) for a list.

        Raises:
            BundleError: the model shares no space with texts. UsageError: a ``window``.
        """
        refuse_window(window, "latents")
        given = as_tracks(x, rate_hz)
        found = or_raise(track_latents(self._runner, given, last_clip, on_window))
        return np.stack(found) if isinstance(x, (list, tuple)) else found[0]

    def embed_audio_files(
        self, paths: Iterable[AudioFile], on_window: OnWindow | None = None
    ) -> Iterator[tuple[AudioFile, np.ndarray | AudioError]]:
        """``embed_audio`` of many files; one that cannot be used does not stop the others.

        Yields:
            (path, float32 (width,) or what is wrong with the file), in order.
        """
        given = map(one_track, paths)
        return by_file(track_latents(self._runner, given, "wrapped", on_window))

    def clip_latents(
        self, x: Audio, rate_hz: int | None = None, on_window: OnWindow | None = None
    ) -> np.ndarray:
        """The embeddings of a track's clips, float32 (clips, width), each of length one.

        Raises:
            BundleError: the model shares no space with texts.
        """
        given = [one_track(x, rate_hz)]
        return or_raise(clip_latents(self._runner, given, "wrapped", on_window))[0]

    def embed_text(self, texts: Texts) -> np.ndarray:
        """Embeddings of texts, float32 (texts, width), each of length one.

        A string is one text. Words that the model did not learn are a warning; a model that does
        not say what it learned gives none.

        Raises:
            BundleError: the model has no text tower. UsageError: no text, or an item that is not
                text.
        """
        return self._embedded(texts)

    def similarity(self, x: Audio | Audios, texts: Texts, rate_hz: int | None = None) -> np.ndarray:
        """How well each text describes each track: the cosine of their embeddings, -1 to 1.

        A string is one text.

        Returns:
            float32 (texts,), or (tracks, texts) for a list.

        Raises:
            BundleError: the model has no text tower.
        """
        words, music = self._embedded(texts), self.embed_audio(x, rate_hz)
        cosines: np.ndarray = music @ words.T / np.linalg.norm(music, axis=-1, keepdims=True)
        return cosines

    def _embedded(self, texts: Texts) -> np.ndarray:
        """Texts' embeddings, with a warning where the caller's caller asks for them."""
        found = self.texts.encode(texts)
        if unlearned := self.texts.unlearned(texts):
            warnings.warn(unlearned_line(unlearned), stacklevel=3)
        return found

    def close(self) -> None:
        """Close the session, and the text tower's."""
        self.session.close()
        if self._texts is not None:
            self._texts.close()
