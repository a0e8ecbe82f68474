"""How fast every sampler draws, in how much memory, how near its network comes to this machine's matrix products, and
how cost grows with the number of cells.

    python benchmarks/speed.py -o speed.json                      # some ten minutes of two cores
    python benchmarks/speed.py -o speed.json --largest 1000000    # and a million cells
    python benchmarks/speed.py -o quick.json --quick              # 40 s of processor time

Cells lie on a square grid that repeats the points of interest of Milan; a week at an hour each is drawn of them. Each
row runs in a process of its own, draws REPEATS times and keeps the best. Rows that are in the file already are not run
again.

The network's rate is its floating-point operations (`torch.utils.flop_counter`; products and convolutions) over the
time spent in its calls, against float32 matrix products that fit the cache, in as many threads at a time. Both are
given by processor time, which a busy machine falsifies little, and by the clock, which counts waiting for the
interpreter's lock too. Models that are not bundled are fitted in two steps: speed does not depend on the weights.

Rows on CUDA (plain; bf16; bf16 compiled) appear where torch finds a device; they are untested. CUDA graphs are left
out: tiles are drawn by several threads, and graphs belong to one.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch is not loaded here: what this process holds would count as its children's peak memory
    import torch
    import xarray as xr
    from torch import nn

HOURS = 168
SIDE_M = 235.0  # of the cells of Milan's public grid
REPEATS = 3
CELLS = {"stouter-base": 10_000, "stouter-fast": 10_000, "fomo-base": 10_000, "vae": 10_000, "tcn-gan": 10_000,
         "diffwave": 1000, "bootstrap": 1000, "knn": 1000, "climatology": 1000}  # fmt: skip
BUNDLED = ("stouter-base", "stouter-fast", "fomo-base")
FITTED_ON = 1000  # cells; climatology draws only those
SIDES = (256, 384, 512, 768, 1024)  # of square matrices: 0.75 to 12 MiB for three
STORE_MODEL = "stouter-fast"
Span = tuple[tuple[int, ...], float, float]  # shape of a call's input, seconds by the clock, of processor time


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=Path("speed.json"), help="JSON of finished rows")
    parser.add_argument("--largest", type=int, default=100_000, help="cells of the largest store")
    parser.add_argument("--quick", action="store_true", help="two samplers, few cells: does it run?")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps({"context": write_context, "measure": measure}[args.child[0]](**json.loads(args.child[1]))))
        return
    rows: dict[str, dict[str, Any]] = json.loads(args.out.read_text()) if args.out.exists() else {}
    names = ("stouter-base", "stouter-fast") if args.quick else tuple(CELLS)
    sizes = [200] if args.quick else [n for n in (10**k for k in range(3, 9)) if n <= args.largest]
    with tempfile.TemporaryDirectory(prefix="speed-") as name:
        folder = Path(name)

        def row(key: str, run: Callable[[], dict[str, Any]]) -> None:
            if key not in rows:
                rows[key] = run() | {"load_average": os.getloadavg()[0]}
                args.out.write_text(json.dumps(rows, indent=1))
                print(key, rows[key], file=sys.stderr, flush=True)

        for device in devices():
            for sampler in names:
                cells = 200 if args.quick else CELLS[sampler]
                row(f"{sampler}|{device}", lambda s=sampler, c=cells, d=device: sampler_row(folder, s, c, d))  # type: ignore[misc]
        row("start-up", lambda: start_up(folder, 1 if args.quick else 2 * REPEATS))
        for cells in sizes:
            row(f"store|{cells}", lambda cells=cells: store_row(folder, cells))  # type: ignore[misc]
    print(table(rows))


# --- rows -------------------------------------------------------------------------------------------------------------


def child(what: str, **given: Any) -> dict[str, Any]:
    """Run a function of this file in a process of its own."""
    words = [sys.executable, __file__, "--child", what, json.dumps(given)]
    done: dict[str, Any] = json.loads(run(words).splitlines()[-1])
    return done


def run(words: list[str]) -> str:
    """What a command prints; its errors end this one."""
    env = os.environ | {"PYTHONPATH": os.environ.get("PYTHONPATH", str(Path(__file__).parents[1]))}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def gentraffic(*words: object) -> str:
    """The command."""
    return run([sys.executable, "-m", "gentraffic", *map(str, words)])


def devices() -> list[str]:
    """cpu, and the ways to draw on a CUDA device where there is one."""
    there = run([sys.executable, "-c", "import torch; print(torch.cuda.is_available())"]).strip() == "True"
    return ["cpu", *(["cuda", "cuda bf16", "cuda bf16 compiled"] if there else [])]


def context_of(folder: Path, cells: int) -> Path:
    """The context of so many cells, made once."""
    path = folder / f"{cells}.nc"
    if not path.exists():
        child("context", path=str(path), cells=cells)
    return path


def sampler_row(folder: Path, sampler: str, cells: int, device: str) -> dict[str, Any]:
    """One sampler on one device; fitted before, where it is not bundled."""
    context, model = context_of(folder, cells), folder / sampler
    if sampler not in BUNDLED and not model.exists():
        places, traffic = context_of(folder, min(cells, FITTED_ON)), folder / "traffic.nc"
        if not traffic.exists():
            gentraffic("sample", "--context", places, "--model", STORE_MODEL, "--days", 14, "-o", traffic)
        few = ("--steps", 2, "--holdout", 0) if sampler in ("vae", "tcn-gan", "diffwave") else ()
        gentraffic("fit", sampler, "--traffic", traffic, "--context", places, *few, "-o", model)
    return child("measure", model=sampler if sampler in BUNDLED else str(model), context=str(context), device=device)


def start_up(folder: Path, repeats: int) -> dict[str, Any]:
    """Seconds of `gentraffic sample --city monaco` outside the drawing."""
    took, processor = [], []
    for _ in range(repeats):
        began, before = time.perf_counter(), os.times()
        report = json.loads(gentraffic("sample", "--city", "monaco", "-o", folder / "monaco.nc", "--json"))
        took.append(time.perf_counter() - began - report["seconds"]["sample"])
        processor.append(sum(os.times()[2:4]) - sum(before[2:4]))
    return {"seconds": min(took), "processor_seconds": min(processor), "all_seconds": [round(t, 2) for t in took]}


def store_row(folder: Path, cells: int) -> dict[str, Any]:
    """A store of so many cells: seconds of drawing and of the whole command, peak memory, size."""
    out = folder / f"{cells}.zarr"
    words = ("sample", "--context", context_of(folder, cells), "--model", STORE_MODEL, "-o", out, "--json")
    began, before = time.perf_counter(), os.times()
    report = json.loads(gentraffic(*words))
    whole, processor = time.perf_counter() - began, sum(os.times()[2:4]) - sum(before[2:4])
    size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
    values = {"cells": cells, "seconds": report["seconds"]["sample"], "whole_seconds": whole}
    values["processor_seconds"] = processor
    return values | {"peak_rss_mb": report["peak_rss_mb"], "mb_on_disk": size / 2**20}


# --- in a process of their own ----------------------------------------------------------------------------------------


def tiled(city: xr.Dataset, cells: int) -> xr.Dataset:
    """A square grid of `cells` cells that repeats the counts of a city whose cells fill a rectangle."""
    import numpy as np

    from gentraffic.dataset.build import measured_context, places_from_xy

    city_row, city_col = (city[name].values - city[name].values.min() for name in ("row", "col"))
    counts = np.zeros((city_row.max() + 1, city_col.max() + 1, city.sizes["category"]), dtype=np.int32)
    counts[city_row, city_col] = city["poi_count"].values
    side = int(np.ceil(np.sqrt(cells)))
    row, col = (part.astype(np.int32) for part in np.divmod(np.arange(cells), side))
    east, north = float(city["x"].min()), float(city["y"].min())
    places = places_from_xy(
        np.arange(1, cells + 1), east + SIDE_M * col, north + SIDE_M * row, str(city.attrs["crs_wkt"]), kind="grid",
        cell_m=SIDE_M, extra={"row": row, "col": col},
    )  # fmt: skip
    here = counts[row % counts.shape[0], col % counts.shape[1]]
    carried = {"title": "Milan, repeated", "place": "Milan, repeated", "network": "repeated"}
    carried |= {name: str(city.attrs[name]) for name in ("license", "attribution")}
    return measured_context(places, here, timezone=str(city.attrs["timezone"]), attrs=carried)


def write_context(path: str, cells: int) -> dict[str, Any]:
    """The file of `tiled`."""
    from gentraffic.io.files import read_context, write_context
    from gentraffic.places.find import CONTEXTS

    write_context(tiled(read_context(CONTEXTS / "milan.nc"), cells), Path(path))
    return {}


def measure(model: str, context: str, device: str) -> dict[str, Any]:
    """Draw a week of every cell of a context, REPEATS times, and watch the network."""
    import torch

    from gentraffic.generate.request import Request
    from gentraffic.generate.run import run
    from gentraffic.generators.base import load_model
    from gentraffic.io.files import read_context
    from gentraffic.io.process import peak_rss_mb

    bundle: Any = load_model(model)
    network: nn.Module | None = getattr(bundle, "model", None)
    kind, *how = device.split()
    if how and network is not None:
        narrow(type(network), compiled="compiled" in how)
    place, request = read_context(Path(context)), Request(device=kind)
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1

    def draw(cells: tuple[str, ...] | None = None) -> tuple[float, float]:
        began = time.perf_counter(), time.process_time()
        run(Request(device=kind, select=cells), bundle, place)
        return time.perf_counter() - began[0], time.process_time() - began[1]

    draw(tuple(str(cell) for cell in place["cell_id"].values[:64]))  # what is done once: caches, compilation
    took = [draw() for _ in range(REPEATS)]
    values: dict[str, Any] = {
        "cells": place.sizes["cell"],
        "steps": 1 if hasattr(network, "noise_size") else request.settings(bundle.info).steps,
        "seconds": min(clock for clock, _ in took),
        "processor_seconds": min(processor for _, processor in took),
        "all_seconds": [round(clock, 2) for clock, _ in took],
        "threads": threads,
        "peak_rss_mb": peak_rss_mb(),
    }
    if kind != "cpu":
        values["peak_device_mb"] = torch.cuda.max_memory_allocated() / 2**20
    if network is None:
        return values
    spans, inputs = watch(network, lambda: draw(), torch.cuda.synchronize if kind != "cpu" else lambda: None)
    calls = Counter(shape for shape, _, _ in spans)
    flops = sum(count * flops_of(network, *inputs[shape]) for shape, count in calls.items())
    by_clock, by_processor = (sum(part) for part in zip(*(span[1:] for span in spans), strict=True))
    if kind == "cpu":
        matrix, matrix_clock = matrix_rate(threads)
        values |= {"matrix_gflops": matrix / 1e9, "matrix_gflops_by_clock": matrix_clock / 1e9}
        values |= {"share": flops / by_processor / matrix, "share_by_clock": flops / by_clock / matrix_clock}
    else:
        matrix = device_matrix_rate(torch.bfloat16 if how else torch.float32)
        values |= {"matrix_gflops": matrix / 1e9, "share_by_clock": flops / by_clock / matrix}
    return values | {"gflop": flops / 1e9, "calls": len(spans), "in_network": by_clock}


def watch(
    network: nn.Module, draw: Callable[[], object], wait: Callable[[], None] = lambda: None
) -> tuple[list[Span], dict[tuple[int, ...], tuple[Any, ...]]]:
    """The calls of a network while `draw` runs, from whatever thread, and what the first of each shape was given."""
    spans: list[Span] = []
    inputs: dict[tuple[int, ...], tuple[Any, ...]] = {}
    began = threading.local()

    def before(_: nn.Module, given: tuple[Any, ...]) -> None:
        wait()
        began.clock, began.processor = time.perf_counter(), time.thread_time()

    def after(_: nn.Module, given: tuple[Any, ...], out: Any) -> None:
        wait()
        shape = tuple(given[0].shape)
        inputs.setdefault(shape, given)
        spans.append((shape, time.perf_counter() - began.clock, time.thread_time() - began.processor))

    handles = [network.register_forward_pre_hook(before), network.register_forward_hook(after)]
    try:
        draw()
    finally:
        for handle in handles:
            handle.remove()
    return spans, inputs


def flops_of(network: nn.Module, *inputs: Any) -> int:
    """Floating-point operations of one call: two for each multiplication with its addition."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    here = copy.deepcopy(network).to(inputs[0].device)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH):  # the counter does not know the CPU's fused attention
        here(*inputs)  # what is formed once (STFFM.folded) is no part of a call
        with FlopCounterMode(display=False) as counter:
            here(*inputs)
    return int(counter.get_total_flops())


def matrix_rate(threads: int, rounds: int = 12) -> tuple[float, float]:
    """Operations of float32 matrix products per second of one of so many threads: of processor time, by the clock.

    Each thread multiplies matrices of its own; the best of SIDES and of some rounds.
    """
    import torch

    from gentraffic.generators.weekly import one_thread

    def product(side: int) -> Callable[[], tuple[float, float]]:
        a, b, out = torch.randn(side, side), torch.randn(side, side), torch.empty(side, side)
        times = max(1, 10**9 // (2 * side**3))

        def work() -> tuple[float, float]:
            clock, processor = time.perf_counter(), time.thread_time()
            for _ in range(times):
                torch.mm(a, b, out=out)
            done = times * 2.0 * side**3
            return done / (time.thread_time() - processor), done / (time.perf_counter() - clock)

        return work

    best, best_clock = 0.0, 0.0
    # as samplers draw: one thread inside torch, calls side by side; MKL asks each thread anew how many it may use
    with one_thread(), ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for side in SIDES:
            jobs = [product(side) for _ in range(threads)]
            for _ in range(rounds):
                rates = list(pool.map(lambda job: job(), jobs))
                best = max(best, sum(rate for rate, _ in rates) / threads)
                best_clock = max(best_clock, sum(rate for _, rate in rates) / threads)
    return best, best_clock


def device_matrix_rate(dtype: torch.dtype, side: int = 8192, rounds: int = 20) -> float:
    """Operations of matrix products per second of the CUDA device."""
    import torch

    a, b = (torch.randn(side, side, device="cuda", dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(rounds):
        torch.cuda.synchronize()
        began = time.perf_counter()
        torch.mm(a, b)
        torch.cuda.synchronize()
        best = max(best, 2.0 * side**3 / (time.perf_counter() - began))
    return best


def narrow(kind: type[nn.Module], *, compiled: bool) -> None:
    """Networks of a class compute in bf16 on CUDA from now on, and are compiled."""
    import torch

    forward: Any = torch.compile(kind.forward) if compiled else kind.forward

    def inner(self: nn.Module, *given: Any) -> torch.Tensor:
        with torch.autocast("cuda", torch.bfloat16):
            return forward(self, *given).float()  # type: ignore[no-any-return]

    kind.forward = inner  # of the class: drawing copies the network to its device


# --- tables -----------------------------------------------------------------------------------------------------------


def table(rows: dict[str, dict[str, Any]]) -> str:
    """All rows as Markdown."""
    lines = [
        "| sampler | device | cells | steps | seconds | cells x hours / s | / processor s | peak MiB | MFLOP / cell |"
        " of matrix rate | by the clock |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key, r in rows.items():
        if key.count("|") != 1 or key.startswith("store|"):
            continue
        sampler, device = key.split("|")
        drawn, each = r["cells"] * HOURS, r.get("gflop", 0.0) * 1e3 / r["cells"]
        shares = [f"{100 * r[s]:.0f}%" if s in r else "-" for s in ("share", "share_by_clock")]
        lines.append(
            f"| {sampler} | {device} | {r['cells']:,} | {r['steps'] if each else '-'} | {r['seconds']:.2f} | "
            f"{drawn / r['seconds']:,.0f} | {drawn / r['processor_seconds']:,.0f} | {r['peak_rss_mb']:.0f} | "
            f"{f'{each:.1f}' if each else '-'} | {' | '.join(shares)} |"
        )
    cpu = [r for key, r in rows.items() if key.endswith("|cpu") and "share" in r]
    if cpu:
        rates = [max(r[name] for r in cpu) for name in ("matrix_gflops", "matrix_gflops_by_clock")]
        lines.append(
            f"\nMatrix products, float32, each of {cpu[0]['threads']} threads at a time: {rates[0]:.0f} GFLOP per "
            f"second of processor time, {rates[1]:.0f} by the clock (the best that any row met)."
        )
    if "start-up" in rows:
        r = rows["start-up"]
        lines.append(
            f"Start-up, `sample --city monaco` outside drawing: {r['seconds']:.2f} s by the clock; "
            f"{r['processor_seconds']:.2f} s of processor time with the drawing."
        )
    lines.append(
        "\n| cells, to .zarr | drawing, s | us / cell | whole command, s | its processor s | peak MiB | MiB on disk |"
    )
    lines.append("|---|---|---|---|---|---|---|")
    for key, r in rows.items():
        if key.startswith("store|"):
            lines.append(
                f"| {r['cells']:,} | {r['seconds']:.2f} | {1e6 * r['seconds'] / r['cells']:.0f} | "
                f"{r['whole_seconds']:.2f} | {r['processor_seconds']:.1f} | {r['peak_rss_mb']:.0f} | "
                f"{r['mb_on_disk']:.1f} |"
            )
    loads = [r["load_average"] for r in rows.values()]
    lines.append(f"\nLoad average after the rows: {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} cores.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
