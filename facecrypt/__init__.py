"""facecrypt: adversarial identity masks that hide a face from recognition while people see the same picture."""

from __future__ import annotations

TYPE_CHECKING = False  # From typing, it would take longer to import than all that a program needs at first.
if TYPE_CHECKING:
    from facecrypt.api import Protected, protect
    from facecrypt.registry import register

__all__ = ["protect", "Protected", "register"]


def __getattr__(name: str) -> object:
    """Import what programs use when they use it: PIL and the checks of recipes take a while, and so does pydantic."""
    if name == "register":
        from facecrypt import registry

        return registry.register
    if name in ("protect", "Protected"):
        from facecrypt import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
