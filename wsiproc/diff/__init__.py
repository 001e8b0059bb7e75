"""What a new model or version does to the nuclei of a slide."""

from wsiproc.diff.comparing import compare, regions
from wsiproc.diff.difference import CHANGES, Difference, Side
from wsiproc.diff.pairing import Pairs
from wsiproc.diff.tally import Spread, Tally

__all__ = ["CHANGES", "Difference", "Pairs", "Side", "Spread", "Tally", "compare", "regions"]
