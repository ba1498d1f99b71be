"""Commands whose module is imported when they are called, so that the others start fast."""

from functools import cached_property
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand

from cli.errors import ReadableErrors


class LazyCommand(TyperCommand):
    """A command, or group of commands, that stands in the help before it is imported.

    Args:
        name: Name of the command.
        target: "module:name" of its function, or of the Typer app of a group.
        summary: First line of its help.
    """

    def __init__(self, name: str, target: str, summary: str) -> None:
        super().__init__(name, help=summary)
        self._target = target

    @cached_property
    def loaded(self) -> Any:
        """The command itself."""
        module, _, attribute = self._target.partition(":")
        found = getattr(import_module(module), attribute)
        # Otherwise paragraphs keep the line breaks of the docstring.
        holder = typer.Typer(rich_markup_mode="markdown")
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=self.name)
        else:
            holder.command(self.name)(found)
        assert self.name is not None  # __init__ sets it
        return typer.main.get_group(holder).commands[self.name]

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        return self.loaded.make_context(*arguments, **options)


class LazyGroup(ReadableErrors):
    """A group of `LazyCommand`, which a subclass names."""

    targets: dict[str, tuple[str, str]]
    """Target and summary of each command by its name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {name: LazyCommand(name, *each) for name, each in self.targets.items()}
