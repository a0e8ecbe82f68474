"""Pages that are made when the documentation is built: the command line, Python, and the changelog.

`python docs/hooks.py PAGE` prints one of them.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command below `command`, with what one types and a context to format its help."""
    context = click.Context(command, info_name=path, max_content_width=100, terminal_width=100)
    yield path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, f"{path} {name}")


def cli_page() -> str:
    """Help of every command, as the command line prints it."""
    from gentraffic.cli.main import cli

    parts = ["# Command line\n\nThis page is made from the help of each command.\n"]
    for path, command, context in commands(cli, "gentraffic"):
        parts.append(f"## {path}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def python_page() -> str:
    """Signature and docstring of every public name, and of what its functions return."""
    import gentraffic

    parts = ["# Python\n\nThis page is made from the docstrings. `import gentraffic` first.\n"]
    for name, thing in public(gentraffic):
        if inspect.ismodule(thing):
            parts.append(f"## gentraffic.{name}\n\n```text\n{inspect.getdoc(thing) or ''}\n```\n")
            continue
        parts.append(f"## gentraffic.{name}\n\n```python\n{signature(name, thing)}\n```\n")
        parts.append(f"```text\n{inspect.getdoc(thing) or ''}\n```\n")
    return "\n".join(parts)


def public(package: Any) -> Iterator[tuple[str, Any]]:
    """Every public name and what it is; behind a module, its own public functions, as `module.name`."""
    for name in package.__all__:
        thing = getattr(package, name)
        yield name, thing
        if inspect.ismodule(thing):
            for inner, found in vars(thing).items():
                if inspect.isfunction(found) and found.__module__ == thing.__name__ and not inner.startswith("_"):
                    yield f"{name}.{inner}", found


def signature(name: str, thing: Any) -> str:
    """A signature with one argument a line."""
    kind = "class" if inspect.isclass(thing) else "def"
    found = inspect.signature(thing)
    last = found.return_annotation
    arrow = "" if last is inspect.Signature.empty else f" -> {last}"
    lines, stars = [], False
    for parameter in found.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not stars:
            lines.append("    *,")
            stars = True
        stars = stars or parameter.kind is parameter.VAR_POSITIONAL
        typed = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
        given = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        stars_before = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        lines.append(f"    {stars_before}{parameter.name}{typed}{given},")
    return "\n".join([f"{kind} {name}(", *lines, f"){arrow}:"])


def changelog_page() -> str:
    """CHANGELOG.md of the project."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


PAGES = {"reference/cli.md": cli_page, "reference/python.md": python_page, "changelog.md": changelog_page}


def on_files(files: Any, config: Any) -> Any:
    """mkdocs: add the pages that are made."""
    from mkdocs.structure.files import File

    for name, make in PAGES.items():
        files.append(File.generated(config, name, content=make()))
    return files


if __name__ == "__main__":
    print(PAGES[sys.argv[1]]())
