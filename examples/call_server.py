"""Call a Triton server that ``muqrt serve`` started: embeddings, tags, and a live stream.

    muqrt repository mini/ -o models/ --stream
    muqrt serve models/
    python examples/call_server.py localhost:8001 song.flac

A client needs no bundle: the server says what its outputs mean.
"""

import sys

import muqrt

RATE_HZ = 24_000


def main(url: str, song: str) -> None:
    """Ask the models ``muq`` and ``muq_stream``."""
    # The same Model as on a local bundle: decoding, windows and stitching are the client's.
    with muqrt.Model(muqrt.TritonSession(url), batch_size=4) as model:
        print("embedding", model.embed(song).shape)
        for tag, score in model.tag(song).tags()[:5]:
            print(f"{tag} {score:.2f}")
    with muqrt.StreamingClient(url) as client:
        names = client.tagging.vocabulary
        for hop in client.stream(muqrt.chunks_from_file(song, RATE_HZ, False), RATE_HZ):
            scores = hop.outputs["tags"]
            print(f"{hop.end_seconds:.1f} s: {names[scores.argmax()]} {scores.max():.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
