"""The model card: whose data each network saw, and under which terms."""

from dataclasses import replace

import pytest

from fsrcache.deployment.card import Card, model_card

CARD = Card(
    extractor="CovPoolFER", generator="best", data="FER2013 (CSV of pixels)", extractor_known=True, unlabelled=False,
    scales=(1, 2), classes=("a", "b"), side=48, grey=True, precision="fp32", difference=0.0, same=1.0, table="",
    digests={}, version="1",
)  # fmt: skip
LABELLED, UNKNOWN = "of the generator: FER2013 (CSV of pixels)\n", "not known to this program"


@pytest.mark.parametrize(
    ("changes", "there", "missing"),
    [
        ({}, ["of the extractor: FER2013", LABELLED, "FER2013 is for research"], [UNKNOWN]),
        ({"extractor_known": False}, [f"of the extractor: {UNKNOWN}", "The terms of the extractor's own"], []),
        ({"unlabelled": True}, [", and faces without labels\n", "The terms of the faces without labels"], [LABELLED]),
        ({"data": "class folders"}, ["Their terms are not known"], ["is for research"]),
        ({"data": "", "extractor_known": False}, ["of the generator: unknown, as the workspace had no store"], []),
    ],
)
def test_it_names_the_data_of_both_networks(changes, there, missing):
    text = model_card(replace(CARD, **changes))
    assert [words for words in there if words not in text] == []
    assert [words for words in missing if words in text] == []
