"""``muqrt repository`` and ``muqrt serve``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from muqrt.cli.serve import commands
from muqrt.common.config import read_toml
from muqrt.errors import BundleError, ServerError, UsageError
from muqrt.runtime.bundle.manifest import Bundle
from muqrt.triton_repo.contract.config import parameters_of, parse_config
from muqrt.triton_repo.contract.options import PROFILES
from muqrt.triton_repo.contract.stream import StreamOptions, options_of
from muqrt.triton_repo.front.front import FrontConfig
from muqrt.triton_repo.server.exit_time import ExitTime

FREE_PORTS = ("--http-port", 0, "--grpc-port", 0, "--metrics-port", 0)


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


CONFIG = """
profile = "throughput"
version = 2
preferred_batch_sizes = [2, 8]
queue_timeout_us = 3_000_000
instances = 3
[bulk_queue]
timeout_us = 9_000_000
[rate_limit]
resources = {gpu = 1, copies = 3}
priority = 2
[limits]
max_seconds = 9
max_labels = 7
"""


@pytest.fixture
def configured(tmp_path: Path) -> Callable[[str], Path]:
    """Writes an options file."""

    def write(text: str) -> Path:
        (tmp_path / "given.toml").write_text(text)
        return tmp_path / "given.toml"

    return write


def test_flags_win_over_the_file_and_the_file_over_the_profile(
    bundle: Bundle, tmp_path: Path, configured: Callable[[str], Path]
) -> None:
    result = run(
        *("repository", bundle.folder, "-o", tmp_path / "models", "--config", configured(CONFIG)),
        *("--max-batch-size", 8, "--queue-size", 7, "--queue-delay-ms", 0, "--max-seconds", 5),
        *("--length-seconds", 1, "--length-seconds", 0.5, "--outputs", "embedding, features"),
    )
    assert result.exit_code == 0, result.output
    assert f"muqrt serve {tmp_path / 'models'} --rate-limit" in result.stdout
    message = parse_config((tmp_path / "models" / "muq" / "config.pbtxt").read_text())
    batching = message.dynamic_batching
    assert "half a second late" in result.stdout
    assert message.max_batch_size == 8
    assert list(batching.preferred_batch_size) == [2, 8]
    assert batching.max_queue_delay_microseconds == 0
    assert batching.default_queue_policy.max_queue_size == 7
    assert batching.default_queue_policy.default_timeout_microseconds == 3_000_000
    assert batching.priority_queue_policy[2].default_timeout_microseconds == 9_000_000
    assert parameters_of(message)["muqrt.lengths"] == "[12000, 24000]"
    assert parameters_of(message)["muqrt.limits"] == '{"max_seconds":5.0}'
    limits = read_toml(tmp_path / "models" / "muq.toml")["limits"]
    assert (limits["max_seconds"], limits["max_labels"]) == (5, 7)
    assert [each.name for each in message.output] == ["features", "embedding"]
    assert (tmp_path / "models" / "muq" / "2").is_dir()
    assert message.instance_group[0].count == 3
    limiter = message.instance_group[0].rate_limiter
    assert {each.name: each.count for each in limiter.resources} == {"gpu": 1, "copies": 3}
    assert limiter.priority == 2


def test_the_options_beside_the_model_write_it_again(
    tagged_bundle: Path, tmp_path: Path, configured: Callable[[str], Path]
) -> None:
    given = configured(CONFIG.replace("max_seconds = 9", "") + "[stream]\nmax_streams = 5\n")
    once = ("repository", tagged_bundle, "-o", tmp_path / "once", "--config", given)
    assert run(*once, "--threads", 2, "--hop-seconds", 1).exit_code == 0
    written = tmp_path / "once" / "muq.toml"
    again = run("repository", tagged_bundle, "-o", tmp_path / "again", "--config", written)
    assert again.exit_code == 0, again.output
    # The default for this machine is written, not left to the next one.
    assert read_toml(written)["limits"]["max_seconds"] > 0
    for place in ("muq.toml", "muq/config.pbtxt", "muq_stream/config.pbtxt"):
        first, second = (tmp_path / name / place for name in ("once", "again"))
        assert first.read_text() == second.read_text()
    found = options_of(parameters_of(parse_config((second).read_text())))
    assert found == StreamOptions(max_streams=5, hop_seconds=1, instances=3, threads=2)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("max_batch = 4", "unknown key 'max_batch'"),
        ("max_batch_size = '4'", "max_batch_size: Input should be a valid integer"),
        ("preferred_batch_sizes = [8]", "exceed the largest batch, 4"),
        ("[rate_limit]\nresources = {gpu = 0}", "rate_limit.resources.gpu"),
        ("[rate_limit]\npriority = 2", "rate_limit.resources"),
        ("[stream]\nmax_stream = 2", "unknown key 'max_stream'"),
        (
            "[limits]\nmax_labels = 20_000",
            "limits.max_labels: Input should be less than or equal to 10000",
        ),
        ("[limits]\nmax_seconds = 1", "less than the 2 s that clients are expected to send"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    text: str, why: str, bundle: Bundle, tmp_path: Path, configured: Callable[[str], Path]
) -> None:
    config = ("--config", configured(text))
    result = run("repository", bundle.folder, "-o", tmp_path / "models", *config)
    assert isinstance(result.exception, UsageError)
    assert why in str(result.exception)
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("profile", [None, *PROFILES])
def test_nothing_bounds_the_queue_by_default(
    profile: str | None, bundle: Bundle, tmp_path: Path
) -> None:
    chosen = ["--profile", profile] if profile else []
    result = run("repository", bundle.folder, "-o", tmp_path, *chosen)
    assert "half a second late" not in result.stdout
    batching = parse_config((tmp_path / "muq" / "config.pbtxt").read_text()).dynamic_batching
    assert not batching.HasField("default_queue_policy")
    assert not batching.priority_levels


def test_a_cached_model_is_served_with_a_cache(bundle: Bundle, tmp_path: Path) -> None:
    cached = ("--response-cache", "--outputs", "embedding", "--max-batch-size", 1)
    result = run("repository", bundle.folder, "-o", tmp_path, *cached)
    assert f"muqrt serve {tmp_path} --cache-mib" in result.stdout
    message = parse_config((tmp_path / "muq" / "config.pbtxt").read_text())
    assert message.response_cache.enable


def test_streams_are_served_beside_the_model(tagged_bundle: Path, tmp_path: Path) -> None:
    result = run(
        *("repository", tagged_bundle, "-o", tmp_path, "--model", "tiny", "--stream"),
        *("--max-streams", 3, "--idle-seconds", 60, "--hop-seconds", 1, "--window-seconds", 4),
        *("--threads", 1, "--json"),
    )
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["model"], facts["stream"]["model"]) == ("tiny", "tiny_stream")
    message = parse_config((tmp_path / "tiny_stream" / "config.pbtxt").read_text())
    found = options_of(parameters_of(message))
    assert found == StreamOptions(
        max_streams=3, idle_seconds=60, hop_seconds=1, window_seconds=4, threads=1
    )


def test_streams_are_not_for_tensorrt(plan_bundle: Bundle, tmp_path: Path) -> None:
    plan = ("repository", plan_bundle.folder, "-o", tmp_path / "models", "--artefact", "plan-9.0")
    refused = run(*plan, "--stream")
    assert "--stream is not for TensorRT" in str(refused.exception)
    assert not (tmp_path / "models").exists()
    assert run(*plan, "--cuda-graphs").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "say what to do"),
        (["-o", "models", "--check", "models"], "say what to do"),
        (["-o", "models", "--tensorrt", "10.13"], "go with --check"),
        (["-o", "models", "--max-streams", 8], "go with --stream"),
        (["-o", "models", "--stream", "--hop-seconds", 20], "allow 3 hops"),
        (["-o", "models", "--response-cache"], "--outputs"),
        (["-o", "models", "--version", 2**31], "version: "),
    ],
)
def test_what_makes_no_sense_is_refused(
    bundle: Bundle, tmp_path: Path, arguments: list[object], why: str
) -> None:
    result = run(
        "repository",
        bundle.folder,
        *(tmp_path / each if each == "models" else each for each in arguments),
    )
    assert isinstance(result.exception, UsageError)
    assert why in str(result.exception)
    assert not (tmp_path / "models").exists()


def test_repository_says_where_and_what_is_next(bundle: Bundle, tmp_path: Path) -> None:
    result = run("repository", bundle.folder, "-o", tmp_path / "models")
    assert result.exit_code == 0
    assert "onnx-fp32 (fp32, certified)" in result.stdout
    assert f"muqrt serve {tmp_path / 'models'}" in result.stdout


def test_options_out_of_range_are_usage_errors(bundle: Bundle, tmp_path: Path) -> None:
    result = run("repository", bundle.folder, "-o", tmp_path / "models", "--max-batch-size", 0)
    assert result.exit_code == 2
    assert not (tmp_path / "models").exists()


def put_on_path(version: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder as NVIDIA's images have it, with a server that is never started."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "tritonserver").touch(0o755)
    (folder / "TRITON_VERSION").write_text(f"{version}\n")
    monkeypatch.setenv("PATH", str(folder / "bin"))


def test_a_server_that_dies_when_clients_give_up_is_not_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    put_on_path("2.58.0", tmp_path, monkeypatch)
    monkeypatch.delattr("muqrt.triton_repo.server.process.Server.start")
    repository = tmp_path / "models"
    (repository / "muq").mkdir(parents=True)
    (repository / "muq" / "config.pbtxt").touch()
    refused = run("serve", repository, *FREE_PORTS, "--direct-grpc")
    assert "Triton 2.58.0 can die" in str(refused.exception)


def test_serve_hands_on_what_the_options_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[list[str]] = []

    pytest.importorskip("uvicorn", reason="uvicorn is not installed")

    class Stopped:
        def __init__(self, *_: object, more_arguments: list[str], **others: object) -> None:
            given.append(more_arguments)

        def __enter__(self) -> None:
            raise KeyboardInterrupt

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr("muqrt.triton_repo.server.process.Server", Stopped)
    put_on_path("2.59.0", tmp_path / "triton", monkeypatch)
    assert run("serve", tmp_path, *FREE_PORTS).exit_code == 0
    assert run("serve", tmp_path, *FREE_PORTS, "--cache-mib", 3, "--rate-limit").exit_code == 0
    limited = ["--cache-config=local,size=3145728", "--rate-limit=execution_count"]
    tls = ("--tls-cert", tmp_path / "c", "--tls-key", tmp_path / "k")
    assert run("serve", tmp_path, *FREE_PORTS, *tls).exit_code == 0
    assert run("serve", tmp_path, *FREE_PORTS, *tls, "--direct-grpc").exit_code == 0
    of_triton = [f"--grpc-server-cert={tmp_path / 'c'}", f"--grpc-server-key={tmp_path / 'k'}"]
    # The front does TLS for gRPC, unless clients reach Triton's own.
    assert given == [[], limited, [], ["--grpc-use-ssl=true", *of_triton]]
    direct = run("serve", tmp_path, *FREE_PORTS, "--direct-grpc", "--max-running", 8)
    assert "neither tokens nor admission" in str(direct.exception)
    assert isinstance(run("serve", tmp_path, *FREE_PORTS, *tls[:2]).exception, UsageError)


def test_the_front_has_the_time_to_stop_that_the_server_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    given: list[float] = []

    def noted(**settings: Any) -> FrontConfig:
        given.append(settings["drain_seconds"])
        return FrontConfig(**settings)

    monkeypatch.setattr("muqrt.triton_repo.front.front.FrontConfig", noted)
    run("serve", tmp_path, *FREE_PORTS, "--exit-seconds", 3)
    assert given == [3]


def test_the_front_and_the_server_share_the_time_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uvicorn", reason="uvicorn is not installed")
    now, left = [0.0], []

    class Part:
        """Stands for the server, its supervisor and the front; the front takes 4 s to stop."""

        http_port, pid, log, models = 1, 1, "-", dict
        grpc_url = url = metrics_text = ""

        def __init__(self, *_: object, **others: Any) -> None:
            self.is_server = "exit_timeout_seconds" in others
            self.is_front = len(_) == 4
            if self.is_server:
                self.exit_time = ExitTime(others["exit_timeout_seconds"], lambda: now[0])

        def __enter__(self) -> "Part":
            return self

        def __exit__(self, *_: object) -> None:
            if self.is_front:
                now[0] += 4
            if self.is_server:
                left.append(self.exit_time.left_seconds)

        def wait_until_ready(self) -> None: ...

        def wait(self, seconds: float) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("muqrt.cli.serve._readiness", lambda _: {})
    for name in ("server.process.Server", "server.supervisor.Supervisor", "front.front.Front"):
        monkeypatch.setattr(f"muqrt.triton_repo.{name}", Part)
    assert run("serve", tmp_path, *FREE_PORTS, "--exit-seconds", 10).exit_code == 0
    assert left == [6]


def test_errors_are_left_to_the_root_command(tmp_path: Path) -> None:
    missing = run("repository", tmp_path, "-o", tmp_path / "models")
    assert isinstance(missing.exception, BundleError)
    assert isinstance(run("serve", tmp_path, *FREE_PORTS).exception, ServerError)
