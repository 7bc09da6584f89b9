"""`evalkit hub`: the folder-backed Hub of this machine."""

from __future__ import annotations

from pathlib import Path

import click

from evalkit.cli.app import FOLDER, Commands, cli, echo_line
from evalkit.cli.options import json_flag


@cli.group(cls=Commands)
def hub() -> None:
    """The folder-backed Hub that evalkit serves on this machine."""


@hub.command()
@click.option("--root", type=FOLDER, default=Path("hub"), show_default=True, help="Its folder.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port; 0 takes a free one.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. Others than this machine's own let everybody in who reaches it.",
)
@json_flag
def serve(root: Path, port: int, host: str, as_json: bool) -> None:
    """Serve a folder with the Hub's HTTP protocol, until interrupted.

    A rehearsal stage: it takes and gives what unmodified clients of the Hub send and ask for, and
    proves nothing about what the public Hub would accept. With --json, one line on stdout once it
    answers.
    """
    from evalkit.hub.serve import Server
    from evalkit.hub.serve import serve as serve_hub

    def announce(server: Server) -> None:
        if as_json:
            echo_line({"root": str(root), "endpoint": server.endpoint})
            return
        click.echo(f"serving {root} at {server.endpoint} (Ctrl-C ends it)")
        click.echo(f"  HF_ENDPOINT={server.endpoint}  is all that loading from it needs")
        click.echo(f"  private repositories: HF_TOKEN=$(evalkit hub token --root {root})  too")
        click.echo(f"  in a browser: {server.endpoint}/login, with that token as password")

    serve_hub(root, port, host=host, ready=announce)


@hub.command()
@click.option("--root", type=FOLDER, default=Path("hub"), show_default=True, help="Its folder.")
@click.option("--user", default="evalkit", show_default=True, help="Whose token.")
@json_flag
def token(root: Path, user: str, as_json: bool) -> None:
    """Print a token for uploading to a folder-backed Hub."""
    from evalkit.hub.serve import make_token

    made = make_token(root, user)
    if as_json:
        echo_line({"user": user, "token": made})
    else:
        click.echo(made)
