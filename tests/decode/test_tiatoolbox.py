"""HoVer-Net's post-processing as TIAToolbox has it, for an oracle."""

from __future__ import annotations

import numpy as np
import pytest
from drawn_maps import hover_maps, nuclei
from slow_decoders import hovernet

from wsiproc.decode import decode
from wsiproc.evaluate import rasterised
from wsiproc.geometry import Box
from wsiproc.metrics import instances
from wsiproc.seams._views import outlines

pytestmark = pytest.mark.tiatoolbox


@pytest.mark.parametrize(("blur", "noise"), [(0, 0), (1.5, 0.05), (3, 0.1)])
def test_nuclei_are_those_that_tiatoolbox_makes_of_the_same_maps(make_card, blur, noise):
    # Stands in for torchvision's operators where they don't load, without which TIAToolbox doesn't.
    pytest.importorskip("wsiproc.training.vision", exc_type=ImportError)
    hover_net = pytest.importorskip("tiatoolbox.models.architecture.hovernet").HoVerNet
    rng = np.random.default_rng(2)
    maps = hover_maps(nuclei(400, rng, spacing=24), rng, blur=blur, noise=noise)
    theirs = hover_net._proc_np_hv(maps["np"][0][..., None], maps["hv"].transpose(1, 2, 0))
    theirs = np.unique(theirs, return_inverse=True)[1].reshape(theirs.shape).astype(np.int32)
    box = Box(0, 0, 400, 400)
    found = decode(make_card("hover", mpp=0.25, largest=10, min_area_um2=0), maps, box, box)
    ours = rasterised(outlines(found), found.score, theirs.shape)
    said = instances(theirs, ours).scores()
    assert said["dq"] > 0.98
    assert said["pq"] > 0.93
    same = instances(theirs, hovernet(maps["np"][0], maps["hv"]).astype(np.int32)).scores()
    assert same["pq"] > 0.97, "what the other tests compare with is not HoVer-Net's rule"
