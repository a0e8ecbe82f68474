"""The pictures of the README and of the gallery.

python docs/pictures/make_pictures.py            # milan-week.gif and milan-plot.png, beside this file
python docs/pictures/make_pictures.py --gallery  # pages of docs/gallery.md as Chromium shows them: gallery-*.png
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
import xarray as xr
from matplotlib import pyplot as plt
from matplotlib.colors import BoundaryNorm
from PIL import Image

import gentraffic

HERE = Path(__file__).parent
STEP_H, FRAME_MS = 4, 260  # hours between frames; how long each is shown
COLOURS, SHADES = 24, 11
MOST_BYTES = 1_000_000
MALL = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "geometry": {"type": "Point", "coordinates": [9.5215, 47.1411]},
            "properties": {"what": "mall", "name": "Galleria", "floor_area": 40000},
        }
    ],
}
GALLERY = {  # picture -> the page, width, height, dark, and the command of docs/gallery.md that makes the page
    "gallery-map.png": (1200, 780, False, "sample --city liechtenstein --members 20 --total traffic=3TB/day "
                                          "-o town.nc --map town.html"),
    "gallery-phone.png": (400, 780, True, "map town.nc -o phone.html"),
    "gallery-report.png": (1200, 1500, False, "report town.nc -o report.html --capacity 2Mbit/s"),
    "gallery-plan.png": (1200, 780, True, "plan deploy town.nc --sites 10 --radius 400 -o sites.geojson "
                                          "--map sites.html"),
    "gallery-change.png": (1200, 780, False, "sample --city liechtenstein --change mall.geojson -o what-if.nc "
                                             "--map difference.html"),
}  # fmt: skip


def moving_map(traffic: xr.Dataset, path: Path) -> None:
    """A picture that moves: a frame every STEP_H hours of the week, in local time. The 10,000 cells lie in a square."""
    side = int(np.sqrt(traffic.sizes["cell"]))
    local = traffic["time"].to_index().tz_localize("UTC").tz_convert(traffic.attrs["timezone"])
    edges = np.geomspace(0.05, 12, SHADES)
    values = traffic["traffic"].values.reshape(side, side, -1)  # (south to north, west to east, time)
    figure, axes = plt.subplots(figsize=(5.2, 4.6), dpi=100)
    drawn = axes.imshow(values[..., 0], origin="lower", norm=BoundaryNorm(edges, 256), cmap="inferno")
    axes.set_axis_off()
    bar = figure.colorbar(drawn, ax=axes, shrink=0.8, pad=0.02, ticks=edges[::2], format="%.2g")
    bar.set_label("traffic; 1 is the mean cell in a mean hour")
    figure.tight_layout()
    frames = []
    for i in range(0, len(local), STEP_H):
        drawn.set_data(values[..., i].clip(edges[0], edges[-1] * 0.999))
        axes.set_title(f"Milan  {local[i]:%a %H:%M}", fontsize=11, family="monospace")
        held = BytesIO()
        figure.savefig(held)
        frames.append(Image.open(held).convert("RGB"))
    palette = frames[len(frames) // 2].quantize(COLOURS)
    small = [f.quantize(palette=palette, dither=Image.Dither.NONE) for f in frames]
    small[0].save(path, save_all=True, append_images=small[1:], duration=FRAME_MS, loop=0, optimize=True)


def plot(traffic: xr.Dataset, path: Path) -> None:
    """What `gentraffic sample --plot` writes, with fewer colours."""
    held = path.with_suffix(".large.png")
    gentraffic.draw_plot(traffic, held)
    picture = Image.open(held).convert("RGB")
    picture.thumbnail((1100, 1100))
    picture.quantize(128).save(path, optimize=True)
    held.unlink()


def gallery() -> None:
    """Type the commands of the gallery, and take a picture of each page in Chromium."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("Chromium is not installed: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "mall.geojson").write_text(json.dumps(MALL), encoding="utf-8")
        for name, (width, height, dark, command) in GALLERY.items():
            words = command.split()
            subprocess.run([sys.executable, "-m", "gentraffic", *words, "--quiet"], cwd=folder, check=True)
            page = next(word for word in words if word.endswith(".html"))
            shot = Path(folder) / name
            options = [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=8000",
                f"--blink-settings=preferredColorScheme={0 if dark else 1}", f"--window-size={width},{height}",
            ]  # fmt: skip
            subprocess.run(
                [browser, *options, f"--screenshot={shot}", f"file://{folder}/{page}"], check=True, capture_output=True
            )
            Image.open(shot).convert("RGB").quantize(256).save(HERE / name, optimize=True)
            print(name, (HERE / name).stat().st_size)


def main() -> None:
    """Draw Milan once and make both pictures, or make those of the gallery."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", action="store_true", help="pages as a browser shows them; needs Chromium")
    if parser.parse_args().gallery:
        gallery()
        return
    matplotlib.use("Agg")
    traffic = gentraffic.sample("milan", days=7)
    for name, write in (("milan-week.gif", moving_map), ("milan-plot.png", plot)):
        write(traffic, HERE / name)
        size = (HERE / name).stat().st_size
        print(f"{name}: {size / 1000:.0f} kB")
        assert size < MOST_BYTES, name


if __name__ == "__main__":
    main()
