"""A file of one's own may have the name of a package of gentraffic: `import gentraffic` says which, and what helps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("name", "fix"),
    [("graphs.py", "rename that file"), ("samplers/__init__.py", "rename it, or the folder that it lies in")],
)
def test_a_file_that_hides_a_package_is_named(name: str, fix: str, tmp_path: Path) -> None:
    own = tmp_path / name
    own.parent.mkdir(exist_ok=True)
    own.write_text("x = 1\n")
    script = tmp_path / "script.py"
    script.write_text("import gentraffic\n")
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=env, check=False)
    package = name.partition("/")[0].removesuffix(".py")
    last = done.stderr.strip().splitlines()[-1]
    assert last == f"ImportError: {own} hides the package {package!r} of gentraffic: {fix}"
    (tmp_path / "other").mkdir()
    elsewhere = tmp_path / "other" / "script.py"
    elsewhere.write_text("import gentraffic\n")
    done = subprocess.run([sys.executable, str(elsewhere)], capture_output=True, text=True, env=env, check=False)
    assert (done.returncode, done.stderr) == (0, "")
