"""Settings of the detection branch: features, filters, fusion, centres and pseudo masks.

Lengths are in µm.  What the paper leaves open is said so; its own values are named where it has
some.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wsiproc.methods import MethodConfig

Colour = Literal["hed", "lab", "names"]


class FilterConfig(MethodConfig):
    """Correlation filters (Feng et al. 2022, sec. 2.1)."""

    cell_um: float = Field(default=1.0, gt=0)
    """Edge of a cell of the histograms of gradients, and of the grid that filters work on: 4 px at
    .25 µm, as trackers have it."""
    hog: bool = True
    """Whether filters see histograms of oriented gradients,"""
    hog_floor: float = Field(default=0.3, gt=0)
    """Norm of a block's gradients (optical density) below which it fades: glass has no texture."""
    colour: tuple[Colour, ...] = ("hed",)
    """and which colours; the paper has HOG and colour names."""
    colour_names: str = ""
    """File of the 32768 x 10 table of colour names, for `colour` ``names``; none ships."""
    colour_weight: float = Field(default=1.5, ge=0)
    """Standard deviation of the colour channels together, against 1 of the gradients."""
    template_um: float = Field(default=5.0, gt=0)
    """Edge that the nucleus' box is brought to at scale 1."""
    context: float = Field(default=2.0, ge=1)
    """Edge of the patch that a filter is learnt from, against that of the box: the Hann window
    darkens its rim."""
    scales: tuple[float, ...] = (0.6, 0.8, 1.0, 1.3, 1.7)
    """Sizes that each template is resized to (K of them; the paper does not say which)."""
    crops: tuple[float, ...] = (1.0, 0.75, 0.5)
    """Central parts of each filter (U of them; the paper does not say which)."""
    target_sigma: float = Field(default=0.1, gt=0)
    """Of the wanted response, against the patch's edge (Henriques et al. 2014)."""
    regularisation: float = Field(default=1.0, gt=0)
    """lambda of eq. 1, against the mean power of the patch's features."""
    weighting_of_crops: bool = False
    """Whether G of eq. 2 weighs the responses of crops,"""
    weighting: bool = False
    """and that of a scale.  As the paper has it, but a zero sum over a filter's width takes away
    from a nucleus what its neighbours say: crowded ones are lost.  The filters, being ridge
    regressions, sum to little as they are."""
    weight_sigma: float = Field(default=0.1, gt=0)
    """Standard deviation of G's Gaussian, against the filter's edge."""
    weight_sum: Literal["zero", "one"] = "zero"
    """What G sums to; zero in the paper."""
    top_t: int = Field(default=3, ge=1)
    """T of eq. 2."""
    top_h: int = Field(default=6, ge=1)
    """H of eq. 3; 3 in the paper."""
    cropped_fusion: bool = True
    """Table 3: without it, the whole filter alone."""
    scale_fusion: bool = True
    """Table 3: without it, the template's own scale alone."""
    mean_fusion: bool = False
    """Table 3, "mean": the mean of all templates in place of the top H."""
    gradient_directions: bool = True
    """Table 3, "GDBP": without it, centres are peaks of the response."""
    min_directions: int = Field(default=8, ge=1, le=8)
    """In how many of eight directions the response must fall."""
    centre_um: float = Field(default=0.75, gt=0)
    """P of eq. 4, 3 px at .25 µm."""
    area_um: float = Field(default=2.5, gt=0)
    """Q of eq. 4, 10 px at .25 µm."""
    least_gradient: float = Field(default=0.02, gt=0, lt=1)
    """Mean fall about a centre, on the response's scale, that is enough."""
    peak_radius_um: float = Field(default=2.0, gt=0)
    """A centre has the largest gradient within this distance."""
    background_below: float = Field(default=0.3, gt=0, lt=1)
    """t1 of eq. 5; .4 in the paper, by which more than a tenth of what nuclei cover would be
    taught to be background."""
    nucleus_above: float = Field(default=0.8, gt=0, lt=1)
    """Part of its centre's response above which a pixel belongs to a nucleus (eq. 5)."""
