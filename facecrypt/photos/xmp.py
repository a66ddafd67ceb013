"""XMP packets: read, chosen by the table of `facecrypt.photos.xmp_properties`, and written anew from that."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import TypeAlias
from xml.dom import minidom
from xml.etree import ElementTree
from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape

from facecrypt.photos.embedded import holds_picture
from facecrypt.photos.exif_tags import Share
from facecrypt.photos.xmp_properties import MOST_ITEMS, NAMESPACES, PROPERTIES, Property, Shape, Text

Item: TypeAlias = str | dict[str, str]
"""A value, or the fields of a structure by prefix and name."""

Chosen: TypeAlias = dict[str, list[tuple[str, Item]]]
"""The items of each property, by prefix and name, each with its language where it has one."""

_LARGEST_PACKET = 1 << 20
_LARGEST_WHOLE = 60_000  # a JPEG segment holds 64 KiB
_LARGEST_TEXT = 8 << 10
_DEEPEST, _LONGEST_NAME = 64, 200
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_ROOTS = ("{adobe:ns:meta/}xmpmeta", "{adobe:ns:meta/}xapmeta")
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_SHAPES: tuple[Shape, ...] = ("Seq", "Bag", "Alt")
_NAMES = {f"{{{uri}}}": f"{prefix}:" for prefix, uri in NAMESPACES.items()}

# What a packet never says of a protected photo, even when all of it is asked for: previews, depth maps, original
# pictures, gain maps and what is in other segments; and how its pixels were turned and how many there were.
_PICTURES = (
    "http://ns.adobe.com/xap/1.0/g/img/",
    "http://ns.adobe.com/xmp/note/",
    "http://ns.adobe.com/hdr-gain-map/",
    "http://ns.apple.com/",
    "http://ns.google.com/photos/1.0/image/",
    "http://ns.google.com/photos/1.0/depthmap/",
    "http://ns.google.com/photos/1.0/container/",
    "http://ns.google.com/photos/1.0/camera/",
    "http://ns.google.com/photos/1.0/audio/",
    "http://ns.google.com/photos/dd/",
)
_STORED = {
    (NAMESPACES["xmp"], "Thumbnails"),
    (NAMESPACES["tiff"], "Orientation"),
    (NAMESPACES["tiff"], "ImageWidth"),
    (NAMESPACES["tiff"], "ImageLength"),
    (NAMESPACES["exif"], "PixelXDimension"),
    (NAMESPACES["exif"], "PixelYDimension"),
    (NAMESPACES["exif"], "MakerNote"),
}


def read_xmp(packet: bytes) -> Chosen:
    """Return the properties of a packet that the table allows; none where it cannot be read.

    Args:
        packet: The packet, unchecked.
    """
    root = _root(_text(packet))
    if root is None:
        return {}
    top = root.find(f"{_RDF}RDF") if root.tag in _ROOTS else root
    chosen: Chosen = {}
    if top is None or top.tag != f"{_RDF}RDF":
        return {}
    for description in top.findall(f"{_RDF}Description"):
        for name, value in description.attrib.items():
            _add(chosen, _prefixed(name), [("", value)])
        for element in description:
            name = _prefixed(element.tag)
            if name in PROPERTIES and name not in chosen:
                _add(chosen, name, _items(element, PROPERTIES[name]))
    return chosen


def choose(properties: Chosen, shares: Collection[Share]) -> Chosen:
    """Return the properties of some kinds of information."""
    return {name: items for name, items in properties.items() if PROPERTIES[name].share in shares}


def texts(properties: Chosen) -> tuple[list[str], list[str]]:
    """Return the names and the other texts among some properties."""
    names: list[str] = []
    prose: list[str] = []
    for name, items in properties.items():
        value = PROPERTIES[name].value
        for _, item in items:
            fields = item if isinstance(item, dict) else {"": item}
            for key, text in fields.items():
                form = value[key] if isinstance(value, Mapping) else value
                if isinstance(form, Text):
                    (names if form.name else prose).append(text)
    return names, prose


def without_texts(properties: Chosen) -> Chosen:
    """Return the properties that are no text."""
    values = {name: PROPERTIES[name].value for name in properties}
    forms = {name: value.values() if isinstance(value, Mapping) else [value] for name, value in values.items()}
    return {name: properties[name] for name in properties if not any(isinstance(form, Text) for form in forms[name])}


def write_xmp(properties: Chosen) -> bytes:
    """Return a packet with some properties; nothing where there are none."""
    if not properties:
        return b""
    fields = {key for items in properties.values() for _, item in items if isinstance(item, dict) for key in item}
    used = sorted({name.partition(":")[0] for name in {*properties, *fields}})
    spaces = "".join(f' xmlns:{prefix}="{NAMESPACES[prefix]}"' for prefix in used)
    body = "\n".join(_written(name, items) for name, items in properties.items())
    return _packet(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        f'<rdf:Description rdf:about=""{spaces}>\n{body}\n</rdf:Description></rdf:RDF></x:xmpmeta>'
    )


def without_pictures(packet: bytes) -> bytes:
    """Return a packet as it is, but for pictures in it and for what it says of the stored pixels.

    Args:
        packet: The packet. One that cannot be read is dropped, as nobody can tell what it holds.
    """
    text = _text(packet) if len(packet) <= 4 * _LARGEST_WHOLE else ""
    root = _root(text)
    if root is None or _is_deep(root):
        return b""
    try:
        document = minidom.parseString(text)
    except (ExpatError, ValueError):
        return b""
    for node in list(_elements(document)):
        if len(node.tagName) > _LONGEST_NAME:
            return b""
        for attribute in list((node.attributes or {}).values()):
            if attribute.prefix == "xmlns" and max(len(attribute.name), len(attribute.value)) > _LONGEST_NAME:
                return b""
            if _shows(attribute.namespaceURI, attribute.localName, attribute.value):
                node.removeAttributeNode(attribute)
        own = ""
        for child in list(node.childNodes):
            if isinstance(child, minidom.Text):
                own += child.data
            elif not isinstance(child, minidom.Element):  # a comment, or an instruction for some program
                node.removeChild(child)
        if node.parentNode not in (None, document) and _shows(node.namespaceURI, node.localName, own):
            node.parentNode.removeChild(node)
    cleaned = _packet(document.documentElement.toxml() if document.documentElement else "")
    return cleaned if len(cleaned) <= _LARGEST_WHOLE else b""


def _packet(xml: str) -> bytes:
    return f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n{xml}\n<?xpacket end="w"?>'.encode()


def _text(packet: bytes) -> str:
    """Return a packet as text; nothing for one that cannot be read or defines entities, which grow without end."""
    try:
        text = packet.strip(b"\0 \r\n\t").decode("utf-8-sig") if len(packet) <= _LARGEST_PACKET else ""
    except UnicodeDecodeError:
        return ""
    return "" if "<!DOCTYPE" in text else text


def _root(text: str) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(text) if text else None
    except (ElementTree.ParseError, ValueError):
        return None


def _is_deep(root: ElementTree.Element) -> bool:
    level, depth = [root], 0
    while level and depth <= _DEEPEST:
        level, depth = [child for element in level for child in element], depth + 1
    return bool(level)


def _prefixed(name: str) -> str:
    space, _, local = name.partition("}")
    return _NAMES.get(f"{space}}}", "") + local


def _add(chosen: Chosen, name: str, items: list[tuple[str, Item]]) -> None:
    """Take the items of a property that its entry in the table allows."""
    if name not in PROPERTIES or name in chosen:
        return
    entry = PROPERTIES[name]
    kept: list[tuple[str, Item]] = []
    for language, item in items[: MOST_ITEMS[entry.shape]]:
        if isinstance(entry.value, Mapping):
            fields = item if isinstance(item, dict) else {}
            fields = {key: text for key, text in fields.items() if key in entry.value and entry.value[key].allows(text)}
            if fields:
                kept.append(("", fields))
        elif isinstance(item, str) and entry.value.allows(item):
            kept.append((language if entry.shape == "Alt" else "", item))
    if kept:
        chosen[name] = kept


def _items(element: ElementTree.Element, entry: Property) -> list[tuple[str, Item]]:
    """Return the items of a property: of a list, or the one value."""
    for shape in _SHAPES:
        container = element.find(f"{_RDF}{shape}")
        if container is not None:
            return [
                (_language(item), _item(item, entry))
                for item in container.findall(f"{_RDF}li")[: MOST_ITEMS[entry.shape]]
            ]
    return [("", _item(element, entry))]


def _item(element: ElementTree.Element, entry: Property) -> Item:
    if not isinstance(entry.value, Mapping):
        return "" if len(element) else (element.text or "").strip()
    inner = element.find(f"{_RDF}Description")
    holder = element if inner is None else inner
    fields = {_prefixed(name): value for name, value in holder.attrib.items()}
    for child in holder:
        language = child.find(f"{_RDF}Alt/{_RDF}li")
        fields[_prefixed(child.tag)] = ((child if language is None else language).text or "").strip()
    return fields


def _language(item: ElementTree.Element) -> str:
    language = item.get(_LANGUAGE, "")
    return language if re.fullmatch(r"[a-z]{2,3}(-[A-Za-z]{2,4})?|x-default", language) else "x-default"


def _written(name: str, items: list[tuple[str, Item]]) -> str:
    shape = PROPERTIES[name].shape
    if shape == "simple":
        return _element(name, items[0][1])
    inner = "".join(_element("rdf:li", item, language if shape == "Alt" else "") for language, item in items)
    return f"<{name}><rdf:{shape}>{inner}</rdf:{shape}></{name}>"


def _element(name: str, item: Item, language: str = "") -> str:
    if isinstance(item, dict):
        inner = "".join(f"<{key}>{escape(text)}</{key}>" for key, text in item.items())
        return f'<{name} rdf:parseType="Resource">{inner}</{name}>'
    return f"<{name}{f' xml:lang={chr(34)}{language}{chr(34)}' if language else ''}>{escape(item)}</{name}>"


def _elements(document: minidom.Document) -> Iterator[minidom.Element]:
    stack = [child for child in document.childNodes if isinstance(child, minidom.Element)]
    while stack:
        element = stack.pop()
        yield element
        stack += [child for child in element.childNodes if isinstance(child, minidom.Element)]


def _shows(namespace: str | None, name: str | None, value: str) -> bool:
    """Return whether a property holds a picture, or says how the pixels of the original were stored."""
    namespace, name = namespace or "", name or ""
    return (
        namespace.startswith(_PICTURES)
        or (namespace, name) in _STORED
        or len(value) > _LARGEST_TEXT
        or holds_picture(value.encode())
    )
