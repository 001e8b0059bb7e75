"""Tiles' nuclei to the slide's: each nucleus once.

A nucleus belongs to the tile whose core holds its reference pixel, so for a model whose tiles
agree to the last bit there is nothing to decide, and every disagreement found here is an error.
For other models two tiles may draw one nucleus differently.  What each says of the places near a
seam is compared, and only there:

* what a tile says outside its core gives way to what the owner of that place says;
* where two tiles each own a view of one nucleus, the better view stays: the one seen whole, then
  the larger, the more certain, the one with the smaller name;
* where each tile puts the nucleus on the other's side, so that nobody owns it, one adopts it;
* a nucleus that no tile saw whole becomes the union of what they saw.

Two views show the same nucleus if they carry the same name, if their intersection is at least
half of the smaller (of what both tiles could see), or, for points, within the radius of
suppression.  Intersection over union would not do: a fragment and its whole have little of it.

Decisions compare views, never the order in which tiles were made or are given here.
"""

from wsiproc.seams._audit import SeamAudit
from wsiproc.seams._join import Change, Load, Seams, join
from wsiproc.seams._same import SAME
from wsiproc.seams._views import Parts, split

__all__ = ["SAME", "Change", "Load", "Parts", "SeamAudit", "Seams", "join", "split"]
