"""Tag live audio: print when each tag begins and ends, while the music plays.

    python examples/live_tags.py mini/ microphone
    python examples/live_tags.py mini/ https://radio.example/live.mp3
    python examples/live_tags.py mini/ song.flac

The bundle needs a tagging head. Stop with Ctrl-C.
"""

import sys
from collections.abc import Iterator

import numpy as np

import muqrt

RATE_HZ = 24_000  # the sources resample to the model's rate


def chunks(source: str) -> Iterator[np.ndarray]:
    """Mono samples, chunk by chunk, as they come."""
    if source == "microphone":
        return muqrt.chunks_from_microphone(None, RATE_HZ)
    if source.startswith(("http://", "https://")):
        return muqrt.chunks_from_url(source, RATE_HZ)
    return muqrt.chunks_from_file(source, RATE_HZ, real_time=False)  # as fast as possible


def main(bundle: str, source: str) -> None:
    """Print each event as soon as it is known."""
    with muqrt.open_bundle(bundle) as session:
        streaming = muqrt.Streaming(session)
        stream = streaming.open(RATE_HZ)
        events = muqrt.TagEvents(session.tagging, muqrt.Smoothing(minimum_seconds=1.0))
        end_seconds = 0.0
        try:
            for chunk in chunks(source):
                for hop in streaming.push(stream, chunk):
                    end_seconds = hop.end_seconds
                    for event in events.push(hop):
                        print(event, flush=True)
        except KeyboardInterrupt:
            pass  # what was heard so far is answered below
        for hop in streaming.finish(stream):
            end_seconds = hop.end_seconds
            for event in events.push(hop):
                print(event)
        for event in events.finish(end_seconds):
            print(event)


if __name__ == "__main__":
    main(*sys.argv[1:])
