"""How layers look in QGIS when they are opened: QML, its own language of styles."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree as Xml

from wsiproc.card import NucleusClass

Colour = tuple[int, int, int]

_WIDTH_MM = 0.3


def by_class(classes: Sequence[NucleusClass], *, points: bool) -> str:
    """A QML style: each class in its own colour, as a rim without filling, or as a dot."""
    style, renderer = _style("categorizedSymbol", "class_name")
    categories, symbols = Xml.SubElement(renderer, "categories"), Xml.Element("symbols")
    for number, one in enumerate(classes):
        Xml.SubElement(
            categories,
            "category",
            {"value": one.name, "label": one.name, "symbol": str(number), "render": "true"},
        )
        _symbol(symbols, str(number), one.color, points=points)
    renderer.append(symbols)
    return Xml.tostring(style, "unicode")


def one_colour(colour: Colour) -> str:
    """A QML style: rims of one colour, without filling."""
    style, renderer = _style("singleSymbol")
    _symbol(Xml.SubElement(renderer, "symbols"), "0", colour, points=False)
    return Xml.tostring(style, "unicode")


def _style(kind: str, column: str | None = None) -> tuple[Xml.Element, Xml.Element]:
    """The style and its renderer, which tells rows apart by `column`."""
    style = Xml.Element("qgis", {"version": "3.22", "styleCategories": "Symbology"})
    renderer = Xml.SubElement(style, "renderer-v2", {"type": kind})
    if column is not None:
        renderer.set("attr", column)
    return style, renderer


def _symbol(symbols: Xml.Element, name: str, colour: Colour, *, points: bool) -> None:
    red, green, blue = colour
    said = f"{red},{green},{blue},255"
    kind = "marker" if points else "fill"
    symbol = Xml.SubElement(symbols, "symbol", {"type": kind, "name": name, "alpha": "1"})
    layer = Xml.SubElement(
        symbol, "layer", {"class": "SimpleMarker" if points else "SimpleLine", "enabled": "1"}
    )
    wanted = (
        {"name": "circle", "color": said, "outline_style": "no", "size": "1.6", "size_unit": "MM"}
        if points
        else {"line_color": said, "line_width": str(_WIDTH_MM), "line_width_unit": "MM"}
    )
    options = Xml.SubElement(layer, "Option", {"type": "Map"})
    for key, value in wanted.items():
        Xml.SubElement(options, "Option", {"type": "QString", "name": key, "value": value})
        # QGIS before 3.20 reads these.
        Xml.SubElement(layer, "prop", {"k": key, "v": value})
