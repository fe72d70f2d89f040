"""`tiler completion`, and what the other commands complete."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem, get_completion_class

VARIABLE = "_TILER_COMPLETE"
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the script with which a SHELL completes commands, options, models and files.

    \b
    bash   eval "$(tiler completion bash)"   in ~/.bashrc
    zsh    eval "$(tiler completion zsh)"    in ~/.zshrc, after compinit
    fish   tiler completion fish > ~/.config/fish/completions/tiler.fish
    """
    from tiler.cli.main import tiler

    kind = get_completion_class(shell)
    assert kind is not None, shell
    # `source` would first start the shell to look at its version.
    made = kind(tiler, {}, "tiler", VARIABLE)
    click.echo(made.source_template % made.source_vars())


def files(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Leave file names to the shell: `click.Path` would check the file, which is the task of a source."""
    return [CompletionItem(incomplete, type="file")]


def models(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Registered networks, and files."""
    from tiler.models.zoo.registry import describe, names

    found = [CompletionItem(name, help=describe(name).description) for name in names() if name.startswith(incomplete)]
    return found or files(ctx, parameter, incomplete)
