"""facecrypt: adversarial identity masks that hide a face from recognition while people see the same picture."""

from __future__ import annotations

from facecrypt.registry import register

__all__ = ["register"]
