"""A tiny checkpoint and its bundle, made once; and the command, run in this process."""

import os
import shutil
import signal
import tarfile
from collections.abc import Callable, Generator
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from hypothesis import settings

from muqrt.errors import MissingDependencyError
from muqrt.triton_repo.server.installation import find_server

from .elsewhere import save_mix, save_probe

# The same examples in every run, however long they take: no test depends on chance or the clock.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")

# A shell starts background jobs with SIGINT ignored, which the commands under test would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Without a GPU kernels run in Triton's interpreter, which is chosen when triton is imported.
if shutil.which("nvidia-smi") is None:
    os.environ.setdefault("TRITON_INTERPRET", "1")


# The browser's tests need their driver before the first of them is collected.
collect_ignore = [] if find_spec("playwright") else ["web"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with slow tests of this run first, so that no process ends long after the others; and
    where there is no server, its tests skipped with the reason."""
    is_full = "not full" not in config.option.markexpr
    slow = {
        item.path
        for item in items
        if item.get_closest_marker("slow") and (is_full or not item.get_closest_marker("full"))
    }
    items.sort(key=lambda item: item.path not in slow)
    served = [item for item in items if item.get_closest_marker("server")]
    if not served:
        return
    try:
        find_server()
    except MissingDependencyError as missing:
        for item in served:
            item.add_marker(pytest.mark.skip(reason=str(missing)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """A command run in this process ends with signals as a process does that is about to end."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.getsignal(each) for each in signals}
    try:
        return (yield)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


EXAMPLES = Path(__file__).parent.parent / "examples" / "audio"


@pytest.fixture(scope="session")
def music() -> Path:
    """Folder of four short pieces, each in another format."""
    return EXAMPLES


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a checkpoint in the official layout, random weights. Do not change its files."""
    pytest.importorskip("torch")
    from muqrt.reference.checkpoint import save_checkpoint
    from muqrt.reference.random_model import TINY, random_model

    folder = tmp_path_factory.mktemp("tiny") / "checkpoint"
    save_checkpoint(random_model(TINY), folder)
    return folder


Bundled = Callable[..., Path]


@pytest.fixture(scope="session")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Bundled:
    """Makes a checkpoint's bundle, certified on short music; options as the export's."""
    pytest.importorskip("onnx")
    from muqrt.export.bundle_from_checkpoint import bundle_from_checkpoint
    from muqrt.export.parity.excerpt import excerpts
    from muqrt.export.parity.proof import Proof
    from muqrt.export.sources.checkpoint import load_source
    from muqrt.export.sources.mix import level_mix
    from muqrt.export.sources.score_head import load_head

    def make(
        checkpoint: Path,
        name: str,
        head: Path | None = None,
        mix: str | None = None,
        **options: object,
    ) -> Path:
        folder = tmp_path_factory.mktemp("tiny") / name
        short = [each for each in excerpts() if each.seconds < 2]
        source = load_source(checkpoint)
        chosen = load_head(head) if head is not None else None
        levels = level_mix(mix, source) if mix is not None else None
        bundle_from_checkpoint(Proof(source, chosen, music=short, mix=levels), folder, **options)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: Path, bundled: Bundled) -> Path:
    """Folder of the tiny checkpoint's bundle, certified on music. Do not change its files."""
    return bundled(tiny_checkpoint, "bundle")


@pytest.fixture(scope="session")
def levels_bundle(tiny_checkpoint: Path, bundled: Bundled) -> Path:
    """Folder of the tiny checkpoint's bundle with every level, certified. Do not change it."""
    return bundled(tiny_checkpoint, "levels", levels=True)


@pytest.fixture(scope="session")
def tiny_head(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tagger's head for the tiny checkpoint: random, two levels, one hidden layer.

    Its mean and deviation are those of music, and it is sharp, so that the scores are spread over
    0 to 1. Do not change its files.
    """
    torch = pytest.importorskip("torch")
    from muqrt.export.parity.excerpt import excerpts
    from muqrt.reference.checkpoint import load_checkpoint
    from muqrt.reference.head import Head, HeadConfig, pooled, save_head

    checkpoint = load_checkpoint(tiny_checkpoint)
    levels = [3, 8]
    config = HeadConfig(
        task="tagging",
        kind="multilabel",
        labels=["guitar", "piano", "cello & bass", "[red]drums[/red]", "日本", "quiet"],
        levels=levels,
        width=checkpoint.model.config.encoder_dim,
        hidden=7,
        thresholds=[0.5, 0.25, 0.5, 0.75, 0.5, 0.9],
        window_seconds=2.0,
        model_sha256=checkpoint.sha256,
        figures={"average precision": 0.5, "not measurable": float("nan")},
    )
    means = []
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        head = Head(config)
        for excerpt in excerpts():
            states = checkpoint.model(torch.from_numpy(excerpt.waveform[:1, :48_000])).hidden_states
            means.append(torch.stack([pooled(states[level][0]) for level in levels]))
        head.mean.copy_(torch.stack(means).mean(0))
        head.deviation.copy_(torch.stack(means).std(0))
        head.level_weights.normal_()
        head.hidden.weight *= 2
        head.output.weight *= 3
    folder = tmp_path_factory.mktemp("tiny") / "head"
    save_head(head, folder)
    return folder


@pytest.fixture(scope="session")
def tagged_bundle(tiny_checkpoint: Path, tiny_head: Path, bundled: Bundled) -> Path:
    """Folder of the tiny checkpoint's bundle with tags, certified. Do not change its files."""
    return bundled(tiny_checkpoint, "tagged", tiny_head)


@pytest.fixture(scope="session")
def token_bundle(tiny_checkpoint: Path, bundled: Bundled) -> Path:
    """Folder of the tiny checkpoint's bundle with tokens, certified. Do not change its files."""
    return bundled(tiny_checkpoint, "tokens", outputs=["tokens"])


@pytest.fixture(scope="session")
def scored_head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of a head for the tiny checkpoint that another project trained. Do not change it."""
    pytest.importorskip("torch")
    return save_probe(tmp_path_factory.mktemp("head"))


@pytest.fixture(scope="session")
def scored_bundle(
    tiny_checkpoint: Path,
    scored_head: Path,
    bundled: Bundled,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Folder of the tiny checkpoint's bundle with that head's scores and a mix of levels,
    certified. Do not change its files."""
    mix = save_mix(tmp_path_factory.mktemp("mix"))
    return bundled(tiny_checkpoint, "scored", head=scored_head, mix=str(mix))


@pytest.fixture(scope="session")
def mulan_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny MuQ-MuLan's checkpoint, random weights and a tokenizer. Do not change it."""
    pytest.importorskip("torch")
    pytest.importorskip("tokenizers")
    from muqrt.reference.mulan.checkpoint import save_mulan
    from muqrt.reference.mulan.random_model import random_mulan
    from muqrt.reference.mulan.tokenizer import PANGRAMS, fit_tokenizer

    folder = tmp_path_factory.mktemp("mulan")
    fit_tokenizer(PANGRAMS, 300, folder / "tokenizer.json")
    save_mulan(random_mulan("tiny"), folder / "checkpoint", folder / "tokenizer.json")
    return folder / "checkpoint"


@pytest.fixture(scope="session")
def mulan_bundle(mulan_checkpoint: Path, bundled: Bundled) -> Path:
    """Folder of the tiny MuQ-MuLan's bundle, certified. Do not change its files."""
    return bundled(mulan_checkpoint, "mulan")


@pytest.fixture(scope="session")
def worded_bundle(
    mulan_checkpoint: Path, bundled: Bundled, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of the tiny MuQ-MuLan's bundle whose model learned the words "jazz piano" and
    "欢快的钢琴". Do not change its files."""
    from muqrt.common.words import WORDS_FILE, LearnedWords

    checkpoint = shutil.copytree(mulan_checkpoint, tmp_path_factory.mktemp("worded") / "checkpoint")
    (tokenizer,) = checkpoint.rglob("tokenizer.json")
    LearnedWords.of(["jazz piano", "欢快的钢琴"]).write(tokenizer.with_name(WORDS_FILE))
    return bundled(checkpoint, "worded")


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of bundles and a model repository that the previous version wrote.

    See fixtures/previous/make.py. Do not change its files.
    """
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(Path(__file__).parent / "fixtures" / "previous" / "previous.tar.xz") as file:
        file.extractall(folder)
    return folder


@pytest.fixture
def mulan_copy(mulan_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny MuQ-MuLan's bundle that a test may spoil."""
    return shutil.copytree(mulan_bundle, tmp_path / "mulan")


@pytest.fixture
def tagged_copy(tagged_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tagged bundle that a test may spoil."""
    return shutil.copytree(tagged_bundle, tmp_path / "tagged")


@pytest.fixture
def bundle_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle that a test may spoil."""
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


@pytest.fixture
def muqrt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., CompletedProcess[str]]:
    """The ``muqrt`` command in this process; an exception that reaches the user fails the test."""
    from muqrt.cli.app import main

    # Answers are compared bit for bit with the library's, which has all cores by default.
    monkeypatch.setattr("muqrt.runtime.engines.cpus.considerate_threads", lambda: None)

    def run(*arguments: object) -> CompletedProcess[str]:
        argv = ["muqrt", *map(str, arguments)]
        monkeypatch.setattr("sys.argv", argv)
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        return CompletedProcess(argv, exit_.value.code, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Files of a certificate for localhost, PEM: its authority, itself, its key."""
    pytest.importorskip("cryptography")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def name(common: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])

    def signed(subject: str, key: ec.EllipticCurvePrivateKey, extension: object) -> bytes:
        now = datetime.now(timezone.utc)
        builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("tests"))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1))
        builder = builder.not_valid_after(now + timedelta(days=1))
        builder = builder.add_extension(extension, critical=True)  # type: ignore[arg-type]
        return builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    hosts = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "authority.pem", folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(signed("tests", authority, x509.BasicConstraints(True, None)))
    files[1].write_bytes(signed("localhost", key, x509.SubjectAlternativeName(hosts)))
    files[2].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


@pytest.fixture(scope="session")
def rtx_library() -> None:
    """Skip where TensorRT for RTX is not installed."""
    from muqrt.runtime.engines.tensorrt.library import tensorrt_rtx

    try:
        tensorrt_rtx()
    except MissingDependencyError as error:
        pytest.skip(str(error))
