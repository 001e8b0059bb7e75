"""Who is near whom: distances to the nearest nucleus of a class, and nuclei within a radius.

Distances are between centroids.  Neighbours are looked for on the whole slide, also where rows
are asked for in a part of it, so that the border of that part makes nobody lonelier than they
are.  The edge of the tissue does: what lies beyond it was not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from wsiproc.errors import ConfigError
from wsiproc.results.stored import CENTROIDS, StoredResult, tables


@dataclass(frozen=True, slots=True)
class Asked:
    """Columns about neighbours that are wanted.

    Parameters
    ----------
    nearest
        Classes: each gives a column ``nearest_CLASS_um``, the distance to the nearest other
        nucleus of that class; missing where the slide has none.
    around_um
        Gives for each class a column ``around_CLASS``, how many other nuclei of it are no further
        away than this.
    """

    nearest: tuple[str, ...] = ()
    around_um: float | None = None

    def __post_init__(self) -> None:
        if self.around_um is not None and not 0 < self.around_um <= 1000:
            raise ConfigError("the radius around a nucleus has to be between 0 and 1000 µm")
        if len(set(self.nearest)) < len(self.nearest):
            raise ConfigError("a class is named twice")

    def fields(self, classes: tuple[str, ...]) -> tuple[pa.Field, ...]:
        """The columns, where the model has `classes`."""
        near = [
            pa.field(
                f"nearest_{name}_um",
                pa.float32(),
                metadata={"unit": "µm", "description": f"to the nearest other {name}"},
            )
            for name in self.nearest
        ]
        if self.around_um is None:
            return tuple(near)
        within = f"other nuclei within {self.around_um:g} µm"
        return *near, *(
            pa.field(f"around_{name}", pa.int32(), metadata={"unit": "1", "description": within})
            for name in classes
        )


@dataclass(frozen=True, slots=True, eq=False)
class Neighbourhood:
    """The nuclei of a slide, by class, ready to be searched.

    Parameters
    ----------
    trees
        By class name; classes without nuclei are left out.
    """

    trees: dict[str, cKDTree]

    @classmethod
    def of(cls, result: StoredResult) -> Self:
        """Of all nuclei of a result: some 60 bytes each are held.

        Raises
        ------
        StoreError
            If the result cannot be read.
        """
        columns = ["class_id", "x_um", "y_um"]
        rows = pa.concat_tables(tables(result.file(CENTROIDS), columns=columns))
        class_id = np.asarray(rows["class_id"])
        xy = np.column_stack([np.asarray(rows["x_um"]), np.asarray(rows["y_um"])])
        trees = {}
        for number, one in enumerate(result.classes):
            if len(points := xy[class_id == number]):
                # Rows lie along a Hilbert curve: splitting in the middle keeps the tree shallow.
                trees[one.name] = cKDTree(points, balanced_tree=False, compact_nodes=False)
        return cls(trees)

    def nearest_um(self, rows: pa.Table, name: str) -> NDArray[np.float32]:
        """``[n]`` distances to the nearest other nucleus of a class; nan where there is none.

        Parameters
        ----------
        rows
            With ``x_um``, ``y_um`` and ``class_name``; nuclei of this slide.
        """
        if name not in self.trees:
            return np.full(len(rows), np.nan, np.float32)
        xy, own = _places(rows, name)
        distances, _ = self.trees[name].query(xy, k=2)
        # A nucleus of the class finds itself first.
        distance = np.where(own, distances[:, 1], distances[:, 0])
        return np.where(np.isfinite(distance), distance, np.nan).astype(np.float32)

    def around(self, rows: pa.Table, name: str, radius_um: float) -> NDArray[np.int32]:
        """``[n]`` how many other nuclei of a class are within a radius, its rim included."""
        if name not in self.trees:
            return np.zeros(len(rows), np.int32)
        xy, own = _places(rows, name)
        found = self.trees[name].query_ball_point(xy, radius_um, return_length=True)
        return (np.asarray(found) - own).astype(np.int32)

    def columns(self, rows: pa.Table, asked: Asked, classes: tuple[str, ...]) -> pa.Table:
        """The columns of `Asked.fields` for some rows."""
        near = [pa.array(self.nearest_um(rows, name), from_pandas=True) for name in asked.nearest]
        radius = asked.around_um
        around = [] if radius is None else [pa.array(self.around(rows, n, radius)) for n in classes]
        return pa.table([*near, *around], schema=pa.schema(asked.fields(classes)))


def _places(rows: pa.Table, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Centroids ``[n, 2]``, and which of the rows are of the class themselves."""
    xy = np.column_stack([np.asarray(rows["x_um"]), np.asarray(rows["y_um"])])
    own = rows["class_name"].to_numpy(zero_copy_only=False) == name
    return xy, np.asarray(own, np.bool_)
