"""A generator of one's own: the same day in every cell, and traffic as the points of interest there, more or less."""

import zlib

import numpy as np

from gentraffic.generators.base import Family, ModelInfo


class Draw:
    """A draw of the rows `cells`: see gentraffic.generators.base.Draw."""

    units, block = "1", 1000

    def __init__(self, level, calendar, seed, ids):
        self.level, self.calendar, self.seed, self.ids = level, calendar, seed, ids

    def blocks(self, spans, threads=None, tell=None):
        hour = self.calendar.slot / self.calendar.per_hour
        day = 1 + np.cos(2 * np.pi * (hour - 18) / 24)  # busiest at six in the evening
        for span in spans:
            rows = slice(span.first, span.end)
            # each cell of each member has numbers of its own, whichever spans are asked for
            noise = [np.random.default_rng((self.seed, span.member, cell)).normal() for cell in self.ids[rows]]
            level = self.level[rows] * np.exp(0.3 * np.array(noise))
            yield span, np.float32(level[:, None] * day)

    def arrays(self):
        return {"level": self.level, "ids": self.ids}


class Generator:
    """See gentraffic.generators.base.Generator."""

    info = ModelInfo(family="flat", supports=frozenset({"change"}))

    def prepare(self, context, calendar, settings, *, cells=None, observed=None, scratch=None):
        pois = context["poi_count"].sum("category").values + 1.0
        rows = slice(None) if cells is None else cells
        ids = np.array([zlib.crc32(str(cell).encode()) for cell in context["cell_id"].values])
        return Draw((pois / pois.mean())[rows], calendar, settings.seed, ids[rows])


class Flat(Family):
    """What the entry point names."""

    load = staticmethod(lambda folder: Generator())
