"""The `vl-genrm` command: a root that knows no sub-command itself.

Each package announces its sub-commands as entry points of the group `vl_genrm.commands`: a typer function, or a
`typer.Typer` for a family of commands. Only the one that is called is imported (all of them for help), and command
modules import nothing heavy before they run, so that `vl-genrm --help` answers at once.

Run: `vl-genrm --help`, or `python -m genrm.cli --help`.
"""

import errno
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from genrm.errors import GenRMError

ENTRY_POINT_GROUP = "vl_genrm.commands"
_OWN_MISTAKES = frozenset(
    {errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOSPC, errno.ENOTDIR}
    | {errno.ENOTEMPTY, errno.EPERM, errno.EROFS}
)
"""What the file system says of a path that cannot be used as it was meant to be."""


def find_commands() -> dict[str, EntryPoint]:
    """The sub-commands that installed packages announce, by name, in alphabetical order; none is imported."""
    return {point.name: point for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)}


def build_app(commands: dict[str, EntryPoint], *, only: str | None = None) -> typer.Typer:
    """The root command with its sub-commands imported.

    only: the name of the one sub-command to import. None, or a name that is not in `commands`: all are imported, for
    help and for "did you mean".
    """
    app = typer.Typer(
        name="vl-genrm",
        help="Judge two answers about an image: a critique, a verdict, and how likely it is.",
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_show_locals=False,  # a local may be an image or a key
        suggest_commands=True,
    )
    app.callback()(_root)
    wanted = [only] if only in commands else list(commands)
    for name in wanted:
        command = commands[name].load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 when all went well, 1 for a refusal that we foresee, 2 for wrong usage.

    arguments: what follows the command's name; None takes the process's own.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    called = next((argument for argument in arguments if not argument.startswith("-")), None)
    try:
        build_app(find_commands(), only=called)(args=list(arguments), prog_name="vl-genrm")
    except GenRMError as error:
        _refuse(str(error))
    except OSError as error:
        if error.errno not in _OWN_MISTAKES or not _is_given(error.filename, arguments):
            raise  # a fault of ours, or of the machine
        _refuse(f"{error.filename}: {error.strerror}. Give another path, or see to this one.")
    except UnicodeEncodeError:
        unreadable = [argument for argument in arguments if not _is_text(argument)]
        if not unreadable:
            raise
        _refuse(f"Not UTF-8: {', '.join(map(ascii, unreadable))}. Texts are given in UTF-8.")


def _refuse(message: str) -> NoReturn:
    typer.echo(f"vl-genrm: {message}", err=True)
    sys.exit(1)


def _is_given(path: object, arguments: Sequence[str]) -> bool:
    """Whether an argument names this path, or a folder that it is in."""
    if not isinstance(path, str):
        return False
    places = {Path(path).absolute(), *Path(path).absolute().parents}
    return any(Path(argument.rpartition("=")[2]).absolute() in places for argument in arguments if argument)


def _is_text(argument: str) -> bool:
    """Whether it has no bytes that are not UTF-8; Python hands those over as surrogates."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"vl-genrm {version('vl-genrm')}")
        raise typer.Exit


def _root(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before a sub-command; all of them are dealt with by their callbacks."""


if __name__ == "__main__":
    main()
