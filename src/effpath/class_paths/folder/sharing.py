"""What tasks work on: open already in this process; elsewhere opened once, by each process that runs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_given: dict[str, Callable[[], Any]] = {}  # to this process, to be opened when a task asks for it
_open: dict[str, Any] = {}


class Here(Generic[T]):
    """What is open in this process; a task that is pickled takes what opens it elsewhere."""

    def __init__(self, value: T, elsewhere: Callable[[], T] | None = None) -> None:
        """Take the value, and what opens it in another process; the value itself if not given."""
        self.value, self.elsewhere = value, elsewhere

    def __call__(self) -> T:
        """Return the value."""
        return self.value

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what opens the value."""
        return (_same, (self.elsewhere,)) if self.elsewhere else (Here, (self.value,))


@dataclass(frozen=True)
class Given:
    """Opens what an engine gives each of its processes, under a name, before it sends them tasks."""

    name: str

    def __call__(self) -> Any:
        """Return it, opened once."""
        if self.name not in _open:
            _open[self.name] = _given[self.name]()
            del _given[self.name]
        return _open[self.name]


def give(name: str, read: Callable[[], Any]) -> None:
    """Give this process what tasks ask for by name, in place of what it was given before."""
    if name not in _open and name not in _given:
        _open.clear()
        _given.clear()
        _given[name] = read


def _same(value: T) -> T:
    return value
