"""How much one client may ask of the front."""

from dataclasses import dataclass
from math import inf


@dataclass(frozen=True)
class FrontLimits:
    """Bounds of a connection and of a request; what exceeds one is refused.

    Attributes:
        connections: open at once.
        header_bytes: of a request's first line and headers together.
        headers: of a request.
        chunks: of a body that is sent in chunks.
        head_seconds: for the headers to arrive.
        body_seconds: for the body to arrive, and for the client to take what it is sent.
        body_bytes_per_second: that a body arrives with: each piece prolongs its time.
        longest_body_seconds: for a body to arrive, however fast.
        answer_seconds: for the server to answer.
        body_bytes: of a body; 64 MiB are 11 minutes of float32 at 24 kHz.
        json_bytes: of a body, or the part of one, that is JSON.
        structure_bytes: of that JSON without its long lists of numbers.
        buffered_bytes: of all bodies on their way at once.
        client_buffered_bytes: of those of one client.
        grpc_message_bytes: of a message over gRPC; an hour of float32 at 24 kHz is 330 MiB.
    """

    connections: int = 1024
    header_bytes: int = 16 << 10
    headers: int = 64
    chunks: int = 16_384
    head_seconds: float = 10.0
    body_seconds: float = 60.0
    body_bytes_per_second: float = inf
    longest_body_seconds: float = inf
    answer_seconds: float = 600.0
    body_bytes: int = 64 << 20
    json_bytes: int = 16 << 20
    structure_bytes: int = 256 << 10
    buffered_bytes: int = 1 << 30
    client_buffered_bytes: int = 512 << 20
    grpc_message_bytes: int = 384 << 20
