"""`searchd completion`: the script by which a shell completes commands and options."""

from enum import StrEnum
from typing import Annotated

import typer
from typer._completion_shared import get_completion_script  # Typer exports it nowhere


class Shell(StrEnum):
    """A shell that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[Shell, typer.Argument(help="Shell that the script is for.")],
) -> None:
    """Print the script that completes commands and options in bash, zsh or fish.

    In bash, write `source <(searchd completion bash)` into ~/.bashrc. In zsh, write the script to a
    file `_searchd` in a folder of $fpath. In fish, write it to
    ~/.config/fish/completions/searchd.fish.
    """
    wanted = {
        "prog_name": "searchd",
        "complete_var": "_SEARCHD_COMPLETE",
        "shell": shell.value,  # its name, and no shell that is started
    }
    typer.echo(get_completion_script(**wanted))
