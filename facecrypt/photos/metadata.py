"""What a photo file says besides its pixels: which of it is kept, and that no second picture of the face is.

Tables of what is kept, not of what is dropped, decide: `facecrypt.photos.exif_tags` and
`facecrypt.photos.xmp_properties`. An unknown tag may hold a preview, a name or a place.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from facecrypt.choices import MetadataPolicy
from facecrypt.photos import xmp
from facecrypt.photos.exif import Exif, read_exif
from facecrypt.photos.exif_tags import Share
from facecrypt.photos.prose import are_names, are_prose

SHARES: dict[MetadataPolicy, tuple[Share, ...]] = {
    "strip": (),
    "strip_gps": ("technical",),
    "keep": ("technical", "text", "place"),
}
"""What a policy keeps of the tables. ``all`` asks no table."""


@dataclass(frozen=True)
class Metadata:
    """EXIF and XMP of a photo, without thumbnails.

    Attributes:
        exif: The directories of its EXIF.
        xmp: Its XMP packet, or nothing.
    """

    exif: Exif = field(default_factory=Exif)
    xmp: bytes = b""

    def select(self, policy: MetadataPolicy, width: int, height: int, *, tiff: bool = False) -> Metadata:
        """Return what a policy lets through for an upright picture.

        Args:
            policy: ``all``, ``keep``, ``strip_gps`` or ``strip``.
            width: Width of the picture in pixels.
            height: Its height.
            tiff: Whether the main directory becomes that of a TIFF file, which says there what its colours are.
        """
        if policy == "all":
            return Metadata(self.exif.everything().upright(width, height), xmp.without_pictures(self.xmp))
        shares = SHARES[policy]
        exif, properties = self.exif.choose(shares), xmp.choose(xmp.read_xmp(self.xmp), shares)
        (names, prose), (more_names, more_prose) = exif.texts(), xmp.texts(properties)
        if not (are_names(names + more_names) and are_prose(prose + more_prose)):
            # Together, the texts are no texts: somebody spread something over them.
            exif, properties = exif.without_texts(), xmp.without_texts(properties)
        colours = self.exif.colours(main=tiff)
        exif = replace(
            exif,
            main=colours.main | exif.main,
            exif=colours.exif | exif.exif,
            interoperability=colours.interoperability | exif.interoperability,
        )
        return Metadata(exif.upright(width, height), xmp.write_xmp(properties))


def policy_note(policy: MetadataPolicy) -> str | None:
    """Return what a user of a policy must know; nothing for the policies that keep what is harmless."""
    if policy != "all":
        return None
    return (
        "metadata: all keeps names and regions of people, serial numbers, places, owners and unknown values, which may "
        "hold a picture of the unprotected face. Use keep, or strip_gps, for photos that others will see"
    )


def read_metadata(tiff: bytes, packet: bytes) -> Metadata:
    """Return an EXIF block, or that of a whole TIFF file, and an XMP packet, for `Metadata.select`.

    Damaged parts are left out: they hide no photo.

    Args:
        tiff: The block, with or without the word Exif before it.
        packet: The packet, unchecked.
    """
    return Metadata(read_exif(tiff), packet)
