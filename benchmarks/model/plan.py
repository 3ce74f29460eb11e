"""What a benchmark is asked to measure, checked before anything is loaded."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from ...common.environment import instruction_sets
from ...errors import MissingDependencyError, ParityError, SessionError, UsageError
from ...runtime.bundle.manifest import Artefact, Bundle, load_bundle
from ...runtime.engines.open_session import open_session
from ..measure.latency import Cell
from .cold_start import STARTS
from .request import BenchmarkRequest

_LONGEST_SECONDS = 600.0
_BATCHES = {"cpu": "1,4", "cuda": "1,8,32"}  # the default
# The default, by device and --cpu. A 99th percentile needs a hundred.
_ROUNDS = {("cpu", False): 10, ("cpu", True): 5, ("cuda", False): 100}

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class BenchmarkPlan:
    """One benchmark.

    Attributes:
        bundle: what is measured.
        artefacts: those of its artefacts that run on this machine.
        unavailable: why the others do not.
        checkpoint: what the bundle was made from.
        device: "cpu" or "cuda": where all contenders run.
        cells: the inputs, by the number of threads.
        compiled: the inputs that torch.compile takes part in.
        rounds: how many rounds to run.
        cpu: measure also where the time goes and the machine's arithmetic.
        hops: how many hops of a live stream to time for each number of threads.
        songs: how many songs to embed.
        allow_uncertified: report wrong answers too, marked.
    """

    bundle: Bundle
    artefacts: list[Artefact]
    unavailable: dict[str, str]
    checkpoint: str
    device: str
    cells: dict[int, list[Cell]]
    compiled: list[Cell]
    rounds: int
    cpu: bool
    hops: int
    songs: int
    allow_uncertified: bool

    @property
    def threads(self) -> int:
        """The largest number of threads: whatever is measured once is measured with it."""
        return max(self.cells)

    @property
    def profiled(self) -> list[Artefact]:
        """The artefacts whose operators are timed: ONNX Runtime's, with ``cpu``."""
        found = [each for each in self.artefacts if each.engine == "onnxruntime"]
        return found if self.cpu else []

    @property
    def plain_onnx(self) -> bool:
        """Whether ONNX Runtime runs a graph on the device: always on the CPU."""
        import onnxruntime

        from ...runtime.engines.onnxruntime.providers import PROVIDERS

        return PROVIDERS[self.device] in onnxruntime.get_available_providers()

    @property
    def counted(self) -> list[Cell]:
        """The inputs whose arithmetic is compared with the machine's: with ``cpu`` or on a GPU the
        base, on a GPU also the largest, which fills it."""
        if self.device == "cpu":
            return [self.base] if self.cpu else []
        return list(dict.fromkeys([self.base, self.cells[self.threads][-1]]))

    @property
    def base(self) -> Cell:
        """The smallest batch of the middle window: the input of whatever is measured once."""
        return _base(self.cells[self.threads])

    @property
    def steps(self) -> int:
        """How many steps of progress ``run`` takes."""
        starts = STARTS * (1 + self.plain_onnx + len(self.artefacts))
        songs = self.songs * (2 + len(self.artefacts))  # the official loop in two ways
        streams = len(self.cells) if self.hops else 0
        cells = sum(map(len, self.cells.values()))
        peaks = bool(self.counted) and 1 + len(instruction_sets()) * (self.device == "cpu")
        return cells + starts + len(self.profiled) + peaks + streams + songs


def plan(folder: Path, checkpoint: str, request: BenchmarkRequest) -> BenchmarkPlan:
    """Check what the command line asks for.

    Raises:
        BundleError: not a bundle.
        ParityError: an artefact has no passing certificate.
        SessionError: no artefact runs here.
        UsageError: a window, batch size or number of threads is out of range.
        MissingDependencyError: songs are asked for, but librosa is not installed.
    """
    import torch

    _check_device(request)
    bundle = load_bundle(folder)
    for artefact in bundle.audio_artefacts:
        if not (artefact.certified or request.allow_uncertified):
            raise ParityError(
                f"{folder}: {artefact.name} has no passing certificate, so its speed is not "
                f"reported. Run: muqrt parity {folder} --checkpoint {checkpoint}"
            )
    # torch's choice is the physical cores, as ONNX Runtime's is.
    cores = torch.get_num_threads()
    default_threads = f"1,{cores}" if request.cpu else str(cores)
    threads = _numbers("--threads", request.threads or default_threads, int)
    grid = _grid(bundle, request)
    base = _base(grid)
    cells = {each: list(grid) for each in threads}
    if request.cpu or request.device != "cpu":
        # One thing changes at a time: all of the grid would take over an hour.
        star = [
            each
            for each in grid
            if each.window_seconds == base.window_seconds or each.batch == base.batch
        ]
        cells = {each: star if each == max(threads) else [base] for each in threads}
    default_hops, default_songs = (5, 2) if request.cpu else (0, 0)
    hops = default_hops if request.hops is None else request.hops
    songs = default_songs if request.songs is None else request.songs
    if songs and find_spec("librosa") is None:
        raise MissingDependencyError(
            "--songs compares with the official package's loop, which needs librosa. "
            "Run: pip install 'muqrt[bench]', or give --songs 0."
        )
    artefacts, unavailable = _openable(bundle, request.device)
    return BenchmarkPlan(
        bundle=bundle,
        artefacts=artefacts,
        unavailable=unavailable,
        checkpoint=checkpoint,
        device=request.device,
        cells=cells,
        compiled=_compiled(grid, request),
        rounds=request.rounds or _ROUNDS[request.device, request.cpu],
        cpu=request.cpu,
        hops=hops,
        songs=songs,
        allow_uncertified=request.allow_uncertified,
    )


def _check_device(request: BenchmarkRequest) -> None:
    if request.device not in _BATCHES:
        raise UsageError(f"--device {request.device}: choose {' or '.join(_BATCHES)}.")
    if request.device == "cpu":
        return
    if request.cpu or request.hops or request.songs:
        raise UsageError("--cpu, --hops and --songs are for the CPU, not for --device cuda.")
    import torch

    if not torch.cuda.is_available():
        raise UsageError(
            "--device cuda: PyTorch finds no CUDA device here. Check nvidia-smi, and that this is "
            f"not PyTorch's CPU build (it is {torch.__version__})."
        )


def _openable(bundle: Bundle, device: str) -> tuple[list[Artefact], dict[str, str]]:
    """The artefacts whose engines are installed and support this processor; why others fail."""
    found, failed = [], {}
    for artefact in bundle.audio_artefacts:
        try:
            open_session(bundle, artefact, device=device).close()
        except (MissingDependencyError, SessionError) as error:
            failed[artefact.name] = str(error)
        else:
            found.append(artefact)
    if not found:
        raise SessionError(f"{bundle.folder}: nothing runs here: {'; '.join(failed.values())}")
    return found, failed


def _grid(bundle: Bundle, request: BenchmarkRequest) -> list[Cell]:
    """Every batch of every window."""
    sizes = _numbers("--batches", request.batches or _BATCHES[request.device], int)
    framing = bundle.framing
    shortest = framing.minimum_samples / framing.sample_rate_hz
    lengths = _numbers("--windows", request.windows, float)
    for length in lengths:
        if not (shortest <= length <= _LONGEST_SECONDS):
            raise UsageError(
                f"--windows: {length:g} s; the model takes {shortest:.4f} s (its STFT) or more, "
                f"and a benchmark at most {_LONGEST_SECONDS:g} s."
            )
    return [Cell(length, size) for size in sizes for length in lengths]


def _base(cells: list[Cell]) -> Cell:
    """The smallest batch of the middle window."""
    batch = min(cell.batch for cell in cells)
    windows = sorted(cell.window_seconds for cell in cells if cell.batch == batch)
    return Cell(windows[len(windows) // 2], batch)


def _compiled(grid: list[Cell], request: BenchmarkRequest) -> list[Cell]:
    """The inputs to compile for: few, since each takes most of a minute to compile."""
    if not request.compiles:
        return []
    if request.compile_batches is None:
        return [_base(grid)] if request.cpu or request.device != "cpu" else grid
    sizes = _numbers("--compile-batches", request.compile_batches, int)
    if not set(sizes) <= {cell.batch for cell in grid}:
        raise UsageError(
            f"--compile-batches {request.compile_batches}: choose among "
            f"--batches {request.batches or _BATCHES[request.device]}."
        )
    return [cell for cell in grid if cell.batch in sizes]


def _numbers(option: str, text: str, kind: Callable[[str], Number]) -> list[Number]:
    """Comma-separated numbers, ascending, each once."""
    try:
        found = sorted({kind(each) for each in text.split(",")})
    except ValueError:
        raise UsageError(f"{option} {text!r}: give numbers separated by commas.") from None
    if kind is int and found[0] < 1:
        raise UsageError(f"{option} {text!r}: {found[0]} is less than 1.")
    return found
