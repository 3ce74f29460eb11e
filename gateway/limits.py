"""How much one request to the gateway may ask."""

from dataclasses import dataclass

from ..triton_repo.front.limits import FrontLimits

# Of a phone in a poor network, after the first minute; and how long that may go on.
_BODY_BYTES_PER_SECOND = 16 << 10
_LONGEST_BODY_SECONDS = 1800.0


@dataclass(frozen=True)
class GatewayLimits:
    """Bounds of a request's audio, beside those of its bytes, which ``front`` has.

    Attributes:
        upload_bytes: of a body.
        audio_seconds: of one file.
        answer_seconds: for an answer, once a request has its slot.
        files: of a request.
        field_bytes: of a form without its files, and of a JSON body.
    texts: that are labels, or are compared with audio, of a request.
        streams: that are live at once; one client may have half of them.
        message_bytes: of a message of a stream.
        idle_seconds: for the next message of a stream.
        resume_seconds: for a client to come back to a stream whose socket broke off.
        ping_seconds: from one ping of a socket to the next, and for its answer.
    """

    upload_bytes: int = 256 << 20
    audio_seconds: float = 3600.0
    answer_seconds: float = 600.0
    files: int = 8
    field_bytes: int = 64 << 10
    texts: int = 1_000
    streams: int = 32
    message_bytes: int = 4 << 20
    idle_seconds: float = 60.0
    resume_seconds: float = 30.0
    ping_seconds: float = 20.0

    @property
    def front(self) -> FrontLimits:
        """The bounds of connections and bodies."""
        return FrontLimits(
            body_bytes=self.upload_bytes,
            body_bytes_per_second=_BODY_BYTES_PER_SECOND,
            longest_body_seconds=_LONGEST_BODY_SECONDS,
            # They lie on the disk.
            client_buffered_bytes=8 * self.upload_bytes,
            buffered_bytes=32 * self.upload_bytes,
        )
