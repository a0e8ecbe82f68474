"""Does a resumable draw survive what happens to long work? Kills, a full disk, a read-only one, torn files, signals.

Each round draws a small region on 1 to 4 workers while random workers and the command itself are killed (SIGKILL), runs
the same command again until it ends, and compares the store with that of an undisturbed run, byte for byte (but for the
attribute `command`, which names the number of workers). Between a kill of the command and its next run, files of the
unfinished folder are torn: cut, altered or deleted.

    python benchmarks/faults.py --kills 200 -o faults.json      # some ten minutes of one core; --quick: 12 kills
    python benchmarks/faults.py --model stouter-base -o base.json

Rows that are in the file already are not run again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

WORDS = ["--city", "monaco", "--days", "2", "--members", "4", "--chunk-cells", "12", "--quiet"]  # 64 tasks
OUT = "out.zarr"
COMMAND_SHARE = 0.15  # of the kills strike the command, the others a worker
MOST_RUNS = 60


def start(folder: Path, workers: int, *more: str) -> subprocess.Popen[str]:
    """The command, in a session of its own."""
    words = [sys.executable, "-m", "gentraffic", "sample", *WORDS, "-o", OUT, "--workers", str(workers), *more]
    env = os.environ | {"PYTHONPATH": os.environ.get("PYTHONPATH", str(Path(__file__).parents[1]))}
    return subprocess.Popen(
        words, cwd=folder, env=env, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )


def digest(store: Path) -> str:
    """One hash of a store: names and bytes of its files, attributes without the command."""
    sha = hashlib.sha256()
    for path in sorted(p for p in store.rglob("*") if p.is_file()):
        content = path.read_bytes()
        if path.name in (".zattrs", ".zmetadata"):
            text = json.loads(content)
            attrs = text["metadata"][".zattrs"] if path.name == ".zmetadata" else text
            attrs.pop("command", None)
            content = json.dumps(text, sort_keys=True).encode()
        sha.update(str(path.relative_to(store)).encode() + b"\0" + hashlib.sha256(content).digest())
    return sha.hexdigest()


def worker_processes(command: int) -> list[psutil.Process]:
    """The workers of a command: what its fork server has forked."""
    try:
        servers = [p for p in psutil.Process(command).children() if any("forkserver" in w for w in p.cmdline())]
        return [worker for server in servers for worker in server.children()]
    except psutil.Error:
        return []


def done(folder: Path) -> int:
    """Tasks that have their marker."""
    return len(list((folder / f".{OUT}.part" / "done").glob("*.json")))


def tear(folder: Path, rng: random.Random) -> str:
    """Cut, alter or delete one file of the unfinished folder."""
    files = sorted(p for p in (folder / f".{OUT}.part").rglob("*") if p.is_file() and "dask" not in p.parts)
    if not files:
        return ""
    path = rng.choice([rng.choice(files), *[p for p in files if p.parent.name == "done"][-1:]])
    content = path.read_bytes()
    way = rng.choice(("cut", "altered", "deleted"))
    if way == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif way == "altered" and content:
        at = rng.randrange(len(content))
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :])
    else:
        path.unlink()
    return f"{path.parent.name}/{path.name} {way}"


def kill_round(folder: Path, workers: int, kills: int, rng: random.Random) -> Counter[str]:
    """Draw once while `kills` kills strike; what happened, by kind."""
    counts: Counter[str] = Counter()
    for _ in range(MOST_RUNS):
        process = start(folder, workers)
        counts["commands"] += 1
        next_kill = time.monotonic()
        while process.poll() is None:
            time.sleep(0.02)
            if counts["kills"] >= kills or time.monotonic() < next_kill or not (there := worker_processes(process.pid)):
                continue
            next_kill = time.monotonic() + rng.expovariate(1 / 0.4)
            counts["kills"] += 1
            if rng.random() < COMMAND_SHARE:
                process.kill()
                process.wait()
                counts["command"] += 1
                for _ in range(rng.randrange(4)):
                    counts["torn"] += bool(tear(folder, rng))
            else:
                try:
                    rng.choice(there).kill()
                    counts["worker"] += 1
                except psutil.NoSuchProcess:
                    counts["kills"] -= 1
        if process.returncode == 0:
            return counts
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"exit {process.returncode}: {process.stderr.read() if process.stderr else ''}")
    raise SystemExit(f"not whole after {MOST_RUNS} runs")


def finish(folder: Path, workers: int) -> None:
    """Run the command to its end."""
    process = start(folder, workers)
    _, output = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"exit {process.returncode}: {output}")


def wait_for(folder: Path, process: subprocess.Popen[str], tasks: int) -> None:
    """Until the command has done so many tasks, or ended."""
    while process.poll() is None and done(folder) < tasks:
        time.sleep(0.02)


def signal_round(folder: Path, number: signal.Signals) -> dict[str, Any]:
    """Ctrl-C or SIGTERM amid the work; then the same command again."""
    process = start(folder, 2)
    wait_for(folder, process, 5)
    kept, began = done(folder), time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    process.wait()
    took = time.monotonic() - began
    output = process.stderr.read().strip() if process.stderr else ""
    ok = process.returncode == 130 and took < 5 and done(folder) >= kept
    finish(folder, 2)
    return {"ok": ok, "note": f"exit {process.returncode} after {took:.1f} s; {output.splitlines()[-1:]}"}


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 64 MB; where mounting is not allowed, the row is not run."""
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], check=True, capture_output=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def full_disk(folder: Path) -> dict[str, Any]:
    """The disk fills up amid the work, from outside; then there is room again."""
    process = start(folder, 2)
    wait_for(folder, process, 5)
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"\0" * 4096)
        except OSError:
            pass
    _, output = process.communicate()
    filler.unlink()
    ok = process.returncode == 5 and not (folder / OUT).exists() and len(output.strip().splitlines()) == 1
    finish(folder, 2)
    return {"ok": ok, "note": f"exit {process.returncode}: {output.strip()}"}


def too_small(folder: Path) -> dict[str, Any]:
    """Less room than the store may need: said before the work starts."""
    process = start(folder, 2, "--days", "3000")
    _, output = process.communicate()
    ok = process.returncode == 5 and "GiB" in output and not list(folder.iterdir())
    finish(folder, 2)
    return {"ok": ok, "note": f"exit {process.returncode}: {output.strip()}"}


def read_only(folder: Path) -> dict[str, Any]:
    """The disk is read-only when the command is given, and when it is resumed."""
    output, codes = [], []
    for begun in (False, True):
        if begun:
            process = start(folder, 2)
            wait_for(folder, process, 5)
            process.kill()
            process.wait()
            time.sleep(1)
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True, capture_output=True)
        process = start(folder, 2)
        output.append(process.communicate()[1].strip())
        codes.append(process.returncode)
        subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True, capture_output=True)
    finish(folder, 2)
    return {"ok": codes == [5, 5], "note": f"exit {codes[0]}: {output[0]}"}


def on_disk(case: Callable[[Path], dict[str, Any]], folder: Path, want: str) -> dict[str, Any]:
    """One of the cases that need a disk of their own."""
    try:
        with small_disk(folder) as disk:
            row = case(disk)
            return row | {"identical": digest(disk / OUT) == want}
    except subprocess.CalledProcessError as error:
        return {"ok": None, "identical": None, "note": f"not run: mount says {error.stderr.decode().strip()}"}


def main() -> None:
    """Run every fault and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--per-round", type=int, default=20, help="kills while one store is drawn")
    parser.add_argument("--quick", action="store_true", help="12 kills in 2 rounds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", default="stouter-fast", help="what draws; a slower one is killed at more places")
    parser.add_argument("-o", "--out", type=Path, default=Path("faults.json"))
    args = parser.parse_args()
    WORDS.extend(["--model", args.model])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background a shell has it ignored, by all
    kills, per = (12, 6) if args.quick else (args.kills, args.per_round)
    rows: dict[str, dict[str, Any]] = json.loads(args.out.read_text()) if args.out.exists() else {}

    def row(name: str, run: Callable[[Path], dict[str, Any]]) -> None:
        if name in rows:
            return
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="faults-") as folder:
            rows[name] = run(Path(folder)) | {"seconds": round(time.monotonic() - began, 1)}
        args.out.write_text(json.dumps(rows, indent=1))
        print(name, rows[name], file=sys.stderr, flush=True)

    def undisturbed(folder: Path) -> dict[str, Any]:
        finish(folder, 2)
        return {"ok": True, "identical": True, "digest": digest(folder / OUT), "note": ""}

    row("undisturbed", undisturbed)
    want = rows["undisturbed"]["digest"]
    for number in range(-(-kills // per)):
        workers = 1 + number % 4

        def killed(folder: Path, number: int = number, workers: int = workers) -> dict[str, Any]:
            counts = kill_round(
                folder, workers, min(per, kills - number * per), random.Random(args.seed * 1000 + number)
            )
            same = digest(folder / OUT) == want
            left = [p.name for p in folder.iterdir() if p.name != OUT]
            note = ", ".join(f"{counts[k]} {k}" for k in ("worker", "command", "torn", "commands"))
            return {"ok": not left, "identical": same, "note": note, **counts}

        row(f"kills, round {number + 1}, {workers} workers", killed)
    for name, number in (("Ctrl-C", signal.SIGINT), ("SIGTERM", signal.SIGTERM)):

        def cut(folder: Path, number: signal.Signals = number) -> dict[str, Any]:
            return signal_round(folder, number) | {"identical": digest(folder / OUT) == want}

        row(name, cut)
    for case in (too_small, full_disk, read_only):
        row(case.__name__.replace("_", " "), lambda folder, case=case: on_disk(case, folder, want))  # type: ignore[misc]

    total: Counter[str] = Counter()
    print("| what | as it should | store identical | what happened |\n|---|---|---|---|")
    for name, found in rows.items():
        total.update({k: found[k] for k in ("kills", "worker", "command", "torn", "commands") if k in found})
        yes = {True: "yes", False: "NO", None: "-"}
        print(f"| {name} | {yes[found['ok']]} | {yes[found['identical']]} | {found['note']} |")
    print(
        f"\n{total['kills']} SIGKILLs ({total['worker']} of workers, {total['command']} of the command), "
        f"{total['torn']} files torn, {total['commands']} commands; "
        f"{sum(r['identical'] is False for r in rows.values())} stores differ"
    )
    shutil.rmtree("dask-scratch-space", ignore_errors=True)


if __name__ == "__main__":
    main()
