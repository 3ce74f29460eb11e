"""Where a model runs: the options that say so, and what is refused."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Annotated, Any

import pytest
import typer

from muqrt.cli.options import Where, WhereForFiles
from muqrt.cli.parameters import expand_options
from muqrt.cli.place import Local, Served
from muqrt.errors import UsageError
from muqrt.runtime.bundle.shipped import SHIPPED_BUNDLE

BUNDLE = Path("bundle")


@pytest.fixture(autouse=True)
def small_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muqrt.runtime.engines.cpus.considerate_threads", lambda: 3)


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({}, Local(SHIPPED_BUNDLE, None, 3)),
        ({"threads": "all"}, Local(SHIPPED_BUNDLE)),
        ({"threads": "2"}, Local(SHIPPED_BUNDLE, None, 2)),
        ({"bundle": BUNDLE}, Local(BUNDLE, None, 3)),
        ({"bundle": BUNDLE, "artefact": "int8", "threads": "2"}, Local(BUNDLE, "int8", 2)),
        ({"precision": "auto"}, Local(SHIPPED_BUNDLE, None, 3, 0.0)),
        ({"precision": "auto", "accuracy": 0.999}, Local(SHIPPED_BUNDLE, None, 3, 0.999)),
        ({"server": "host:1"}, Served("host:1")),
        ({"server": "host:1", "model": "a", "timeout_seconds": 3.0}, Served("host:1", "a", 3.0)),
        (
            {"server": "host:1", "ca": Path("ca"), "token": "x"},
            Served("host:1", ca=Path("ca"), token="x"),
        ),
    ],
)
def test_the_options_name_one_place(given: dict[str, Any], place: Local | Served) -> None:
    assert Where(**given).place == place
    assert WhereForFiles(**given).place == place


def test_bulk_belongs_to_a_server() -> None:
    assert WhereForFiles(server="host:1", bulk=True).place == Served("host:1", bulk=True)
    with pytest.raises(UsageError, match="--bulk is for --server"):
        _ = WhereForFiles(bundle=BUNDLE, bulk=True).place


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bundle": BUNDLE, "server": "host:1"}, "two places to run the model; choose one"),
        ({"token": "x"}, "--ca and --token are for --server"),
        ({"bundle": BUNDLE, "ca": Path("ca")}, "--ca and --token are for --server"),
        ({"model": "muq"}, "--model and --timeout-seconds are for --server"),
        ({"bundle": BUNDLE, "model": "muq"}, "--model and --timeout-seconds are for --server"),
        ({"bundle": BUNDLE, "timeout_seconds": 1.0}, "--timeout-seconds are for --server"),
        ({"server": "host:1", "artefact": "int8"}, "--artefact and --threads are for --bundle"),
        ({"server": "host:1", "threads": "1"}, "--artefact and --threads are for --bundle"),
        ({"server": "host:1", "precision": "auto"}, "--precision and --accuracy are for --bundle"),
        ({"artefact": "a", "precision": "auto"}, "--artefact and --precision auto: choose one"),
        ({"accuracy": 0.999}, "--accuracy goes with --precision auto"),
    ],
)
def test_options_of_the_other_place_are_refused(given: dict[str, Any], message: str) -> None:
    for kind in (Where, WhereForFiles):
        with pytest.raises(UsageError, match=message):
            _ = kind(**given).place


@pytest.mark.parametrize("threads", ["0", "-1", "two", "1.5", "", "²"])
def test_threads_are_auto_all_or_a_number(threads: str) -> None:
    with pytest.raises(UsageError, match="give auto, all or a number of threads"):
        _ = Where(threads=threads).place


def test_a_command_can_give_way_to_others(music: Path) -> None:
    """In a process of its own: a priority cannot be raised again."""
    code = (
        "import os, sys\n"
        "from muqrt.cli.app import main\n"
        "try:\n"
        f"    sys.argv = ['muqrt', 'embed', {str(music / 'missing.flac')!r}, '--nice', '7']\n"
        "    main()\n"
        "finally:\n"
        "    print(os.getpriority(os.PRIO_PROCESS, 0))\n"
    )
    command = ["nice", "-n", "3", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True)
    lowered = min(19, 3 + os.getpriority(os.PRIO_PROCESS, 0))
    assert done.stdout.split()[-1] == str(max(7, lowered))


def test_the_fastest_artefact_is_named_with_the_reason(
    tiny_bundle: Path,
    muqrt: Callable[..., CompletedProcess[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = Where(bundle=tiny_bundle, precision="auto").place
    assert isinstance(place, Local) and place.chosen == "onnx-fp32"
    why = "onnx-fp32 is the only artefact to choose from."
    assert why in capsys.readouterr().err
    assert why in muqrt("info", tiny_bundle, "--precision", "auto").stdout
    told = json.loads(muqrt("info", tiny_bundle, "--precision", "auto", "--json").stdout)
    assert told["fastest"]["artefact"] == "onnx-fp32"
    assert muqrt("info", tiny_bundle, "--threads", 1).returncode == 2


def test_a_server_has_set_its_windows() -> None:
    with pytest.raises(UsageError, match="--hop-seconds, --first-seconds: only with --bundle"):
        Served("host:1").open_streams({"hop_seconds": 1.0, "first_seconds": 2.0})


def test_a_dataclass_is_one_option_for_each_field() -> None:
    app, found = typer.Typer(), []

    @app.command()
    @expand_options
    def run(
        where: WhereForFiles, number: Annotated[int, typer.Option("-n")], flag: bool = False
    ) -> None:
        """Say what was given."""
        found.append((where, number, flag))

    app(["-b", "bundle", "--bulk", "-n", "3", "--batch-size", "2"], standalone_mode=False)
    assert found == [(WhereForFiles(bundle=BUNDLE, bulk=True, batch_size=2), 3, False)]
