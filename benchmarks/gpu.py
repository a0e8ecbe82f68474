"""All that computes on a device, on one GPU in at most eight minutes: is it right, how fast, how near the limits.

    python benchmarks/gpu.py -o gpu.json                                                # on a machine with a GPU
    python benchmarks/gpu.py -o gpu.json --device cpu --quick                           # does it run? minutes of a core
    python benchmarks/gpu.py -o limits.json --device cpu --only ceilings samplers       # the limits of a CPU

No GPU was at hand when this was written: it was run with `--device cpu` alone. Parts, each resumable (run the same
command again), `--only` limits them:

  ceilings  matrix products per second in float32 and bf16, and bytes per second of a copy that does not fit the caches
  bits      every sampler and forecaster on the device and on the CPU: |device - CPU| / |CPU|, Euclidean norm over all
            drawn values (fp32: at most BITS), and the largest such ratio of a cell. TF32 stays off
  samplers  cells x hours per second of every sampler, its floating-point operations (products and convolutions) and
            its bytes (what every operation of the network reads and writes, each counted once), as shares of both
            ceilings in the network's own time, and what is left on the host: the share of the time outside the network
  training  `--seconds` of training for every sampler, a quarter of them in bf16: steps per second
  sizes     a few training steps of FoMo with 35 to 200 million weights: seconds a step, memory, share of the ceiling
  store     a million cells to Zarr by the command: seconds, memory

The bytes are those of operations that are not fused: a kernel that joins some of them moves fewer, and what stays in a
cache does not reach the memory, so a share above 1 is no mistake. After `--limit` seconds no further row is begun.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gentraffic.generators.base import load_model
from gentraffic.training.processes import ProcessGroup
from gentraffic.training.trainer import Run

if TYPE_CHECKING:
    import xarray as xr

PARTS = ("ceilings", "bits", "samplers", "training", "sizes", "store")
BITS = 1e-3  # |device - CPU| / |CPU| in fp32: sums are formed in another order
BUNDLED = ("stouter-base", "stouter-fast", "fomo-base")
TRAINED = ("stouter", "vae", "tcn-gan", "diffwave", "fomo")
LARGE = ("35m", "100m", "150m", "200m")
HOURS = 168
COPY = 2**26  # values that are copied
LARGE_STEPS = 4  # of training, the first not counted
Row = dict[str, Any]


def beside(name: str) -> Any:
    """Another script of this folder, which is no package, by its file."""
    spec = importlib.util.spec_from_file_location(f"beside_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


speed = beside("speed")


class Enough(Exception):
    """The training has gone on for as long as it should."""


class Bench:
    """Where it runs, what is finished, and how much of the time is left."""

    def __init__(self, out: Path, device: str, quick: bool, limit: float, folder: Path) -> None:
        self.out, self.device, self.quick, self.folder = out, device, quick, folder
        self.until = time.monotonic() + limit
        self.rows: dict[str, Row] = json.loads(out.read_text()) if out.exists() else {}
        self.left_out: list[str] = []
        self.fitted: dict[str, Any] = {}  # name -> a model that is not bundled

    def row(self, key: str, work: Callable[[], Row]) -> None:
        """Run one row unless it is finished or the time is over, and keep it."""
        if key in self.rows:
            return
        if time.monotonic() > self.until:
            self.left_out.append(key)
            return
        began = time.monotonic()
        self.rows[key] = work() | {"took": round(time.monotonic() - began, 2)}
        self.out.write_text(json.dumps(self.rows, indent=1))
        print(key, self.rows[key], file=sys.stderr, flush=True)

    @property
    def threads(self) -> int:
        """That draw at a time."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if torch.device(self.device).type == "cuda":
            torch.cuda.synchronize()

    def context(self, cells: int) -> xr.Dataset:
        """Cells that repeat Milan."""
        from gentraffic.io.files import read_context
        from gentraffic.places.find import CONTEXTS

        return speed.tiled(read_context(CONTEXTS / "milan.nc"), cells)

    def clock(self) -> tuple[float, float]:
        """Now, by the clock and of processor time."""
        self.wait()
        return time.perf_counter(), time.process_time()


# --- limits -----------------------------------------------------------------------------------------------------------


def ceilings(bench: Bench) -> Row:
    """Products per second in both precisions, and bytes per second of a copy: one read and one written."""
    rates: Row = {"name": torch.cuda.get_device_name() if torch.device(bench.device).type == "cuda" else "CPU"}
    if rates["name"] != "CPU":
        for precision, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            rates[precision] = speed.device_matrix_rate(kind)
        rates["copy"] = copy_rate(bench)
        return rates
    rates["fp32"], rates["fp32_by_clock"] = speed.matrix_rate(bench.threads, rounds=2 if bench.quick else 12)
    rates["copy"] = copy_rate(bench)
    return rates


def copy_rate(bench: Bench) -> float:
    """Bytes per second, the best of some copies, on a CPU of one thread of processor time."""
    source = torch.ones(COPY // (16 if bench.quick else 1), device=bench.device)
    target, best = torch.empty_like(source), 0.0
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(3 if bench.quick else 10):
            clock, processor = bench.clock()
            target.copy_(source)
            ended, done = bench.clock()
            took = done - processor if torch.device(bench.device).type == "cpu" else ended - clock
            best = max(best, 2 * source.numel() * source.element_size() / took)
    finally:
        torch.set_num_threads(threads)
    return best


class Bytes(TorchDispatchMode):
    """Counts what operations read and write; views move nothing, and what is expanded is read once."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        results = [t for t in tree_leaves(out) if isinstance(t, torch.Tensor)]
        given = [t for t in tree_leaves((args, kwargs or {})) if isinstance(t, torch.Tensor)]
        views = bool(func._schema.returns) and all(
            r.alias_info and not r.alias_info.is_write for r in func._schema.returns
        )
        if not views and "empty" not in func.name():
            self.total += sum(size_of(t) for t in {id(t): t for t in (*given, *results)}.values())
        return out


def size_of(tensor: torch.Tensor) -> int:
    """Bytes of the values that a tensor holds, those that are expanded once."""
    held = 1
    for length, stride in zip(tensor.shape, tensor.stride(), strict=True):
        held *= length if stride else 1
    return held * tensor.element_size()


def bytes_of(network: Any, *inputs: Any) -> int:
    """Bytes that the operations of one call read and write."""
    with torch.inference_mode():
        network(*inputs)  # what is formed once is no part of a call
        with Bytes() as counted:
            network(*inputs)
    return counted.total


# --- samplers ---------------------------------------------------------------------------------------------------------


def samplers_of(bench: Bench) -> Iterator[tuple[str, Any]]:
    """(name, model) of all samplers; what is not bundled is fitted in two steps, which speed does not depend on."""
    yield from ((name, load_model(name)) for name in BUNDLED)
    for name in ("vae", "tcn-gan", "diffwave"):
        if name not in bench.fitted:
            bench.fitted[name] = fitted(bench, name, steps=2, group=ProcessGroup())
        yield name, bench.fitted[name]


def write_example(bench: Bench, context: Path, traffic: Path) -> None:
    """Two weeks of some cells, drawn by the bundled model, as a network to train on."""
    from gentraffic.io.files import write_context

    write_context(bench.context(64 if bench.quick else 1024), context)
    speed.gentraffic("sample", "--context", context, "--days", 14, "-o", traffic, "--total", "traffic=1TB/day")


def drawn(bench: Bench, model: Any, place: xr.Dataset, device: str, precision: str = "fp32") -> np.ndarray[Any, Any]:
    """(cells, steps) of a draw."""
    from gentraffic.generate.run import Request, run

    found = run(Request(device=device, precision=precision), model, place).traffic
    values: np.ndarray[Any, Any] = next(iter(found.data_vars.values())).values
    bench.wait()
    return values


def bits_row(bench: Bench, model: Any) -> Row:
    """How far a draw on the device lies from the CPU's, in both precisions."""
    place = bench.context(64 if bench.quick else 400)
    here = drawn(bench, model, place, "cpu").astype(np.float64)
    row: Row = {}
    for precision in ("fp32", "bf16"):
        apart = drawn(bench, model, place, bench.device, precision) - here
        cells = np.linalg.norm(apart, axis=1) / np.linalg.norm(here, axis=1)
        row[precision] = float(np.linalg.norm(apart) / np.linalg.norm(here))
        row[f"{precision}_worst_cell"] = float(cells.max())
    row["right"] = row["fp32"] <= BITS
    return row


def forecaster_row(bench: Bench, name: str) -> Row:
    """How far a forecaster's answer on the device lies from the CPU's, untrained."""
    from gentraffic.forecasting.fit import called
    from gentraffic.forecasting.registry import recipe_of

    torch.manual_seed(0)
    recipe = recipe_of(name)
    model = recipe.network(per_day=24, services=1, **recipe.design).eval()
    past = torch.rand((16, len(model.lags), model.side, model.side, 1), generator=torch.Generator().manual_seed(1))
    when = torch.arange(16)
    with torch.inference_mode():
        here = called(model, past, when)
        there = called(model.to(bench.device), past.to(bench.device), when.to(bench.device)).cpu()
    far = float((there - here).norm() / here.norm().clamp(min=1e-12))
    return {"fp32": far, "right": far <= BITS}


def sampler_row(bench: Bench, name: str, model: Any, precision: str) -> Row:
    """Rate, operations, bytes, shares of the ceilings, and what is left on the host."""
    large = 10_000 if torch.device(bench.device).type == "cpu" else 200_000
    cells = 64 if bench.quick else 1000 if name in ("fomo-base", "diffwave") and large < 100_000 else large
    place = bench.context(cells)
    drawn(bench, model, place.isel(cell=slice(64)), bench.device, precision)  # what is done once
    took = []
    for _ in range(1 if bench.quick else 3):
        clock, processor = bench.clock()
        drawn(bench, model, place, bench.device, precision)
        ended, done = bench.clock()
        took.append((ended - clock, done - processor))
    network = model.model
    kind = type(network)
    spans, inputs = watch(kind, lambda: drawn(bench, model, place, bench.device, precision), bench.wait)
    clock, processor = (sum(part) for part in zip(*(span[1:] for span in spans), strict=True))
    calls = Counter(shape for shape, _, _ in spans)
    flops = sum(n * speed.flops_of(*inputs[shape]) for shape, n in calls.items())
    moved = sum(n * bytes_of(*inputs[shape]) for shape, n in calls.items())
    rates = bench.rows["ceilings"]
    seconds, all_processor = min(t[0] for t in took), min(t[1] for t in took)
    on_cpu = torch.device(bench.device).type == "cpu"
    inside = processor if on_cpu else clock  # a busy machine falsifies processor time little
    return {
        "cells": cells, "precision": precision, "calls": len(spans), "seconds": seconds,
        "processor_seconds": all_processor, "cell_hours_a_second": cells * HOURS / seconds,
        "mflop_a_cell": flops / cells / 1e6, "kb_a_cell": moved / cells / 1e3, "network_seconds": inside,
        "share_of_products": flops / inside / rates.get(precision, rates["fp32"]),
        "share_of_copy": moved / inside / rates["copy"],
        "host": max(0.0, 1 - inside / (all_processor if on_cpu else seconds)),
    }  # fmt: skip


def watch(kind: type, draw: Callable[[], object], wait: Callable[[], None]) -> tuple[list[Any], dict[Any, Any]]:
    """As `speed.watch`, for every network of a class: drawing on a device copies it. inputs: (network, inputs)."""
    spans: list[Any] = []
    inputs: dict[Any, Any] = {}
    inner = kind.__call__

    def call(self: Any, *given: Any) -> Any:
        wait()
        clock, processor = time.perf_counter(), time.thread_time()
        out = inner(self, *given)
        wait()
        shape = tuple(given[0].shape)
        spans.append((shape, time.perf_counter() - clock, time.thread_time() - processor))
        inputs.setdefault(shape, (self, *given))
        return out

    kind.__call__ = call  # type: ignore[method-assign]
    try:
        draw()
    finally:
        kind.__call__ = inner  # type: ignore[method-assign]
    return spans, inputs


# --- training ---------------------------------------------------------------------------------------------------------


def training_row(bench: Bench, sampler: str, precision: str, seconds: float) -> Row:
    """Steps per second of a training that is broken off after so many seconds."""
    return trained(bench, sampler, precision, seconds, 10**9)


def size_row(bench: Bench, size: str) -> Row:
    """A few steps of a large FoMo."""
    if torch.device(bench.device).type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    row = trained(bench, "fomo", "bf16", 3600.0, 2 if bench.quick else LARGE_STEPS, size=size)
    if torch.device(bench.device).type == "cuda":
        row["peak_device_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return row


def trained(bench: Bench, sampler: str, precision: str, seconds: float, steps: int, size: str = "1m") -> Row:
    """Train until the time is over or the steps are done; the first step, which prepares, does not count."""
    group = ProcessGroup(device=bench.device, precision=precision)
    began, seen, losses = [0.0], [0], []

    def on_step(step: int, of: int, loss: float) -> None:
        bench.wait()
        losses.append(loss)
        if step == 1:
            began[0] = time.perf_counter()
        seen[0] = step - 1
        if step >= steps or (step > 1 and time.perf_counter() - began[0] > seconds):
            raise Enough

    with suppress(Enough):
        fitted(bench, sampler, steps=10**6, group=group, on_step=on_step, size=size)
    took = max(time.perf_counter() - began[0], 1e-9)
    return {
        "precision": precision, "steps": seen[0], "seconds_a_step": took / max(seen[0], 1),
        "batch": plan_of(bench, sampler, 1).batch, "loss": float(np.mean(losses[-20:])),
    }  # fmt: skip


def fitted(bench: Bench, sampler: str, steps: int, group: ProcessGroup, on_step: Any = None, size: str = "1m") -> Any:
    """A sampler fitted on the example, with graphs that learn for a moment."""
    from gentraffic.generators.fomo.data import read_region
    from gentraffic.io.files import read_context, read_traffic
    from gentraffic.modelling.measured import read_source
    from gentraffic.training import fitting
    from gentraffic.training.fomo_fitting import FoMoDesign, fit_fomo

    context, traffic = bench.folder / "places.nc", bench.folder / "traffic.nc"
    if not traffic.exists():
        write_example(bench, context, traffic)
    place, measured = read_context(context), read_traffic(traffic)
    if sampler == "fomo":
        data = [read_region(measured, [place])]
        plan = plan_of(bench, sampler, steps)
        return fit_fomo(data, design=FoMoDesign(size=size), plan=plan, run=Run(on_step=on_step), group=group)[0]
    graphs = fitting.fit_graphs
    fitting.fit_graphs = lambda *given, **more: graphs(*given, **more | {"steps": 2})  # type: ignore[assignment]
    try:
        return fitting.fit_sampler(
            [read_source(measured, [place])], design=fitting.Design(sampler=sampler),
            plan=plan_of(bench, sampler, steps), run=Run(on_step=on_step), group=group,
        )[0]  # fmt: skip
    finally:
        fitting.fit_graphs = graphs


def plan_of(bench: Bench, sampler: str, steps: int) -> Any:
    """What a sampler is trained with, for as many steps."""
    from gentraffic.training.fitting import Design, plan_for
    from gentraffic.training.fomo_task import FoMoPlan

    usual: Any = FoMoPlan() if sampler == "fomo" else plan_for(Design(sampler=sampler))
    batch = {"batch": 8} if bench.quick else {}
    return replace(
        usual, steps=steps, check_every=max(steps, usual.check_every), warmup=min(steps, usual.warmup), **batch
    )


# --- the store --------------------------------------------------------------------------------------------------------


def store_row(bench: Bench, cells: int) -> Row:
    """Cells to Zarr by the command, in a process of its own."""
    context, out = bench.folder / "many.nc", bench.folder / "many.zarr"
    speed.child("context", path=str(context), cells=cells)
    began = time.perf_counter()
    words = ["sample", "--context", context, "--device", bench.device, "-o", out, "--json"]
    report = json.loads(speed.gentraffic(*words))
    return {
        "cells": cells, "whole_seconds": time.perf_counter() - began, **report["seconds"],
        "peak_rss_mb": report["peak_rss_mb"],
    }  # fmt: skip


# --- the whole --------------------------------------------------------------------------------------------------------


def main() -> None:
    """Run what is missing and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=Path("gpu.json"), help="JSON of finished rows")
    parser.add_argument("--device", default="cuda", help="of torch")
    parser.add_argument("--only", nargs="*", default=PARTS, choices=PARTS, metavar="PART")
    parser.add_argument("--seconds", type=float, default=45.0, help="of training for each sampler")
    parser.add_argument("--cells", type=int, default=1_000_000, help="of the store")
    parser.add_argument("--limit", type=float, default=480.0, help="seconds after which no row is begun")
    parser.add_argument("--quick", action="store_true", help="few cells, few steps: does it run?")
    args = parser.parse_args()
    if torch.device(args.device).type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no GPU: torch sees none here; give --device cpu to see whether this runs")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with tempfile.TemporaryDirectory(prefix="gpu-") as name:
        bench = Bench(args.out, args.device, args.quick, args.limit, Path(name))
        run_parts(bench, args.only, 1.0 if args.quick else args.seconds, 200 if args.quick else args.cells)
        print(table(bench.rows))
        if bench.left_out:
            print(f"\nNot begun within {args.limit:g} s: {', '.join(bench.left_out)}; run the same command again.")
    wrong = [key for key, row in bench.rows.items() if row.get("right") is False]
    if wrong:
        raise SystemExit(f"further than {BITS:g} from the CPU: {', '.join(wrong)}")


def run_parts(bench: Bench, only: list[str], seconds: float, cells: int) -> None:
    """Every row of the parts that is missing."""
    from forecasters import FORECASTERS, NAIVE

    if {"ceilings", "samplers"} & set(only):
        bench.row("ceilings", lambda: ceilings(bench))
    for part in ("bits", "samplers"):
        for name, model in samplers_of(bench) if part in only else ():
            if part == "bits":
                bench.row(f"bits|{name}", lambda m=model: bits_row(bench, m))
                continue
            for precision in ("fp32",) if torch.device(bench.device).type == "cpu" else ("fp32", "bf16"):
                bench.row(
                    f"samplers|{name}|{precision}", lambda n=name, m=model, p=precision: sampler_row(bench, n, m, p)
                )
    if "bits" in only:
        for name in FORECASTERS:
            if name not in NAIVE and FORECASTERS[name].fit is None:
                bench.row(f"bits|{name}", lambda n=name: forecaster_row(bench, n))
    for sampler in TRAINED if "training" in only else ():
        for precision, share in (("fp32", 0.75), ("bf16", 0.25)):
            bench.row(
                f"training|{sampler}|{precision}",
                lambda s=sampler, p=precision, t=share * seconds: training_row(bench, s, p, t),
            )
    for size in (("0.3m",) if bench.quick else LARGE) if "sizes" in only else ():
        bench.row(f"sizes|{size}", lambda s=size: size_row(bench, s))
    if "store" in only:
        bench.row(f"store|{cells}", lambda: store_row(bench, cells))


def table(rows: dict[str, Row]) -> str:
    """All rows as Markdown."""
    lines: list[str] = []
    if "ceilings" in rows:
        r = rows["ceilings"]
        rates = ", ".join(f"{p} {r[p] / 1e9:,.0f} GFLOP/s" for p in ("fp32", "bf16") if p in r)
        lines.append(f"Ceilings of the {r['name']}: products {rates}; copies {r['copy'] / 1e9:,.1f} GB/s.")
    parts: dict[str, list[tuple[str, Row]]] = {}
    for key, r in rows.items():
        parts.setdefault(key.split("|")[0], []).append((key.partition("|")[2], r))
    if "bits" in parts:
        lines += ["", "| on the device | from the CPU, fp32 | worst cell | bf16 |", "|---|---|---|---|"]
        for name, r in parts["bits"]:
            far = [f"{r[k]:.1e}" if k in r else "-" for k in ("fp32", "fp32_worst_cell", "bf16")]
            lines.append(f"| {name} | {' | '.join(far)} |")
    if "samplers" in parts:
        lines += [
            "",
            "| sampler | cells | seconds | cells x hours/s | MFLOP/cell | kB/cell | of products | of copies | host |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for name, r in parts["samplers"]:
            lines.append(
                f"| {name.replace('|', ', ')} | {r['cells']:,} | {r['seconds']:.2f} | "
                f"{r['cell_hours_a_second']:,.0f} | "
                f"{r['mflop_a_cell']:.1f} | {r['kb_a_cell']:,.0f} | {r['share_of_products']:.0%} | "
                f"{r['share_of_copy']:.0%} | {r['host']:.0%} |"
            )
    for part in ("training", "sizes"):
        if part in parts:
            lines += [
                "",
                f"| {part} | steps | ms / step | batch | loss | MiB on the device |",
                "|---|---|---|---|---|---|",
            ]
            for name, r in parts[part]:
                memory = f"{r['peak_device_mb']:,.0f}" if "peak_device_mb" in r else "-"
                lines.append(
                    f"| {name.replace('|', ', ')} | {r['steps']:,} | {1e3 * r['seconds_a_step']:.1f} | {r['batch']} | "
                    f"{r['loss']:.3f} | {memory} |"
                )
    for _, r in parts.get("store", []):
        lines += ["", f"{r['cells']:,} cells to Zarr: {r['sample']:.1f} s drawing, {r['whole_seconds']:.1f} s in all, "
                      f"{r['peak_rss_mb']:,.0f} MiB at most."]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
