"""Changes are noticed, whatever their names are and whatever becomes of the folder."""

import os
from pathlib import Path

import pytest

from muqrt.runtime.search.notices import Notices, is_network


def test_names_that_are_no_text(tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    with Notices(tmp_path, tmp_path / "home") as notices:
        for name in (b"\xff.mp3", b"song.mp3", b"\xfe.mp3"):
            Path(tmp_path, os.fsdecode(name)).touch()
            notices.wait(0, None)  # for an hour, where nothing is noticed


def test_another_folder_in_its_place(tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    music = tmp_path / "music"
    music.mkdir()
    with Notices(music, tmp_path / "home") as notices:
        music.rename(tmp_path / "before")
        music.mkdir()
        notices.wait(0, None)
        (music / "song.mp3").touch()
        notices.wait(0, None)


MOUNTS = r"""22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw
31 22 0:50 / {folder}/my\040nas rw shared:9 - {kind} nas:/music rw
32 31 8:2 / {folder}/my\040nas/local rw - ext4 /dev/sdb1 rw
"""


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_network_shares_are_told_by_their_mount(tmp_path: Path, kind: str) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(folder=tmp_path, kind=kind))
    assert is_network(tmp_path / "my nas" / "album", mounts)
    assert not is_network(tmp_path / "my nas" / "local", mounts)
    assert is_network(tmp_path, mounts)  # one is below it
    assert not is_network(tmp_path, tmp_path / "no such system")
