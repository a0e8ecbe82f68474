"""What a new quarter would change: traffic before and after, drawn with the same noise."""

import json
import sys
from pathlib import Path

import numpy as np

import gentraffic

out = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
place = {"type": "Point", "coordinates": [7.4167, 43.7288]}
quarter = {"change": "add", "counts": {"Shop": 40, "Food": 25, "Public": 5}, "name": "new quarter"}
changes = {"type": "FeatureCollection", "features": [{"type": "Feature", "properties": quarter, "geometry": place}]}
(out / "changes.geojson").write_text(json.dumps(changes))

traffic = gentraffic.sample("monaco", days=2, change=out / "changes.geojson")
effect = (traffic.traffic_after - traffic.traffic_before).mean("time")
where = int(np.abs(effect).argmax("cell"))
print(traffic.change_summary)
print(traffic.change_reach)
before = float(traffic.traffic_before.isel(cell=where).mean())
print(f"cell {int(traffic.cell_id[where])}: {before:.2f} -> {before + float(effect[where]):.2f} (1 = the mean cell)")
