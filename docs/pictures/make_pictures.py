"""The pictures of the README and of the tutorials: a week of Milan as a moving map, and as a plot.

python docs/pictures/make_pictures.py            # writes milan-week.gif and milan-plot.png beside this file
"""

from __future__ import annotations

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


def main() -> None:
    """Draw Milan once and make both pictures."""
    matplotlib.use("Agg")
    traffic = gentraffic.sample("milan", days=7)
    for name, write in (("milan-week.gif", moving_map), ("milan-plot.png", plot)):
        write(traffic, HERE / name)
        size = (HERE / name).stat().st_size
        print(f"{name}: {size / 1000:.0f} kB")
        assert size < MOST_BYTES, name


if __name__ == "__main__":
    main()
