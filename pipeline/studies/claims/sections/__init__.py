"""What is written about each claim: how it was measured, what was seen, and which statements hold.

`memory`, `costs` and `scores` hold the sections, and `figures` what they have in common.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.studies.claims.sections import costs, memory, scores
from pipeline.studies.claims.sections.figures import Measured
from pipeline.studies.claims.statements import Section

SECTIONS: dict[int, Callable[[Measured], Section]] = {
    1: memory.vanishing,
    2: memory.memory,
    3: costs.frugal,
    4: scores.both_ways,
    5: scores.stacking,
    6: costs.parallel,
    7: scores.positions,
    8: scores.pretraining,
}
