"""Train a tagging head on your own labels, put it into a bundle, and tag with it.

    python examples/train_head.py reference/checkpoints/muq-mini labelled/ trained/

``labelled/`` has a folder for each label with music in it: ``labelled/calm/a.mp3``. Four of five
tracks of a label are for training, the fifth is for testing. Files appear in ``trained/``:
the manifest, the head, and the bundle.
"""

import json
import subprocess
import sys
from pathlib import Path

import muqrt


def main(checkpoint: str, labelled: str, output: str) -> None:
    """Train, export, and tag the first track."""
    folder, work = Path(labelled).resolve(), Path(output)
    work.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "audio": str(path),
            "tags": [label.name],
            "split": "test" if index % 5 == 4 else "train",
        }
        for label in sorted(each for each in folder.iterdir() if each.is_dir())
        for index, path in enumerate(sorted(label.iterdir()))
    ]
    manifest = work / "manifest.jsonl"
    manifest.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    head, bundle = work / "head", work / "bundle"
    command("train", "probe", checkpoint, manifest, "--task", "tagging", "-o", head)
    command("export", checkpoint, "--head", head, "-o", bundle)  # proves the tags, too
    with muqrt.load(bundle) as model:
        for tag, score in model.tag(rows[0]["audio"]).tags(threshold=0.0):
            print(f"{tag} {score:.2f}")


def command(*arguments: object) -> None:
    """Run a muqrt command; it says itself what is wrong."""
    done = subprocess.run([sys.executable, "-m", "muqrt", *map(str, arguments)])
    if done.returncode != 0:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main(*sys.argv[1:])
