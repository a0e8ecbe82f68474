"""A week of traffic for a bundled city, in units that a planner knows; the busiest cell and hour; a file and a map."""

import sys
from pathlib import Path

import gentraffic
from gentraffic.io.files import write_traffic
from gentraffic.reports.webmap import write_map

out = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
traffic = gentraffic.sample("monaco", days=7, total="traffic=12TB/day")

by_hour = traffic.traffic.sum("cell").to_series().tz_localize("UTC").tz_convert(traffic.timezone)
by_hour = by_hour.groupby(by_hour.index.hour).sum() / 7
busiest = traffic.traffic.mean("time").argmax("cell")
print(f"{traffic.place}: {float(traffic.traffic.sum()) / 7:.2f} TB a day over {traffic.sizes['cell']} cells")
print(f"busiest: {by_hour.idxmax()}:00 local with {by_hour.max():.2f} TB; cell {int(traffic.cell_id[busiest])}")

write_traffic(traffic, out / "monaco.nc")
write_map(traffic, out / "monaco.html")
