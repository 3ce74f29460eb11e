"""The command line of this room."""

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from muqrt.errors import BundleError, ServerError
from muqrt.runtime.bundle import Bundle
from muqrt.triton_repo.commands import commands
from muqrt.triton_repo.config import parameters_of, parse_config


def run(*arguments: object) -> Result:
    return CliRunner().invoke(commands, [str(each) for each in arguments])


def test_repository_writes_what_the_options_say(bundle: Bundle, tmp_path: Path) -> None:
    result = run(
        *("repository", bundle.folder, "-o", tmp_path / "models", "--model", "tiny"),
        *("--max-batch-size", 4, "--queue-delay-ms", 1.5, "--queue-size", 7),
        *("--queue-timeout-s", 2, "--instances", 2, "--threads", 3, "--json"),
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["model"] == "tiny"
    message = parse_config((tmp_path / "models" / "tiny" / "config.pbtxt").read_text())
    batching = message.dynamic_batching
    assert message.max_batch_size == 4
    assert batching.max_queue_delay_microseconds == 1_500
    assert batching.default_queue_policy.max_queue_size == 7
    assert batching.default_queue_policy.default_timeout_microseconds == 2_000_000
    assert message.instance_group[0].count == 2
    assert parameters_of(message)["intra_op_thread_count"] == "3"


def test_repository_says_where_and_what_is_next(bundle: Bundle, tmp_path: Path) -> None:
    result = run("repository", bundle.folder, "-o", tmp_path / "models")
    assert result.exit_code == 0
    assert "onnx-fp32 (fp32, certified)" in result.stdout
    assert f"muqrt serve {tmp_path / 'models'}" in result.stdout


def test_options_out_of_range_are_usage_errors(bundle: Bundle, tmp_path: Path) -> None:
    result = run("repository", bundle.folder, "-o", tmp_path / "models", "--max-batch-size", 0)
    assert result.exit_code == 2
    assert not (tmp_path / "models").exists()


def test_errors_are_left_to_the_root_command(tmp_path: Path) -> None:
    missing = run("repository", tmp_path, "-o", tmp_path / "models")
    assert isinstance(missing.exception, BundleError)
    assert isinstance(run("serve", tmp_path).exception, ServerError)
