"""What a network says of each pixel becomes nuclei.

Decoding is local and deterministic: what it says of a nucleus depends only on pixels within
`reach_px` of its reference pixel, and on nothing else.  So two tiles that both see those pixels say
the same, bit for bit, and a slide's result does not depend on how it was cut into tiles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from wsiproc.card import Card, HoverPost, MaskPost, PointsPost
from wsiproc.decode._nuclei import Place
from wsiproc.decode.contour import contours
from wsiproc.decode.hover import decode_hover, hover_reach
from wsiproc.decode.instances import (
    Views,
    concat_views,
    decode_instances,
    instances_reach,
    views_of,
)
from wsiproc.decode.mask import decode_mask, mask_reach
from wsiproc.decode.points import decode_points, radius_px
from wsiproc.errors import ModelError
from wsiproc.geometry import Box
from wsiproc.nuclei import Nuclei

__all__ = ["Maps", "Said", "Views", "concat_views", "contours", "decode", "reach_px", "views_of"]

Maps = Mapping[str, NDArray[np.float32]]
Said = Maps | Views
"""What a network says of a box: maps of its pixels or, for the kind `instances`, views."""


def decode(card: Card, said: Said, box: Box, slide: Box) -> Nuclei:
    """All nuclei that can be seen in a box.

    Parameters
    ----------
    card
        The model's: kind, resolution, and the constants of post-processing.
    said
        The model's maps over `box`, ``[C, h, w]`` float32 each: `prob`, and for the kind `mask`
        where the model has them `centre` and `class`; for the kind `hover` `np`, `hv` and where
        the model has it `tp`.  At `card.stride` s, a map's pixel covers s x s model px.  For the
        kind `instances` the views of all windows whose valid part touches `box`.
    box
        Global model px; whole output pixels.  May reach past the slide.
    slide
        The whole slide in model px.  What the maps say outside of it is not looked at.

    Returns
    -------
    Nuclei
        Sorted by reference pixel.  Those near the edge of `box` may differ from what a larger box
        would say; those further inside than `reach_px` do not.

    Raises
    ------
    ModelError
        If the maps are not those on the card.
    """
    if isinstance(said, Views):
        return decode_instances(card, said, box & slide, slide)
    return _decode_maps(card, said, box, slide)


def _decode_maps(card: Card, maps: Maps, box: Box, slide: Box) -> Nuclei:
    s, post = card.stride, card.post
    if any(edge % s for edge in box.as_tuple()):
        raise ValueError(f"{box} does not lie on whole output pixels of stride {s}")
    own = Box(*(edge // s for edge in box.as_tuple()))
    whole = Box(slide.x0 // s, slide.y0 // s, math.ceil(slide.x1 / s), math.ceil(slide.y1 / s))
    area = own & whole
    if area.empty:
        return Nuclei.none(polygons=card.polygons)

    def map_of(name: str, channels: int) -> NDArray[np.float32]:
        _check(maps, name, (own.height, own.width), channels)
        rows, columns = area.slices_in(own)
        return np.ascontiguousarray(maps[name][:, rows, columns], np.float32)

    place = Place((area.x0, area.y0), (area.height, area.width), whole)
    if isinstance(post, PointsPost):
        prob = map_of("prob", len(card.classes))
        found = decode_points(post, card.mpp * s, prob, place.origin, whole)
    elif isinstance(post, MaskPost):
        if "centre" not in maps and _has_centre(card):
            raise ModelError(
                "the model gave no map `centre`, which its card has `levels` or an output for"
            )
        three = (
            map_of("prob", 1)[0],
            map_of("centre", 1)[0] if "centre" in maps else None,
            map_of("class", len(card.classes)) if "class" in maps else None,
        )
        found = decode_mask(post, card.mpp * s, _largest_radius(card), three, place)
    elif isinstance(post, HoverPost):
        types = map_of("tp", len(card.classes)) if "tp" in maps else None
        both = map_of("np", 1)[0], map_of("hv", 2)
        found = decode_hover(post, card.mpp * s, _largest_radius(card), (*both, types), place)
    else:
        raise TypeError("views are decoded for the kind 'instances', not maps")
    return found if s == 1 else _scaled(found, s)


def reach_px(card: Card) -> int:
    """How far from its reference pixel all lies that a nucleus depends on, in model px.

    A nucleus whose reference pixel is in ``box.grown(-reach_px(card))`` is decoded the same from
    `box` as from any larger one; so is the lack of one.

    Points: the radius of suppression.

    Masks, with K the largest nucleus' radius: the mask lies within K of its seed, hence within 2 K
    of the reference pixel.  Each of its pixels is settled by the T steps of growth, which look no
    further than T px, and by what makes a seed within that distance.  T is K, and with L levels of
    `centre` another L ceil(K / (L + 1)) < K + L.  So, with the seed radius r, the reach is
    2 K + T + r.  Without a map `centre`, r makes way for what a seed's disc, its rivals and their
    thickness reach, K + (max(K, r) + 1) + K.

    Hover likewise, with T the steps over the levels of the border and the rest, 1.5 K and a few;
    what makes a marker within that distance, 2 K + 1 and the depth taken off it; and the reach of
    the filters that find the border.

    A card promises `centre` by giving `levels`, or an output of that name; where it does not, the
    reach is the larger of the two.

    Instances: see `decode.instances.instances_reach`.
    """
    post, mpp = card.post, card.mpp * card.stride
    if isinstance(post, PointsPost):
        return radius_px(post.radius_um / mpp) * card.stride
    if isinstance(post, MaskPost):
        radius = _largest_radius(card)
        reach = mask_reach(post, mpp, radius, centre=True)
        if not _has_centre(card):
            reach = max(reach, mask_reach(post, mpp, radius, centre=False))
        return reach * card.stride
    if isinstance(post, HoverPost):
        return hover_reach(post, mpp, _largest_radius(card)) * card.stride
    return instances_reach(card)


def _largest_radius(card: Card) -> int:
    return math.ceil(card.largest_nucleus_um / (card.mpp * card.stride) / 2)


def _has_centre(card: Card) -> bool:
    """Whether the card promises a map `centre`."""
    return "centre" in card.outputs or (isinstance(card.post, MaskPost) and bool(card.post.levels))


def _check(maps: Maps, name: str, size: tuple[int, int], channels: int) -> None:
    if name not in maps:
        raise ModelError(f"the model gave no map `{name}`; its card's outputs have to name one")
    shape = maps[name].shape
    if len(shape) != 3 or shape[1:] != size:
        raise ValueError(f"map `{name}` has shape {shape}, the box has {size[0]} x {size[1]} px")
    if shape[0] != channels:
        raise ModelError(
            f"the model's map `{name}` has {shape[0]} channels where its card needs {channels}; "
            "choose them with `channels` on the card, or list its classes"
        )


def _scaled(found: Nuclei, s: int) -> Nuclei:
    """From output px to model px."""
    return Nuclei(
        ref_x=found.ref_x * s,
        ref_y=found.ref_y * s,
        x=found.x * s,
        y=found.y * s,
        class_id=found.class_id,
        score=found.score,
        cut=found.cut,
        ring=None if found.ring is None else found.ring * s,
        ring_start=found.ring_start,
    )
