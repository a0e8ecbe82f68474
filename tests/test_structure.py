"""The star of packages, no circles, who may touch files and the network, and how fast the command answers."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LEAVES = ("poi", "graphs", "samplers", "forecasters")
PACKAGES = ("gentraffic", *LEAVES)
HEAVY = ("torch", "geopandas", "pandas", "osmnx", "xarray", "matplotlib", "diffusers", "torch_geometric", "rasterio")


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path: Path) -> ast.Module:
    """The syntax of a module, parsed once."""
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST, name: str) -> Iterator[tuple[ast.stmt, str]]:
    """Every module that is imported anywhere in the tree, absolute, also inside functions and for types only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name
        elif isinstance(node, ast.ImportFrom):
            package = name.split(".")
            base = ".".join(package[: len(package) - node.level]) if node.level else ""
            whole = ".".join(part for part in (base, node.module or "") if part)
            yield node, whole
            for alias in node.names:
                yield node, f"{whole}.{alias.name}"


@cache
def own_graph(*, at_import: bool) -> dict[str, set[str]]:
    """Module -> modules of this project that it imports: all of them, or those that importing it runs."""
    names = {name_of(path) for package in PACKAGES for path in modules(package)}
    graph: dict[str, set[str]] = {}
    for package in PACKAGES:
        for path in modules(package):
            tree = tree_of(path)
            name = name_of(path) + (".x" if path.name == "__init__.py" else "")
            late = {id(node) for outer in _late(tree) for node in ast.walk(outer)} if at_import else set()
            graph[name_of(path)] = {
                what for node, what in imports(tree, name) if what in names and id(node) not in late
            } - {name_of(path)}
    return graph


def _late(tree: ast.AST) -> Iterator[ast.AST]:
    """What does not run when the module is imported: functions, and blocks for the type checker."""
    for node in ast.walk(tree):
        typing = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        if typing or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A way that leads back to its start, or nothing."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph.get(name, ())):
            if found := walk(other, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


FLOORS = {  # a room imports from rooms of lower floors only, or from itself
    "errors": 0, "dataset": 1, "io": 2, "modelling": 2, "places": 3, "generators": 4, "training": 5, "generate": 5,
    "evaluation": 6, "planning": 6, "forecasting": 7, "privacy": 7, "reports": 8, "api": 9, "cli": 10, "__main__": 11,
}  # fmt: skip
MOST_MODULES = 20  # of a folder, its __init__.py aside
MOST_LINES_OF_CLI = 1_430


def pointing_up(graph: dict[str, set[str]]) -> list[str]:
    """The imports between rooms that do not point down, as `a imports b`."""
    rooms = {name: name.split(".")[1] for name in graph if name.startswith("gentraffic.")}
    return [
        f"{a} imports {b}"
        for a in sorted(rooms)
        for b in sorted(graph[a])
        if b in rooms and rooms[a] != rooms[b] and FLOORS[rooms[b]] >= FLOORS[rooms[a]]
    ]


def test_rooms_import_only_rooms_of_lower_floors() -> None:
    assert pointing_up(own_graph(at_import=False)) == []


def test_the_search_for_imports_that_point_up_finds_one() -> None:
    graph = {"gentraffic.io.files": {"gentraffic.cli.main", "gentraffic.errors"}, "gentraffic.cli.main": set(),
             "gentraffic.errors": set()}  # fmt: skip
    assert pointing_up(graph) == ["gentraffic.io.files imports gentraffic.cli.main"]


def test_every_module_of_the_package_is_in_a_room_and_no_room_is_crowded() -> None:
    top = {path.stem for path in (ROOT / "gentraffic").glob("*.py")}
    assert top == {"__init__", "__main__", "errors"}
    folders = {path.parent for path in modules("gentraffic")} - {ROOT / "gentraffic"}
    rooms = {folder.relative_to(ROOT / "gentraffic").parts[0] for folder in folders}
    assert rooms == set(FLOORS) - {"errors", "__main__"}
    crowded = {str(f.relative_to(ROOT)): len(list(f.glob("*.py"))) - 1 for f in folders}
    assert {name: count for name, count in crowded.items() if count > MOST_MODULES} == {}


def test_the_command_line_parses_calls_and_prints() -> None:
    """What Python could use as well lies below: its rooms are where a line is added first."""
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in modules("gentraffic/cli")}
    assert sum(lines.values()) <= MOST_LINES_OF_CLI, lines


def test_benchmarks_import_rooms_and_not_one_another() -> None:
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    for path in (ROOT / "benchmarks").glob("*.py"):
        for node, what in imports(tree_of(path), "x"):
            parts = what.split(".")
            assert parts[0] not in scripts | {"benchmarks"}, f"{path.name}:{node.lineno} imports {what}"


@pytest.mark.parametrize("leaf", LEAVES)
def test_the_leaves_of_the_star_know_nothing_of_each_other(leaf: str) -> None:
    assert modules(leaf)
    for path in modules(leaf):
        for node, what in imports(tree_of(path), name_of(path)):
            first = what.split(".")[0]
            assert first == leaf or first not in PACKAGES, f"{path.relative_to(ROOT)}:{node.lineno} imports {what}"


def test_no_module_imports_itself_by_a_detour() -> None:
    assert circle(own_graph(at_import=True)) == []


def test_modules_do_not_know_each_other_in_circles_even_inside_functions() -> None:
    graph = {a: {b for b in found if not a.startswith(f"{b}.")} for a, found in own_graph(at_import=False).items()}
    assert circle(graph) == []


def test_the_search_for_circles_finds_one() -> None:
    assert circle({"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}) == ["b", "d", "b"]
    graph = own_graph(at_import=False)
    assert "gentraffic.generators.weekly" in graph["gentraffic.generators.folder"]
    assert "samplers.sampler" in graph["samplers.layers"]
    assert "graphs.graphmae" in graph["gentraffic.generators.folder"]  # imported inside a function
    assert "graphs.graphmae" not in own_graph(at_import=True)["gentraffic.generators.folder"]


FILES_AND_NETWORK = {
    "open", "fopen", "read_text", "write_text", "read_bytes", "write_bytes", "urlopen", "urlretrieve", "mkdir",
    "unlink", "rename", "rmtree", "read_csv", "read_parquet", "read_file", "to_csv", "to_parquet", "to_file",
    "to_netcdf", "open_dataset", "loadtxt", "savetxt", "tofile", "fromfile", "mkstemp", "mkdtemp", "NamedTemporaryFile",
    "TemporaryDirectory", "TemporaryFile", "getaddrinfo", "create_connection",
}  # fmt: skip
ARRAY_FILES = {"torch.load", "torch.save", "np.load", "np.save", "np.savez", "numpy.load", "numpy.save"}
OUTSIDE = {"requests", "urllib.request", "http", "http.client", "socket", "httpx", "aiohttp", "shutil", "tempfile",
           "subprocess", "ftplib", "osmnx", "h5py", "pyogrio", "rasterio"}  # fmt: skip


@pytest.mark.parametrize("leaf", LEAVES)
def test_only_osm_and_gentraffic_touch_files_or_the_network(leaf: str) -> None:
    for path in modules(leaf):
        if path.relative_to(ROOT) in (Path("poi/osm.py"), Path("poi/extract.py")):
            continue
        where = path.relative_to(ROOT)
        tree = tree_of(path)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = node.func
                what = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
                assert what not in FILES_AND_NETWORK, f"{where}:{node.lineno} calls {what}"
                assert ast.unparse(called) not in ARRAY_FILES, f"{where}:{node.lineno} calls {ast.unparse(called)}"
        for node, what in imports(tree, name_of(path)):
            assert what not in OUTSIDE, f"{where}:{node.lineno} imports {what}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_pickle_no_bare_except_no_utils(package: str) -> None:
    for path in modules(package):
        where = path.relative_to(ROOT)
        assert "util" not in path.stem, where
        tree = tree_of(path)
        for node, what in imports(tree, name_of(path)):
            assert what.split(".")[0] not in {"pickle", "dill", "joblib", "marshal", "shelve"}, f"{where}:{node.lineno}"
        for part in ast.walk(tree):
            if isinstance(part, ast.ExceptHandler):
                assert part.type is not None, f"{where}:{part.lineno} catches everything"
            if isinstance(part, ast.Call):
                text = ast.unparse(part.func)
                assert text not in {"torch.load", "torch.save", "eval", "exec"}, f"{where}:{part.lineno} calls {text}"
                keywords = {k.arg: ast.unparse(k.value) for k in part.keywords}
                assert keywords.get("allow_pickle") != "True", f"{where}:{part.lineno}"


def test_help_loads_nothing_heavy_and_answers_at_once() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "gentraffic", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert "Usage:" in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "gentraffic.cli.main" in loaded
    assert not {name for name in loaded if name.split(".")[0] in HEAVY}
    took = []  # seconds of processor time: by the clock, a busy machine would be measured
    for _ in range(3):
        began = os.times()
        subprocess.run([sys.executable, "-m", "gentraffic", "--help"], capture_output=True, cwd=ROOT, check=True)
        ended = os.times()
        took.append(sum(ended[2:4]) - sum(began[2:4]))  # the children's, user and system
    assert min(took) < 0.5, took


NOT_FOR_A_DRAW = ("torch._dynamo", "scipy.stats", "diffusers", "torch_geometric", "dask", "zarr", "geopandas", "sympy")
WITHOUT_TORCH = (  # what each command is given, beside a drawn week in m.nc
    "sample --city monaco -o n.nc --dry-run",
    "fetch --city monaco -o context.nc",
    "export office m.nc -o office.csv",
    "map m.nc -o map.html",
    "plan sleep m.nc -o sleep.csv",
    "report m.nc -o report.html",
)


def loaded_by(lines: list[str], folder: Path) -> set[str]:
    """The modules that a process has loaded which runs command lines as `gentraffic` does, in a folder."""
    program = (
        "import json, os, sys\n"
        "from gentraffic.cli import main\n"
        f"*lines, last = {[line.split() for line in lines]}\n"
        "def end(code):\n"
        "    assert code == 0, code\n"
        "    os.write(1, b'LOADED' + json.dumps([k for k, v in sys.modules.items() if v is not None]).encode())\n"
        "    leave(0)\n"
        "leave, os._exit = os._exit, end\n"
        "for line in lines: assert main.run(line) == 0, line\n"
        "sys.argv[1:] = last\n"
        "main.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=folder, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.partition("LOADED")[2]))


def test_commands_load_what_they_need_alone(tmp_path: Path) -> None:
    """A draw from a bundled model needs none of the slow libraries, and what draws nothing needs no torch."""
    loaded = loaded_by(["sample --city monaco -o m.nc"], tmp_path)
    assert {"torch", "xarray", "samplers.stunet"} <= loaded
    assert {name for name in NOT_FOR_A_DRAW if name in loaded} == set()
    loaded = loaded_by(list(WITHOUT_TORCH), tmp_path)
    assert {"xarray", "gentraffic.planning.sleep", "gentraffic.reports.traffic"} <= loaded
    assert "torch" not in loaded
    written = {path.name for path in tmp_path.iterdir()}
    assert {"context.nc", "office.csv", "map.html", "sleep.csv", "report.html"} <= written


def test_importing_does_nothing() -> None:
    """No seeding, no threads set, nothing printed."""
    names = [name_of(path) for leaf in LEAVES for path in modules(leaf)]
    program = (
        "import importlib, random, numpy, torch;"
        "state = lambda: (random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist(),"
        " torch.get_num_threads(), torch.get_default_dtype());"
        f"before = state(); [importlib.import_module(name) for name in {names}]; assert before == state()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
