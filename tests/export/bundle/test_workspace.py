"""What a killed build leaves goes with the next one; what a running one has stays."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from muqrt.errors import BundleError
from muqrt.export.bundle.workspace import is_in_workspace, workspace
from muqrt.export.bundle_from_checkpoint import _check_target

BUILD = """
import sys, time
from pathlib import Path
from muqrt.export.bundle.workspace import workspace
with workspace(Path(sys.argv[1])) as folder:
    (folder / "muq.onnx").touch()
    print(folder, flush=True)
    time.sleep(60)
"""


def test_only_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").touch()
    build = subprocess.Popen([sys.executable, "-c", BUILD, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert build.stdout is not None
        theirs = Path(build.stdout.readline().decode().strip())
        with workspace(tmp_path) as ours, workspace(tmp_path) as second:
            assert theirs.parent == ours.parent == tmp_path and second != ours
            assert (theirs / "muq.onnx").exists() and not list(ours.iterdir())
        assert not ours.exists() and not second.exists()
    finally:
        build.send_signal(signal.SIGKILL)
        build.communicate()
    assert is_in_workspace((theirs / "muq.onnx").relative_to(tmp_path))
    assert not is_in_workspace(Path("bundle.json"))
    with workspace(tmp_path) as ours:
        assert sorted(path.name for path in tmp_path.iterdir()) == [ours.name, "bundle.json"]


def test_what_a_killed_build_left_does_not_keep_a_bundle_from_being_replaced(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(tiny_bundle, tmp_path / "bundle")
    (copy / ".build-left").mkdir()
    (copy / ".build-left" / "muq.onnx").touch()
    _check_target(copy, 0)
    (copy / "notes.txt").touch()
    with pytest.raises(BundleError, match="choose another folder"):
        _check_target(copy, 0)
