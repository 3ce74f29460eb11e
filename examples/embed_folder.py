"""Embed a folder of music, and find the nearest neighbour of each track.

    python examples/embed_folder.py bundle/ music/

The embeddings are saved as ``music/embeddings.npz``, one array for each file, under its name.
"""

import sys
from pathlib import Path

import numpy as np

import muqrt

FORMATS = {".flac", ".m4a", ".mp3", ".ogg", ".opus", ".wav"}


def main(bundle: str, folder: str) -> None:
    """Embed every file below the folder and print its nearest neighbour."""
    files = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in FORMATS)
    embeddings = {}
    with muqrt.load(bundle) as model:
        for path, found in model.embed_files(files):
            if isinstance(found, muqrt.AudioError):  # one bad file does not stop the others
                print(f"left out: {found}", file=sys.stderr)
            else:
                embeddings[str(Path(path).relative_to(folder))] = found
    np.savez(Path(folder) / "embeddings.npz", **embeddings)
    if len(embeddings) < 2:
        return
    names, vectors = list(embeddings), np.stack(list(embeddings.values()))  # (tracks, width)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T  # (tracks, tracks)
    np.fill_diagonal(cosines, -1)  # a track is not its own neighbour
    for name, row in zip(names, cosines, strict=True):
        print(f"{name}: nearest {names[row.argmax()]} ({row.max():.3f})")


if __name__ == "__main__":
    main(*sys.argv[1:])
