"""``muqrt web``."""

from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from ...common.console import Json, note, progress, show
from ...errors import UsageError
from ...runtime.bundle.shipped import SHIPPED_BUNDLE
from ..options import UsualBundle, place_option
from ..parameters import expand_options

if TYPE_CHECKING:
    from ...runtime.bundle.certificate import Certificate
    from ...web.proof import Speed
    from ...web.site import SiteReport

commands = typer.Typer()


@commands.command()
@expand_options
def web(
    bundle: UsualBundle = SHIPPED_BUNDLE,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder of the site; replaces a site there."),
    ] = None,
    artefact: Annotated[
        str | None,
        place_option(help="Artefact that the page runs; the smallest certified one by default."),
    ] = None,
    open_browser: Annotated[
        bool,
        typer.Option("--open", help="Serve the page on this machine, and open the browser on it."),
    ] = False,
    prove: Annotated[
        bool,
        typer.Option(
            "--prove",
            help="Run the page in Chromium or Chrome, compare its tags with Python's, and write a "
            "certificate into the site.",
        ),
    ] = False,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact",
            help="Keep every bit of fp32 weights. By default they are rounded to 10 bits, which "
            "moves a tag by less than 0.005 and makes muq-mini 4 MB smaller to load.",
        ),
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port for --open; 0 picks a free one.")
    ] = 8023,
    as_json: Json = False,
) -> None:
    """Write a page that tags music in the browser, without a server.

    The folder works on any static host. Visitors' sound stays on their machines.
    """
    from ...runtime.bundle.manifest import load_bundle
    from ...web.site import write_site

    if output is None and not open_browser:
        raise UsageError("say where the site goes: --output FOLDER, or --open to look at it now.")
    with ExitStack() as held:
        folder = output or Path(held.enter_context(TemporaryDirectory())) / "site"
        with progress("Writing the site", None) as bar:
            loaded = load_bundle(bundle)
            report = write_site(loaded, folder, artefact, bar.advance, exact)
            if prove:
                from ...web.proof import prove_site

                bar.advance("the proof")
                certificate, speed = prove_site(loaded, folder)
        facts, lines = asdict(report), [_line(report, folder)]
        if prove:
            facts |= {"certificate": certificate.model_dump(), "speed": asdict(speed)}
            lines += _proof_lines(certificate, speed)
        if output is not None or prove:
            show(as_json, facts, *lines)
        if prove and not certificate.passed:
            raise typer.Exit(1)
        if open_browser:
            _serve(folder, port)


def _line(report: "SiteReport", folder: Path) -> str:
    megabytes = [each / 1e6 for each in (report.first_bytes, report.first_gzip_bytes)]
    return (
        f"Wrote {folder} with {report.artefact}: a visitor loads {megabytes[0]:.1f} MB, "
        f"{megabytes[1]:.1f} MB from a host that compresses."
    )


def _proof_lines(certificate: "Certificate", speed: "Speed") -> list[str]:
    from ...runtime.bundle.certificate import THRESHOLDS

    change = certificate.worst.largest_tag_change
    limit = THRESHOLDS[certificate.precision].largest_tag_change
    return [
        f"{'Passed' if certificate.passed else 'FAILED'} in the browser: tags differ by at most "
        f"{change:.1e} from {certificate.reference}; {limit:g} is accepted.",
        f"Ready after {speed.ready_seconds:.1f} s; a hop takes {speed.hop_ms:.0f} ms there, "
        f"{speed.native_hop_ms:.0f} ms in Python on one thread.",
    ]


def _serve(folder: Path, port: int) -> None:
    """Serve the folder on loopback until Ctrl-C, and open a browser on it."""
    import webbrowser

    from ...web.loopback import serve_folder, url_of

    with serve_folder(folder, port) as server, suppress(KeyboardInterrupt):
        note(f"The page is at {url_of(server)} until Ctrl-C.")
        webbrowser.open(url_of(server))
        server.serve_forever()
