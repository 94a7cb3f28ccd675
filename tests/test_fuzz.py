"""Any bytes that others may write: some thousand inputs for each reader; ``make fuzz`` tries a million, guided."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.soak.damage import damaged
from tests.soak.targets import TARGETS
from tests.soak.targets.target import Target

INPUTS = 3000
SEED = 4


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_any_bytes(target: Target) -> None:
    """What reads them answers rightly, or raises one of its own errors; its documentation says which."""
    inputs = damaged(target.seeds, target.words, target.longest, SEED)
    for data in islice(inputs, round(INPUTS * target.share)):
        try:
            target.run(data)
        except BaseException:
            print(f"the input was {data!r}")
            raise
