"""Groups of options: dataclasses that a command takes as one parameter each, with an option for each field."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, cast, get_args, get_type_hints


class Without:
    """In ``Annotated[Source, Without("part")]``: fields of a group that a command does not offer."""

    def __init__(self, *names: str) -> None:
        """Keep their names."""
        self.names = names


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command for typer: an option for each field of each group of options that the command takes.

    A field without a default stands where its group stands; the others follow the command's own options. In the
    help, lines that are not indented are joined to paragraphs, which the terminal folds.
    """
    groups: dict[str, tuple[Any, list[str]]] = {}
    before: list[inspect.Parameter] = []
    after: list[inspect.Parameter] = []
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        group, *extras = get_args(hints[name]) or (hints[name],)
        if not is_dataclass(group):
            before.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        left_out = [field for extra in extras for field in extra.names]
        inner = get_type_hints(group, include_extras=True)
        fields = [
            field.replace(annotation=inner[field.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for field in inspect.signature(cast(type, group)).parameters.values()
            if field.name not in left_out
        ]
        groups[name] = group, [field.name for field in fields]
        before += [field for field in fields if field.default is field.empty]
        after += [field for field in fields if field.default is not field.empty]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = {
            name: group(**{field: given.pop(field) for field in fields})
            for name, (group, fields) in groups.items()
        }
        command(**made, **given)

    parameters = [*before, *after]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    first, *others = (
        part if part.startswith(" ") else " ".join(part.splitlines())
        for part in inspect.cleandoc(command.__doc__ or "").split("\n\n")
    )
    run.__doc__ = "\n\n".join([first, "\n" + "\n\n".join(others)])  # typer unindents what follows the first line
    return run
