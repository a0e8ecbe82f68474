"""When: the graph of the 168 hours of a week, and its embedding between the hours.

STOUTER section 4.1: nodes are hours, features are one-hot, directed edges lead from each hour to the next (the short
period) and to the same hour of the next day (the long period). Both are cyclic over the week: Sunday 23 h leads to
Monday 0 h. The paper draws 24 nodes per day and seven days; here all 168 are nodes (see PAPERS).
"""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch_geometric.data import Data

HOURS_PER_DAY = 24
HOURS_PER_WEEK = 168


def temporal_graph() -> Data:
    """Return the temporal graph: `x` (168, 168) one-hot float32, `edge_index` (2, 336) int64, source above target.

    Node `day * 24 + hour`, day 0 being whichever day the caller's weeks begin with (Monday in gentraffic): the graph is
    the same for each choice, only the numbers turn. Edges are sorted by source, then target.
    """
    hour = torch.arange(HOURS_PER_WEEK)
    source = hour.repeat_interleave(2)  # (336,)
    target = torch.stack([hour + 1, hour + HOURS_PER_DAY], dim=1).remainder(HOURS_PER_WEEK)  # (168, 2)
    edge_index = torch.stack([source, target.sort(dim=1).values.reshape(-1)])
    return Data(x=torch.eye(HOURS_PER_WEEK), edge_index=edge_index)


def interpolate_hours(embedding: Tensor, hour_of_week: ArrayLike) -> Tensor:
    """Return the embedding at any times of the week, (T, D): linear between hour nodes, cyclic over the week.

    `embedding` (168, D), one row per hour node; `hour_of_week` (T,), in hours since the week began, of any sign and
    size: -0.5 is 167.5. Node h sits at time h exactly, so whole hours return its row bit for bit, h + 0.5 the mean of
    h and h + 1, and 167.5 that of 167 and 0. An hourly series counts what fell into [h, h + 1), so a series of shorter
    steps that wants each hour's steps centred on the node asks for `start + (step - 1) / 2`, start and step in hours.

    Raises ValueError when the embedding does not have 168 rows or a time is not finite.
    """
    if embedding.ndim != 2 or len(embedding) != HOURS_PER_WEEK:
        raise ValueError(f"embedding has shape {tuple(embedding.shape)}: give one row per hour of the week, (168, D)")
    hours = np.asarray(hour_of_week, dtype=np.float64)  # (T,)
    if hours.ndim != 1 or not np.isfinite(hours).all():
        raise ValueError(f"hour_of_week has shape {hours.shape}: give a flat array of finite hours")
    whole = np.floor(hours)
    share = torch.from_numpy(hours - whole).to(embedding)[:, None]  # (T, 1), of the later node
    before = torch.from_numpy(np.mod(whole, HOURS_PER_WEEK).astype(np.int64)).to(embedding.device)
    after = (before + 1).remainder(HOURS_PER_WEEK)
    return embedding[before] * (1 - share) + embedding[after] * share
