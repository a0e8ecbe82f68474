"""A generator of one's own: every cell has the same day, and as much traffic as it has points of interest."""

import numpy as np

from gentraffic.generators.base import Family, ModelInfo


class Draw:
    """A draw of the rows `cells`: see gentraffic.generators.base.Draw."""

    units, block = "1", 1000

    def __init__(self, level, calendar):
        self.level, self.calendar = level, calendar

    def blocks(self, spans, threads=None, tell=None):
        hour = self.calendar.slot / self.calendar.per_hour
        day = 1 + np.cos(2 * np.pi * (hour - 18) / 24)  # busiest at six in the evening
        for span in spans:
            yield span, np.float32(self.level[span.first : span.end, None] * day)

    def arrays(self):
        return {"level": self.level}


class Generator:
    """See gentraffic.generators.base.Generator."""

    info = ModelInfo(family="flat", supports=frozenset({"change"}))

    def prepare(self, context, calendar, settings, *, cells=None, observed=None, scratch=None):
        pois = context["poi_count"].sum("category").values + 1.0
        return Draw((pois / pois.mean())[slice(None) if cells is None else cells], calendar)


class Flat(Family):
    """What the entry point names."""

    load = staticmethod(lambda folder: Generator())
