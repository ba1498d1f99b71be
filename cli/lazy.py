"""Commands whose module is imported when they are called, so that the others start fast."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand

from cli.errors import ReadableErrors


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Imports make many objects and no garbage; looking for some takes a tenth of the start."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


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
        with _no_garbage_collection():
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

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Name the groups of a command that is none of these, such as `list`."""
        if args[0] not in self.commands and not ctx.resilient_parsing:
            groups = [name for name in self.commands if args[0] in self._commands_of(name)]
            if groups:
                found = ", ".join(f"'searchd {name} {args[0]}'" for name in groups)
                ctx.fail(f"No such command '{args[0]}'. Did you mean {found}?")
        return super().resolve_command(ctx, args)

    def _commands_of(self, group: str) -> Any:
        command: Any = self.commands[group]
        return getattr(command.loaded, "commands", ())
