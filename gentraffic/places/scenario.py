"""What-if: a file of changes to a place, and the context after them.

The file is GeoJSON (or any vector file that says its CRS). Each feature changes the points of interest, or the known
base-station sites, of the cells that it touches: a point those that contain it (stations: whose coverage does), a
line those that it crosses, a polygon those whose centre lies inside.

    what      "pois" (default) or "sites"; or what a planner calls it: "mall", "stadium", "quarter", "dwellings",
              "residents", "offices", "station", "event", with a size (`places.words`): floor_area, seats, dwellings,
              residents, jobs, passengers, visitors; stadium and event also with times, "Sat 18:00-23:00", when
              visitors come; of the others times are opening hours, "Mon-Sat 9:00-21:00"
    change    "add" (default of the words) or "remove"
    category  one of the eight categories, or an OpenStreetMap tag as `key` and `value`; `remove` takes all without it
    count     how many (default: add 1, remove all); in a polygon the total, spread over its cells
    counts    {"Shop": 30, "Food": 12}: several categories at once, with `add`
    like      id of a cell, or name of a place on the map: with `add`, every cell of the polygon gets what is there; of
              a quarter with a size, the mix of what is there
    name      what the change is called

A change that no station covers goes to the nearest one. The effect of a word ends at its reach; that of `pois` and
`sites` where the model's ends. A word also adds floor area, residents or jobs, where the context has such
(`WORDS`). The context after holds the old counts too (`poi_count_before`): features are
standardised as before the change, so that a local change stays local (`gentraffic.modelling.features.reach_m`).
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gentraffic.dataset.geometry import cell_shapes
from gentraffic.errors import BadInput
from gentraffic.modelling.features import BEFORE
from gentraffic.places.words import (
    ON_THE_GROUND,
    WORDS,
    Open,
    Visit,
    counts_of,
    residents,
    size_of,
    spans_of,
    visits_added,
    within_hours,
)

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

CATEGORIES_HINT = "Education, Medical, Public, Entertainment, Traffic, Food, Shop, Others"
MOST = 1_000_000  # points of interest that one feature may add: a megacity has fewer
LIKE_M = 500.0  # around a named place, whose cells `like` means
FAR_M = 10_000.0  # from every station: such a change belongs to another place
LISTED = 2_000  # cells whose ids the attributes name: a file format may hold no more than 64 KiB of text
DARK = "dark"  # stations that a change switches off; their traffic is 0


@dataclass(frozen=True)
class Part:
    """One feature of a file of changes: what it is called, which word it is, the rows of the cells that it touches, and
    when people come, "" for no such times."""

    name: str
    what: str
    rows: NDArray[np.intp]
    times: str = ""


@dataclass(frozen=True)
class Changed:
    """A context after changes. touched: (cells,) whose own counts changed. lines: a line per change.

    weight: (cells,) how much of what the model makes of the change holds at a cell, 0 to 1. visits: people who come at
    some hours. parts: each feature, by its name, with the rows of the cells that it touches. opened: what has opening
    hours; always: (cells,) the weight of what has none."""

    context: xr.Dataset
    touched: NDArray[np.bool_]
    lines: tuple[str, ...]
    sha256: str
    weight: NDArray[np.float64]
    visits: tuple[Visit, ...] = ()
    parts: tuple[Part, ...] = ()
    opened: tuple[Open, ...] = ()
    always: NDArray[np.float64] | None = None

    def mixed(
        self, before: NDArray[np.float32], after: NDArray[np.float32], local: pd.DatetimeIndex,
        rows: Sequence[int] | None = None,
    ) -> NDArray[np.float32]:  # fmt: skip
        """What holds after the change, (members, cells, steps): `before`, `after` where `weight` is 1, between the two
        else; with the traffic of visitors, and none where a station is dark.

        before, after: (members, cells, steps) as drawn. local: (steps,) times. rows: of the context that are drawn.
        Raises BadInput where visitors come outside of the period, or some of the cells of visitors are not drawn."""
        chosen = np.arange(self.context.sizes["cell"]) if rows is None else np.asarray(rows)
        weight = self.weight[chosen].astype(np.float32)[:, None]
        mixed = np.where(weight == 1, after, before + weight * (after - before))
        if self.opened and self.always is not None:
            opened = tuple(replace(part, weight=part.weight[chosen]) for part in self.opened)
            at = np.flatnonzero(sum(part.weight for part in opened) > 0)
            opened = tuple(replace(part, weight=part.weight[at]) for part in opened)
            effect = within_hours(opened, self.always[chosen][at], mixed[:, at] - before[:, at], local)
            mixed[:, at] = np.maximum(before[:, at] + effect, 0.0)
        if self.visits:
            if rows is not None:
                raise BadInput("visitors at some hours need the traffic of the whole area: leave --select out")
            mixed = (mixed + visits_added(self.visits, before, local)).astype(np.float32)
        mixed[:, self.context[DARK].values[chosen]] = 0.0
        return np.asarray(mixed, dtype=np.float32)


def apply_changes(context: xr.Dataset, path: str | Path) -> Changed:
    """The context after the changes in the file at `path`.

    Raises BadInput for a file that cannot be read, a feature whose properties make no sense, one that lies outside the
    place, or that removes what is not there.
    """
    from gentraffic.io.user_cells import in_degrees, read_vector

    features: list[tuple[Any, dict[str, Any]]] = []
    if not _is_empty(Path(path)):
        frame = read_vector(path, "changes")
        empty = np.asarray(frame.geometry.isna() | frame.geometry.is_empty)
        if empty.any():
            raise BadInput(f"{path}, feature {int(np.argmax(empty)) + 1}: has no geometry; draw it or drop it")
        shapes = in_degrees(frame.geometry.force_2d(), path)
        rows = frame.drop(columns=frame.geometry.name).to_dict("records")
        features = list(zip(shapes, rows, strict=True))
    counts = context["poi_count"].values.astype(np.int64).copy()
    sites = context["stations"].values.astype(np.float64).copy() if "stations" in context else None
    dark = np.zeros(context.sizes["cell"], dtype=bool)
    ground: dict[str, NDArray[np.float64]] = {}
    lines: list[str] = []
    visits: list[Visit] = []
    parts: list[Part] = []
    opened: list[Open] = []
    weight, always = np.zeros((2, len(counts)))
    for number, (shape, row) in enumerate(features, start=1):
        properties = {str(key).lower(): value for key, value in row.items() if _given(value)}
        where = f"{path}, feature {number}{_named(properties)}"
        rows, note = _cells_of(shape, context), ""
        if not len(rows):
            rows, note = _nearest_station(shape, context, where)
        change = _Change(where, properties, context, rows)
        what = change.word("what", ("pois", "sites", *WORDS), "pois")
        before, times, hours = counts.copy(), "", None
        if what == "sites":
            line = change.sites(sites, dark)
        elif what == "pois":
            line = change.pois(counts)
        else:
            line, visit = change.named_thing(what, counts)
            change.on_the_ground(what, ground)
            visits += [visit] if visit is not None else []
            times = visit.times if visit is not None else ""
            hours = change.opening(what)
        lines.append(f"{line}{note}")
        called = str(properties.get("name") or (what if what in WORDS else "change"))
        if called in [part.name for part in parts] or called == "change":
            called += f" {number}"  # its number in the file
        parts.append(Part(called, what, rows, times))
        changed = rows if what in ("sites", *WORDS) else np.flatnonzero((counts != before).any(axis=1))
        own = _weight(context, changed, WORDS[what].reach_m if what in WORDS else None)
        weight = np.maximum(weight, own)
        if hours:
            opened.append(Open(where, own, spans_of(hours, where), str(hours)))
        elif what != "event":  # which adds visitors alone
            always += own
    after = context.assign({f"poi_count{BEFORE}": context["poi_count"]})
    after["poi_count"] = (("cell", "category"), counts.astype(np.int32), context["poi_count"].attrs)
    touched = (counts != context["poi_count"].values).any(axis=1) | dark
    if sites is not None:
        after[f"stations{BEFORE}"] = context["stations"]
        after["stations"] = ("cell", sites.astype(np.float32), context["stations"].attrs)
        touched |= sites != context["stations"].values
    for name, values in ground.items():
        after[f"{name}{BEFORE}"] = context[name]
        kept = np.promote_types(context[name].dtype, np.float32)
        after[name] = ("cell", values.astype(kept), context[name].attrs)
        touched |= ~np.isclose(values, context[name].values, rtol=0, atol=0, equal_nan=True)
    after[DARK] = ("cell", dark)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return Changed(after, touched, tuple(lines), digest, weight, tuple(visits), tuple(parts), tuple(opened), always)


def about(changed: Changed, path: Path, layers: int) -> dict[str, str]:
    """The attributes that say what was changed, and how far it can reach. layers: of the station graph's encoder."""
    reach = influence_m(changed.context, layers) / 1000
    words = (changed.weight < 1).any() and not np.isin(changed.weight, (0.0, 1.0)).all()
    if words or (changed.visits and not changed.touched.any()):
        reach = min(reach, _furthest_m(changed) / 1000)
    return {
        "change": path.name,
        "change_sha256": changed.sha256,
        "change_summary": "\n".join(changed.lines) or "nothing is changed",
        "change_parts": _parts_text(changed),
        "change_reach": f"nothing differs beyond {reach:.3g} km, east-west or north-south, of the cells changed",
    }


def _parts_text(changed: Changed) -> str:
    """JSON: name, word and cell ids of each feature, so that a report can tell them apart. Ids are left out of a
    feature of many cells, beyond LISTED in all."""
    ids, room = changed.context["cell_id"].values, LISTED
    listed = []
    for part in changed.parts:
        room -= (own := len(part.rows) if len(part.rows) <= room else 0)
        cells = [str(i) for i in ids[part.rows]] if own else []
        listed.append({"name": part.name, "what": part.what, "times": part.times, "cells": cells})
    return json.dumps(listed, ensure_ascii=False)


def influence_m(context: xr.Dataset, layers: int) -> float:
    """How far, in metres along x or y, a change of one cell's counts reaches: features, then layers of the graph."""
    from gentraffic.modelling.features import reach_m
    from graphs.build import RADIUS_M

    return max(reach_m(), layers * RADIUS_M)


@dataclass(frozen=True)
class _Change:
    """One feature: where it stands in the file, its properties in lower case, and the rows of the cells it touches."""

    where: str
    properties: dict[str, Any]
    context: xr.Dataset
    rows: NDArray[np.intp]

    def word(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        value = self.properties.get(key, default)
        if not isinstance(value, str) or value not in allowed:
            raise BadInput(f"{self.where}: {key} is {value!r}; give {' or '.join(repr(a) for a in allowed)}")
        return value

    def whole(self, value: Any, key: str) -> int:
        try:
            number = int(value)
        except (TypeError, ValueError, OverflowError):
            number = 0
        if not 1 <= number <= MOST or number != float(value):
            raise BadInput(f"{self.where}: {key} is {value!r}; give a whole number of 1 or more, at most {MOST:,}")
        return number

    def column(self, name: Any) -> int:
        from poi.categories import CATEGORIES

        if not isinstance(name, str) or name not in CATEGORIES:
            raise BadInput(f"{self.where}: no category {name!r}; give one of {CATEGORIES_HINT}, or key and value")
        return CATEGORIES.index(name)

    def columns(self) -> list[int] | None:
        """The categories that the feature names; None where it names none."""
        from poi.categories import categorise

        if "category" in self.properties:
            return [self.column(self.properties["category"])]
        if "key" in self.properties:
            found = categorise({str(self.properties["key"]): str(self.properties.get("value", ""))})
            if found is None:
                tag = f"{self.properties['key']}={self.properties.get('value', '')}"
                raise BadInput(f"{self.where}: {tag} is no point of interest; give a category: {CATEGORIES_HINT}")
            return [self.column(found[0])]
        return None

    def named_thing(self, what: str, counts: NDArray[np.int64]) -> tuple[str, Visit | None]:
        """Change `counts` (cells, 8) by a mall or the like, in place; what was done, and who comes at stated times."""
        word, name = WORDS[what], str(self.properties.get("name") or what)
        for key in ("count", "category", "key", "value"):
            if key in self.properties:
                raise BadInput(
                    f"{self.where}: {key} does not go with {what}; give {' or '.join(word.sizes)}, or counts"
                )
        size, said = size_of(what, self.properties, self.where)
        adds = self.word("change", ("add", "remove"), "add") == "add"
        wanted = self._counts() if "counts" in self.properties else self._of_word(what, size)
        if not adds:
            raise BadInput(f"{self.where}: to remove, give what is there as pois: category and count, or neither")
        for column, count in wanted.items():
            each = self.context.attrs["kind"] == "stations"
            counts[self.rows, column] += count if each else _spread(count, np.ones(len(self.rows)))
        visit = None
        if not word.attends and "times" in self.properties:
            said += f", open {self.properties['times']}"
        elif "times" in self.properties or what == "event":
            if "times" not in self.properties:
                raise BadInput(f"{self.where}: when is it? give times, such as Sat 18:00-23:00")
            people = word.attends * size
            of, basis = residents(self.context, self.properties.get("area_residents"), self.where)
            visit = Visit(self.where, self.rows, people, of, spans_of(self.properties["times"], self.where))
            said += f"{f'; {people:,.0f} people' if people != size else ''} {visit.times} ({basis})"
        cells = f"{len(self.rows)} cell{'s' * (len(self.rows) != 1)}"
        total = sum(wanted.values())
        places = f": +{total} points of interest in {cells}" if total else f" in {cells}"
        if not word.rates and not word.attends:
            places = f": {self._ground_in_words(what, size)} in {cells}"
        return f"{name}, {said}{places}", visit

    def _ground_in_words(self, what: str, size: float) -> str:
        """What a word that is nothing else adds to the ground. Raises BadInput where the place knows nothing of it."""
        ground = WORDS[what].ground
        known = [f"+{rate * size:,.0f} {ON_THE_GROUND[name]}" for name, rate in ground.items() if name in self.context]
        if not known:
            lacking = " and no ".join(ON_THE_GROUND[name].removeprefix("m2 of ") for name in ground)
            raise BadInput(
                f"{self.where}: this place knows no {lacking}, so that {what} change nothing; "
                "give --population FILE, or what: quarter"
            )
        return ", ".join(known)

    def on_the_ground(self, what: str, ground: dict[str, NDArray[np.float64]]) -> None:
        """Add the floor area, residents or jobs of a word where the context has such; `ground`, name -> (cells,), holds
        what was changed before, and is changed in place."""
        size, _ = size_of(what, self.properties, self.where)
        for name, rate in WORDS[what].ground.items():
            if name not in self.context:
                continue
            values = ground.setdefault(name, self.context[name].values.astype(np.float64))  # NaN: not known
            each = self.context.attrs["kind"] == "stations"
            values[self.rows] += rate * size if each else rate * size / len(self.rows)

    def opening(self, what: str) -> Any:
        """The opening hours of a word whose times are that, as they were read; None for none."""
        return None if WORDS[what].attends else self.properties.get("times")

    def _of_word(self, what: str, size: float) -> dict[int, int]:
        """Column -> points of interest of a word; with `like`, as many in the mix of what is there."""
        wanted = {self.column(name): count for name, count in counts_of(what, size).items()}
        if "like" not in self.properties or not wanted:
            return wanted
        mix = self._like().sum(axis=0).astype(np.float64)
        if not mix.any():
            raise BadInput(f"{self.where}: there is nothing at {self.properties['like']!r} to be like")
        shared = _spread(sum(wanted.values()), mix)
        return {column: int(count) for column, count in enumerate(shared) if count}

    def _like(self) -> NDArray[np.int64]:
        """(cells, 8) counts of the cell, or of the cells around the place, that `like` names."""
        ids, counts = self.context["cell_id"].values.astype(str).tolist(), self.context["poi_count"].values
        like = _plain_id(self.properties["like"])
        if like in ids:
            return np.asarray(counts[[ids.index(like)]], dtype=np.int64)
        names = self.context["map_name"].values.astype(str).tolist() if "map_name" in self.context.coords else []
        found = [i for i, name in enumerate(names) if name.casefold() == like.casefold()]
        if not found:
            near = difflib.get_close_matches(like, names, n=3, cutoff=0.5)
            hint = f"; places on the map: {', '.join(near or names[:3])}" if names else ""
            raise BadInput(f"{self.where}: like names {like!r}, which is no cell of this place{hint}")
        at = (float(self.context[f"map_name_{axis}"].values[found[0]]) for axis in ("lon", "lat"))
        away = _away_m(self.context, *at)
        return np.asarray(counts[away <= max(LIKE_M, float(away.min()))], dtype=np.int64)

    def pois(self, counts: NDArray[np.int64]) -> str:
        """Change `counts` (cells, 8) in place; return what was done."""
        before = counts[self.rows].sum()
        ways = [key for key in ("like", "counts", "category") if key in self.properties]
        if len(ways) > 1:
            raise BadInput(f"{self.where}: {ways[0]} and {ways[1]} say two things; give one of them")
        if self.word("change", ("add", "remove")) == "add":
            self._add(counts)
        else:
            self._remove(counts)
        done = int(counts[self.rows].sum() - before)
        name = self.properties.get("name") or ("added" if done >= 0 else "removed")
        return f"{name}: {done:+d} points of interest in {len(self.rows)} cell{'s' * (len(self.rows) != 1)}"

    def _add(self, counts: NDArray[np.int64]) -> None:
        if "like" in self.properties:
            counts[self.rows] += np.rint(self._like().mean(axis=0)).astype(np.int64)
            return
        wanted = self._counts()
        for column, count in wanted.items():
            # Stations overlap: a POI at a point is in the coverage of each of them.
            each = self.context.attrs["kind"] == "stations"
            counts[self.rows, column] += count if each else _spread(count, np.ones(len(self.rows)))

    def _counts(self) -> dict[int, int]:
        if "counts" in self.properties:
            given = self.properties["counts"]
            try:
                given = dict(json.loads(given) if isinstance(given, str) else given)
            except (TypeError, ValueError) as error:
                raise BadInput(f'{self.where}: counts is {given!r}; give {{"Shop": 30, "Food": 12}}') from error
            return {self.column(name): self.whole(n, f"{name} in counts") for name, n in given.items() if _given(n)}
        columns = self.columns()
        if columns is None:
            raise BadInput(f"{self.where}: add what? give category ({CATEGORIES_HINT}) and count, counts, or like")
        return {columns[0]: self.whole(self.properties.get("count", 1), "count")}

    def _remove(self, counts: NDArray[np.int64]) -> None:
        for key in ("like", "counts"):
            if key in self.properties:
                raise BadInput(f"{self.where}: {key} goes with add; to remove, give category and count, or neither")
        columns = self.columns() or list(range(counts.shape[1]))
        block = np.ix_(self.rows, np.array(columns))
        there = counts[block]
        if not there.any():
            names = ", ".join(str(n) for n in self.context["cell_id"].values[self.rows[:3]])
            raise BadInput(f"{self.where}: there is nothing to remove in cell {names}")
        if "count" not in self.properties:
            counts[block] = 0
            return
        count = self.whole(self.properties["count"], "count")
        if count > there.sum():
            raise BadInput(f"{self.where}: removes {count} points of interest, and there are {int(there.sum())}")
        counts[block] -= _spread(count, there.reshape(-1).astype(np.float64)).reshape(there.shape)

    def sites(self, sites: NDArray[np.float64] | None, dark: NDArray[np.bool_]) -> str:
        """Change the known sites, or switch stations off, in place; return what was done."""
        adds = self.word("change", ("add", "remove")) == "add"
        name = self.properties.get("name") or ("new site" if adds else "dark site")
        if self.context.attrs["kind"] == "stations":
            if adds:
                raise BadInput(f"{self.where}: this place is a list of stations; add the new one to --stations instead")
            dark[self.rows] = True
            return f"{name}: {len(self.rows)} station{'s' * (len(self.rows) != 1)} off"
        if sites is None:
            raise BadInput(f"{self.where}: this place knows no sites; give them with `gentraffic fetch --sites FILE`")
        if adds:
            count = self.whole(self.properties.get("count", 1), "count")
            sites[self.rows] += _spread(count, np.ones(len(self.rows)))
            return f"{name}: +{count} radio cells"
        there = sites[self.rows].sum()
        if not there:
            raise BadInput(f"{self.where}: there is no known site to remove")
        count = self.whole(self.properties["count"], "count") if "count" in self.properties else there
        if count > there:
            raise BadInput(f"{self.where}: removes {count} radio cells, and there are {there:g}")
        sites[self.rows] *= 1.0 - count / there
        return f"{name}: -{count:g} radio cells"


def _spread(count: int, weight: NDArray[np.float64]) -> NDArray[np.int64]:
    """`count` shared out in whole numbers by largest remainder, never more than a weight that is a whole count."""
    share = count * weight / weight.sum()
    whole: NDArray[np.int64] = np.floor(share).astype(np.int64)
    left = count - int(whole.sum())
    whole[np.argsort(-(share - whole), kind="stable")[:left]] += 1
    return whole


def _cells_of(shape: Any, context: xr.Dataset) -> NDArray[np.intp]:
    """Rows of the cells that a feature touches; empty outside of the place."""
    import pyproj
    import shapely

    if shape is None or shape.is_empty:
        return np.zeros(0, dtype=np.intp)
    to_metres = pyproj.Transformer.from_crs("EPSG:4326", context.attrs["crs_wkt"], always_xy=True)
    xy = np.stack([context["x"].values, context["y"].values], axis=1)
    if shape.geom_type in ("Polygon", "MultiPolygon"):
        outline = shapely.transform(shape, lambda c: np.stack(to_metres.transform(c[:, 0], c[:, 1]), axis=1))
        inside = np.flatnonzero(shapely.contains_xy(outline, xy[:, 0], xy[:, 1]))
        if len(inside) or context.attrs["kind"] == "stations":
            return inside
        shape = shape.centroid  # smaller than a cell
    if shape.geom_type != "Point" and hasattr(shape, "geoms"):
        return np.unique(np.concatenate([_cells_of(part, context) for part in shape.geoms]))
    drawn = shapely.transform(shape, lambda c: np.stack(to_metres.transform(c[:, 0], c[:, 1]), axis=1))
    if context.attrs["kind"] == "stations":
        return np.flatnonzero(shapely.distance(shapely.points(xy), drawn) <= float(context.attrs.get("radius_m", 500)))
    if "footprint" in context.coords:
        found = np.flatnonzero(shapely.intersects(cell_shapes(context), shape))
    else:
        half = float(context.attrs["cell_m"]) / 2
        (x, y), (west, south, east, north) = xy.T, drawn.bounds
        found = np.flatnonzero((x + half >= west) & (x - half <= east) & (y + half >= south) & (y - half <= north))
        boxes = shapely.box(x[found] - half, y[found] - half, x[found] + half, y[found] + half)
        found = found[shapely.intersects(boxes, drawn)]
    return found[:1] if shape.geom_type == "Point" else found


def _away_m(context: xr.Dataset, lon: float, lat: float) -> NDArray[np.float64]:
    """(cells,) metres from a point in degrees."""
    import pyproj

    to_metres = pyproj.Transformer.from_crs("EPSG:4326", context.attrs["crs_wkt"], always_xy=True)
    x, y = to_metres.transform(lon, lat)
    return np.asarray(np.hypot(context["x"].values - x, context["y"].values - y))


def _nearest_station(shape: Any, context: xr.Dataset, where: str) -> tuple[NDArray[np.intp], str]:
    """The station nearest to a change that none covers, and a note. Raises BadInput for cells, and beyond FAR_M."""
    place = context.attrs.get("place", "the place")
    if context.attrs["kind"] != "stations" or shape is None or shape.is_empty:
        raise BadInput(f"{where}: lies in no cell of {place}")
    middle = shape.centroid
    away = _away_m(context, float(middle.x), float(middle.y))
    row = int(np.argmin(away))
    if away[row] > FAR_M:
        raise BadInput(f"{where}: lies {away[row] / 1000:.0f} km from the nearest station of {place}")
    name = context["cell_id"].values[row]
    note = f"; no station covers it: put to the nearest, {name}, {away[row]:,.0f} m away"
    return np.array([row], dtype=np.intp), note


def _weight(context: xr.Dataset, rows: NDArray[np.intp], reach_m: float | None) -> NDArray[np.float64]:
    """(cells,) 1 at the cells `rows`, falling to 0 at `reach_m` beyond them; 1 everywhere for None."""
    if reach_m is None:
        return np.ones(context.sizes["cell"]) if len(rows) else np.zeros(context.sizes["cell"])
    away = _beyond_m(context, rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        fall = 0.5 + 0.5 * np.cos(np.pi * np.clip(away / reach_m, 0.0, 1.0)) if reach_m else np.zeros(len(away))
    fall[rows] = 1.0
    return np.asarray(np.where(away <= 0, 1.0, fall) if reach_m else fall, dtype=np.float64)


def _beyond_m(context: xr.Dataset, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """(cells,) metres from a cell's middle to the nearest of `rows`, less half a side for the edge of that one."""
    from scipy.spatial import cKDTree

    xy = np.stack([context["x"].values, context["y"].values], axis=1)
    if not len(rows):
        return np.full(len(xy), np.inf)
    away, _ = cKDTree(xy[rows]).query(xy)
    return np.maximum(np.asarray(away) - float(context.attrs.get("cell_m", 0.0)) / 2, 0.0)


def _furthest_m(changed: Changed) -> float:
    """How far beyond the cells of the changes anything differs, in metres."""
    return float(_beyond_m(changed.context, np.flatnonzero(changed.weight == 1))[changed.weight > 0].max(initial=0.0))


def _is_empty(path: Path) -> bool:
    """Whether the file is a GeoJSON collection of no features: no change."""
    if path.suffix.lower() not in (".geojson", ".json") or not path.is_file() or path.stat().st_size > 10_000:
        return False
    try:
        return bool(json.loads(path.read_text(encoding="utf-8-sig"))["features"] == [])
    except (ValueError, KeyError, TypeError):
        return False


def _plain_id(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _given(value: Any) -> bool:
    """Whether a property is there: missing ones come as None or NaN."""
    return value is not None and not (isinstance(value, float) and np.isnan(value))


def _named(properties: dict[str, Any]) -> str:
    return f" ({properties['name']})" if properties.get("name") else ""
