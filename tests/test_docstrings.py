"""Every public function says the shape of each array that it takes: `values: (cells, steps)` or `a, b: (cells,)`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("gentraffic", "poi", "graphs", "samplers", "forecasters")
ARRAYS = {"NDArray", "Tensor", "ArrayLike", "ndarray"}
DIMENSION = r"[\w *+/-]+"
SHAPE = rf"\(({DIMENSION},|{DIMENSION}(, {DIMENSION}|, \.\.\.)+,?|\.\.\.(, {DIMENSION})+|any shape)\)"
NEAR = 100  # characters between the name of an argument and its shape


def states_shape(docstring: str, argument: str) -> bool:
    """Is the name of the argument (or its plural) followed, in the same sentence and soon, by a tuple of dimensions?"""
    text = " ".join(docstring.split())
    return re.search(rf"(?i)\b{re.escape(argument)}s?\b((?!\. ).){{0,{NEAR}}}?{SHAPE}", text) is not None


def mentions_array(annotation: ast.expr | None, aliases: set[str]) -> bool:
    """Does the annotation name an array type or an alias of one? A function of arrays (Callable) is not an array."""
    if annotation is None:
        return False
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return mentions_array(ast.parse(annotation.value, mode="eval").body, aliases)
    if isinstance(annotation, ast.Subscript) and _last_name(annotation.value) == "Callable":
        return False
    if _last_name(annotation) in ARRAYS | aliases:
        return True
    parts = (child for child in ast.iter_child_nodes(annotation) if isinstance(child, ast.expr))
    return any(mentions_array(part, aliases) for part in parts)


def _last_name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def array_aliases(path: Path) -> set[str]:
    """Names of one module that stand for an array type, such as `Floats = NDArray[np.float64]`, imported ones too."""
    aliases: set[str] = set()
    for node in parsed(path).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            source = ROOT.joinpath(*node.module.split(".")).with_suffix(".py")
            if source.exists():
                theirs = array_aliases(source)
                aliases |= {alias.asname or alias.name for alias in node.names if alias.name in theirs}
        # A value such as `x = f(NDArray)` is no type: subscripts and unions are.
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.BinOp):
            target = node.targets[0]
            if isinstance(target, ast.Name) and mentions_array(node.value, aliases):
                aliases.add(target.id)
    return aliases


def public_functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Functions of the module and methods of its public classes, without a leading underscore."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for method in node.body:
                if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and not method.name.startswith("_"):
                    yield f"{node.name}.{method.name}", method


def offenders(tree: ast.Module, aliases: set[str]) -> list[str]:
    """`line function(argument)` of each array argument whose shape the docstring does not give."""
    missing = []
    for name, function in public_functions(tree):
        arguments = function.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
        docstring = ast.get_docstring(function) or ""
        for argument in every:
            if argument is None or not mentions_array(argument.annotation, aliases):
                continue
            if not states_shape(docstring, argument.arg):
                missing.append(f"{function.lineno} {name}({argument.arg})")
    return missing


def checked_modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_each_public_function_gives_the_shape_of_its_arrays() -> None:
    missing = [
        f"{path.relative_to(ROOT)}:{what}"
        for path in checked_modules()
        for what in offenders(parsed(path), array_aliases(path))
    ]
    assert not missing, f"{len(missing)} array arguments without a shape in the docstring:\n" + "\n".join(missing)


@pytest.mark.parametrize(
    "docstring",
    [
        "values: (cells, steps) in megabytes.",
        "`values` (cells,) of one step.",
        "others, values: (members, cells, 24 k).",
        "Values (..., steps) -> their mean.",
        "values: (any shape).",
        "Mean of the values over time: a word that stands between name and shape, (B, days * hours, 2).",
        "value (cells, steps) each",
        "values: on the\n    grid (row + 1, col).",
    ],
)
def test_rule_accepts_a_shape_near_the_name(docstring: str) -> None:
    argument = "value" if docstring.startswith("value ") else "values"
    assert states_shape(docstring, argument)


@pytest.mark.parametrize(
    "docstring",
    [
        "",
        "The mean of the values.",
        "(cells, steps) the mean.",  # a shape of something, but no name
        "values are summed. (cells,)",  # another sentence: the shape of the result
        "values (see below), a remark",
        "values (steps)",  # a remark in brackets; one dimension has a comma
        "values_of: (cells, steps)",  # another name
        "values: " + "far " * 40 + "(cells, steps)",
        "values (members), others (cells) alike",
    ],
)
def test_rule_refuses_a_docstring_without_the_shape(docstring: str) -> None:
    assert not states_shape(docstring, "values")


BAD = '''
from numpy.typing import NDArray
Floats = NDArray[float]
def good(a: Floats, b: int) -> Floats:
    """The mean of a (cells, steps)."""
def bad(a: "Floats", *, named: NDArray[int] | None = None, count: int = 1, how: Callable[[Floats], float]) -> float:
    """The mean of a."""
def without(*rows: Sequence[Floats]) -> None: ...
def _hidden(a: Floats) -> None: ...
class Public:
    def method(self, table: dict[str, Floats]) -> None:
        """Take the table."""
    def _own(self, a: Floats) -> None: ...
class _Private:
    def method(self, a: Floats) -> None: ...
'''


def test_bad_docstrings_are_found(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(BAD, encoding="utf-8")
    assert array_aliases(path) == {"Floats"}
    assert offenders(parsed(path), array_aliases(path)) == [
        "6 bad(a)",
        "6 bad(named)",
        "8 without(rows)",
        "11 Public.method(table)",
    ]


def test_aliases_come_through_imports() -> None:
    assert "Floats" in array_aliases(ROOT / "gentraffic/evaluation/metrics/distribution.py")
