"""What happens between a mix and its file: compressor, equaliser, room, tape, loudness, codec.

None of it depends on what is played, so that no label can be read from it.
"""

import io
from dataclasses import dataclass

import numpy as np
import soundfile
from scipy.signal import butter, sosfilt

from ..effects.compressor import Compressor
from ..effects.equaliser import Band, equalised, tilted
from ..effects.level import mastered
from ..effects.lossy import CODECS, Codec, round_trip
from ..effects.room import Room
from ..effects.tape import Tape
from ..synthesizer import SAMPLE_RATE_HZ

_MOST_CENTS = 45.0
_SHARES = {"room": 0.7, "compressor": 0.6, "equaliser": 0.7, "tape": 0.25, "codec": 0.3}
_BANDS = (1, 4)
_BAND_DB, _TILT_DB = 7.0, 5.0
_LUFS = ((-24.0, 0.25), (-16.0, 0.25), (-11.0, 0.5))  # mean and share: soft, streamed, loud
_LUFS_SPREAD = 2.5
_CEILING = (0.7, 0.99)
_FADE_SECONDS = 0.02
_CENTRE = butter(1, 20.0, "highpass", fs=SAMPLE_RATE_HZ, output="sos")
_QUIETEST, _LOUDEST = -34.0, -6.0


@dataclass(frozen=True)
class Production:
    """A production; None where a thing was not done.

    Args:
        cents: tuning of the instruments.
        room, compressor, tape: as they are called.
        bands: of the equaliser.
        tilt_db: treble over bass.
        lufs: loudness wanted.
        ceiling: of the peaks.
        codec: of a lossy round trip.
        bit_rate: among the codec's, counted.
        suffix: of the file.
    """

    cents: float
    room: Room | None
    compressor: Compressor | None
    bands: tuple[Band, ...]
    tilt_db: float
    tape: Tape | None
    lufs: float
    ceiling: float
    codec: Codec | None
    bit_rate: int
    suffix: str = ".flac"

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "Production":
        """Draw a production."""
        chances = dict(zip(_SHARES, rng.random(len(_SHARES)), strict=True))
        done = {name: chances[name] < share for name, share in _SHARES.items()}
        cents = float(rng.uniform(-_MOST_CENTS, _MOST_CENTS))
        room, compressor, tape = Room.sample(rng), Compressor.sample(rng), Tape.sample(rng)
        bands = tuple(
            Band(
                float(np.exp(rng.uniform(np.log(60), np.log(9000)))),
                float(rng.uniform(-_BAND_DB, _BAND_DB)),
                float(np.exp(rng.uniform(np.log(0.4), np.log(2.5)))),
            )
            for _ in range(int(rng.integers(*_BANDS)))
        )
        mean = rng.choice([lufs for lufs, _ in _LUFS], p=[share for _, share in _LUFS])
        codec = CODECS[int(rng.integers(len(CODECS)))]
        return cls(
            cents,
            room if done["room"] else None,
            compressor if done["compressor"] else None,
            bands if done["equaliser"] else (),
            float(rng.uniform(-_TILT_DB, _TILT_DB)) if done["equaliser"] else 0.0,
            tape if done["tape"] else None,
            float(np.clip(rng.normal(mean, _LUFS_SPREAD), _QUIETEST, _LOUDEST)),
            float(rng.uniform(*_CEILING)),
            codec if done["codec"] else None,
            int(rng.integers(len(codec.kilobits))),
        )

    def record(self, rng: np.random.Generator, audio: np.ndarray) -> np.ndarray:
        """The mix as released, (samples,) in, (samples,) float32 out."""
        # Some soundfonts' samples are not centred; what is released is.
        heard = sosfilt(_CENTRE, audio.astype(np.float64))
        if self.room:
            heard = self.room.within(rng, heard)
        if self.compressor:
            heard = self.compressor.compressed(heard)
        heard = equalised(heard, self.bands)
        if self.tilt_db:
            heard = tilted(heard, self.tilt_db)
        if self.tape:
            heard = self.tape.played(rng, heard)
        fade = np.ones(len(heard))
        samples = round(_FADE_SECONDS * SAMPLE_RATE_HZ)
        fade[-samples:] = np.linspace(1, 0, samples)
        heard = mastered(heard * fade, self.lufs, self.ceiling)
        if self.codec:
            heard = round_trip(heard, self.codec, self.codec.kilobits[self.bit_rate])
        return np.clip(heard, -1.0, 1.0 - 2**-15).astype(np.float32)

    def encode(self, audio: np.ndarray) -> bytes:
        """The bytes of the file."""
        buffer = io.BytesIO()
        soundfile.write(buffer, audio, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
        return buffer.getvalue()
