"""Free music in Debian's packages: the list, and packages unpacked."""

import shutil
import subprocess
import zipfile

import numpy as np
import pytest
import soundfile

from muqrt.benchmarks.accuracy import debian_music
from muqrt.benchmarks.accuracy.datasets import read_dataset
from muqrt.benchmarks.accuracy.debian_music import MusicList, music_list
from muqrt.errors import AudioError

RATE_HZ = 24_000


def test_the_list_contradicts_itself_nowhere():
    listed = music_list()
    assert len({package.name for package in listed.packages}) == len(listed.packages)
    assert {package.split for package in listed.packages} == {"valid", "test"}
    for fact in listed.facts.values():
        assert {*fact.holds, *fact.excludes} <= set(listed.words)
    for package in listed.packages:
        for track in package.tracks:
            names = [f for each in package.says if track in each.tracks for f in each.facts]
            holds = {tag for name in names for tag in listed.facts[name].holds}
            excludes = {tag for name in names for tag in listed.facts[name].excludes}
            assert not holds & excludes, (package.name, track)


def test_both_splits_have_what_thresholds_are_set_for():
    """Families of genres, energy, mood and tempo; a tag of one split alone is not judged."""
    listed = music_list()
    held: dict[str, set[str]] = {"valid": set(), "test": set()}
    for package in listed.packages:
        for fact in {fact for each in package.says for fact in each.facts}:
            held[package.split].update(listed.facts[fact].holds)
    families = {"rock and metal", "orchestral", "electronic"}
    assert {*families, "calm", "energetic", "sad", "tense", "fast", "moderate"} <= (
        held["valid"] & held["test"]
    )


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is Debian's")
def test_a_package_is_unpacked_and_stems_are_added(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    drums, guitar = (generator.uniform(-0.4, 0.4, RATE_HZ + extra) for extra in (0, 500))
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: tiny-music\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: a\n"
    )
    (tree / "usr/songs").mkdir(parents=True)
    soundfile.write(tree / "usr/songs/drums.wav", drums, RATE_HZ)
    soundfile.write(tree / "usr/songs/guitar.wav", guitar, RATE_HZ)
    with zipfile.ZipFile(tree / "usr/more.pk3", "w") as archive:
        archive.write(tree / "usr/songs/drums.wav", "usr/songs/inside.wav")
    home = tmp_path / "home"
    home.mkdir()
    command = ["dpkg-deb", "--root-owner-group", "--build", tree, home / "tiny-music_1_all.deb"]
    subprocess.run(command, check=True, capture_output=True)
    says = [
        {"tracks": ["drums.wav + guitar.wav", "inside.wav"], "facts": ["metal"], "source": "a"},
        {"tracks": ["inside.wav"], "facts": ["calm"], "source": "b"},
    ]
    package = {"name": "tiny-music", "version": "1", "split": "test", "folder": "usr/songs"}
    document = {
        "words": ["calm", "metal", "energetic", "piano"],
        "facts": {
            "metal": {"holds": ["metal"], "excludes": []},
            "calm": {"holds": ["calm"], "excludes": ["energetic"]},
        },
        "packages": [{**package, "archive": "usr/more.pk3", "says": says}],
    }
    monkeypatch.setattr(debian_music, "music_list", lambda: MusicList.model_validate(document))
    mixed, inside = read_dataset("debian_music", home)
    assert (mixed.tags, mixed.tags_unknown) == (("metal",), ("calm", "energetic", "piano"))
    assert (inside.tags, inside.tags_unknown) == (("calm", "metal"), ("piano",))
    assert mixed.split == inside.split == "test"
    samples, _ = soundfile.read(mixed.audio)
    padded = np.pad(drums, (0, 500))
    np.testing.assert_allclose(samples, padded + guitar, atol=1e-4)
    assert soundfile.info(inside.audio).frames == RATE_HZ
    # What is unpacked already is not asked for again.
    (home / "tiny-music_1_all.deb").unlink()
    assert len(read_dataset("debian_music", home)) == 2
    shutil.rmtree(home / "tiny-music")
    (home / "tiny-music_1_all.deb").write_bytes(b"not whole")
    with pytest.raises(AudioError, match=r"tiny-music_1_all.deb: damaged"):
        read_dataset("debian_music", home)
    (home / "tiny-music_1_all.deb").unlink()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(AudioError, match=r"tiny-music_1_all.deb: missing, .*snapshot"):
        read_dataset("debian_music", home)
