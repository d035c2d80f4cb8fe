"""The command `vl-genrm keys new NAME`: makes a key and shows what to do with it; it changes no file."""

from typing import Annotated

import typer

app = typer.Typer(help="API keys of the service.", no_args_is_help=True)


@app.callback()
def _keys() -> None:
    """Keeps `new` a word of its own: typer would leave out the name of an only command."""


@app.command()
def new(name: Annotated[str, typer.Argument(help="Who gets the key: letters, digits, '.', '_' and '-'.")]) -> None:
    """Print a fresh random key, and the line for the file that GENRM_API_KEYS_FILE names.

    The key is shown this once and kept nowhere. It is taken back by removing the line.
    """
    from service.keys import check_name, create_key, hash_key

    check_name(name)
    key = create_key()
    typer.echo("The key, shown only now; give it to whom it is for:", err=True)
    typer.echo(key)
    typer.echo("The line for the file in GENRM_API_KEYS_FILE:", err=True)
    typer.echo(f"{name}:{hash_key(key)}")
