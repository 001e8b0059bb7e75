"""What the network says of a tile: windows read, run in batches, and put together."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsiproc.card import Card
from wsiproc.decode import Maps, Said, Views, concat_views, views_of
from wsiproc.errors import DeviceError
from wsiproc.finish import timed
from wsiproc.geometry import Box
from wsiproc.plan import Job, Planned
from wsiproc.slide import Slide, read_view
from wsiproc.store.maps import Layer, create_maps, write_core
from wsiproc.tiling import Grid, Tile, Window
from wsiproc.workbench import Workbench

BY_CLASS = ("prob", "class", "tp")
"""Maps that may have a channel for each class on the card."""


def network_says(
    job: Job,
    planned: Planned,
    card: Card,
    box: Box,
    windows: Sequence[Window],
    bench: Workbench,
    seconds: dict[str, float],
) -> Said:
    """The network's maps over `box` (global model px), ``[C, h, w]`` each; zero where no window is.

    Of a network that names nuclei, the windows' views of them.  The next batch is read while the
    network works on this one.
    """
    view, stain = planned.plan.view, planned.plan.stain_matrix
    maps: dict[str, NDArray[np.float32]] = {}
    views: list[Views] = []
    batch = planned.plan.session.batch
    groups = [windows[i : i + batch] for i in range(0, len(windows), batch)]

    def read(slide: Slide, group: Sequence[Window]) -> NDArray[np.uint8]:
        return np.stack([read_view(slide, view, window.read) for window in group])

    backend = planned.plan.facts.backend
    with bench.slide(job, backend) as slide, ThreadPoolExecutor(1, "read") as reader:
        ahead = [reader.submit(read, slide, group) for group in groups[:1]]
        for i, group in enumerate(groups):
            with timed(seconds, "read"):
                images = ahead.pop().result()
            if i + 1 < len(groups):
                ahead.append(reader.submit(read, slide, groups[i + 1]))
            with bench.session(job) as session, timed(seconds, "network"):
                if session.facts.numerics != planned.plan.session.numerics:
                    raise DeviceError(
                        f"this worker computes as {session.facts.numerics}, the run was begun as "
                        f"{planned.plan.session.numerics}: use workers of one kind, or start anew "
                        "with another --out"
                    )
                outputs = session.run(images, stain)
            if card.fixed_windows:
                views.append(views_of(card, outputs, group))
                continue
            for name, values in outputs.items():
                if name not in maps:
                    maps[name] = np.zeros((values.shape[1], *_size(box, card.stride)), np.float32)
                for window, value in zip(group, values, strict=True):
                    _place(maps[name], box, value, window, card.stride)
    return concat_views(views) if views else maps


def layers_of(card: Card, maps: Maps) -> dict[str, Layer]:
    """How each map is stored: what its channels are, and between which values it lies."""
    names = tuple(nucleus.name for nucleus in card.classes)
    layers = {}
    for name, values in maps.items():
        if name == "hv":
            layers[name] = Layer(("along x", "along y"), low=-1.0)
        elif name in BY_CLASS and len(values) == len(names):
            layers[name] = Layer(names)
        else:
            layers[name] = Layer((name,) * len(values))
    return layers


def store_maps(
    path: Path, maps: Maps, card: Card, grid: Grid, tile: Tile, planned: Planned
) -> None:
    """Store the maps over a tile's core; before its fragment, so that a finished tile has them."""
    s = card.stride
    layers = layers_of(card, maps)
    x, y = planned.plan.view.frame.um_per_px
    size = (-(-grid.width // s), -(-grid.height // s))
    create_maps(path, layers, size=size, um_per_px=(x * s, y * s), core=grid.core // s)
    box = whole_outputs(tile.decoded & grid.slide, s)
    rows, columns = (tile.core & grid.slide).slices_in(box)
    cores = {
        name: values[:, _strided(rows, s), _strided(columns, s)] for name, values in maps.items()
    }
    write_core(path, layers, tile.row, tile.column, cores)


def whole_outputs(box: Box, stride: int) -> Box:
    """`box`, made larger so that it is covered by whole pixels of the network's maps."""
    s = stride
    return Box(box.x0 // s * s, box.y0 // s * s, -(-box.x1 // s) * s, -(-box.y1 // s) * s)


def _size(box: Box, stride: int) -> tuple[int, int]:
    return (-(-box.height // stride), -(-box.width // stride))


def _place(
    into: NDArray[np.float32], box: Box, value: NDArray[np.float32], window: Window, stride: int
) -> None:
    """Copy the valid part of a window's map to its place."""
    part = window.valid & box
    to_rows, to_columns = part.slices_in(box)
    from_rows, from_columns = part.slices_in(window.read)
    into[:, _strided(to_rows, stride), _strided(to_columns, stride)] = value[
        :, _strided(from_rows, stride), _strided(from_columns, stride)
    ]


def _strided(span: slice, stride: int) -> slice:
    """A span of model px in output px."""
    return slice(span.start // stride, -(-span.stop // stride))
