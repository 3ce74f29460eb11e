"""``muqrt push``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ...common.console import Json, note, show
from ...common.files import read_text
from ...errors import UsageError
from ..options import OwnBundle

_TOKEN_LIMIT_BYTES = 4096

commands = typer.Typer()


@commands.command()
def push(
    bundle: OwnBundle,
    repository: Annotated[
        str, typer.Argument(metavar="USER/NAME", help="Model repository on the hub.")
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Make a private repository, if there is none yet.")
    ] = False,
    revision: Annotated[
        str | None, typer.Option(metavar="BRANCH", help="Branch to commit to; main by default.")
    ] = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Commit message.")] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Licence of the weights, as the hub calls it, such as cc-by-nc-4.0; known for the "
            "released checkpoints.",
        ),
    ] = None,
    base_model: Annotated[
        str | None,
        typer.Option(
            metavar="USER/NAME",
            help="Checkpoint on the hub that the bundle was made from; known for released ones.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File with a token that may write; by default HF_TOKEN, or the one that hf auth "
            "login stored.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the bundle and print its card; upload nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Upload a bundle to the Hugging Face hub, with a model card.

    Its hashes are checked first. What it lists and the card go up in one commit, and nothing else.
    """
    from ...runtime.bundle.manifest import load_bundle
    from ...runtime.hub.address import HubAddress
    from ...runtime.hub.card import Origin, model_card
    from ...runtime.hub.push import files_to_push
    from ...runtime.hub.push import push as upload

    address = HubAddress.parse(repository)
    if revision is not None:
        if address.revision not in (None, revision):
            raise UsageError(f"--revision {revision} and {repository}: name one branch.")
        address = HubAddress.parse(f"{address.repository}@{revision}")
    loaded = load_bundle(bundle)
    card = model_card(loaded, address, Origin.of(loaded, licence, base_model))
    if Path(loaded.source.checkpoint).is_absolute():
        note(f"{bundle}: its bundle.json names {loaded.source.checkpoint}, for all to read.")
    if dry_run:
        sizes = {name: path.stat().st_size for name, path in files_to_push(loaded).items()}
        note(f"{address}: would get {len(sizes)} files, {sum(sizes.values()) / 1e6:.1f} MB.")
        facts = {"card": card, "files": sizes, "bytes": sum(sizes.values())}
        lines = [line or " " for line in card.splitlines()]  # show leaves out empty lines
        show(as_json, facts, *lines)
        return
    token = None if token_file is None else _token(token_file)
    note(f"Uploading {bundle} to {address}.")  # the hub's client shows how far it is
    done = upload(loaded, address, card, private, message, token)
    total = sum(done.files.values())
    show(
        as_json,
        {**asdict(done), "repository": address.repository, "bytes": total},
        f"Pushed {len(done.files)} files, {total / 1e6:.1f} MB: {done.url}"
        if done.is_new
        else f"The repository holds just this bundle already: {done.url}",
        f"Removed {len(done.removed)} files of the bundle before." if done.removed else "",
        f"Use it with: muqrt info {address}",
    )


def _token(path: Path) -> str:
    try:
        token = read_text(path, _TOKEN_LIMIT_BYTES).strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"--token-file {path}: cannot be read ({error}).") from None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"--token-file {path}: holds no token; put just the token into it.")
    return token
