"""An ensemble, and the probability that a cell's busiest hour exceeds what a site can carry."""

import sys
from pathlib import Path

import gentraffic
from gentraffic.dataset.summary import summary

out = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
traffic = gentraffic.sample("monaco", days=2, members=10, total="traffic=12TB/day")

capacity = 0.009  # TB in an hour: 20 Mbit/s, all day long
cells = summary(traffic, "traffic", capacity)
over = cells.p_above.values
print(f"{int((over > 0.5).sum())} of {len(over)} cells are more likely than not to exceed 20 Mbit/s in some hour")
worst = cells.isel(cell=int(over.argmax()))
print(f"cell {int(worst.cell_id)}: peak {float(worst.peak_p05):.3f} to {float(worst.peak_p95):.3f} TB in an hour (90%)")

gentraffic.export(traffic, "geopackage", out / "monaco.gpkg", capacity="20Mbit/s")  # for QGIS: cells, p_above
