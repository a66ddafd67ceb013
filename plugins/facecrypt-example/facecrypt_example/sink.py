"""A sink: the checksums of what a run made, as ``sha256sum --check`` reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from facecrypt.plugin import Delivery


class Checksums:
    """A file ``SHA256SUMS`` beside the protected photos."""

    private = False

    def __init__(self) -> None: ...

    def files(self, names: Sequence[str], photos: str | None) -> Sequence[str]:
        """Return the name of the file."""
        return ["SHA256SUMS"]

    def deliver(self, delivery: Delivery) -> None:
        """Write the file."""
        with delivery.file("SHA256SUMS") as file:
            for photo in delivery.photos:
                if photo.protected is not None:
                    digest = hashlib.sha256(photo.protected.read_bytes()).hexdigest()
                    file.write(f"{digest}  {photo.name}\n".encode())
