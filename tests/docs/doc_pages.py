"""The pages of the documentation, their code blocks and their commands, and a way to run a page from top to bottom."""

import contextlib
import io
import re
import shlex
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import forked
import typer
from typer.testing import CliRunner

from xmc.cli.main import app

ROOT = Path(__file__).parents[2]
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "plugins/README.md", "indexes/README.md")
PAGES = {str(path.relative_to(ROOT)): path for path in [*(ROOT / name for name in TOP), *ROOT.glob("docs/**/*.md")]}
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHIPPED = {"icd10cm": "tiny"}  # what the page says -> what the test takes, to stay quick
FEWER = {  # what the test adds to commands that begin so, to stay quick
    ("check",): ["--set", "check.calibrate.bootstrap_samples=20"],
    ("check", "all"): ["--set", "check.certify.sample=5"],
    ("check", "certify"): ["--set", "check.certify.sample=5"],
    ("train", "--data", "data/mine"): ["--set", "train.epochs=2"],
}


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the file that its second word names (or ""), and its text."""

    language: str
    file: str
    text: str


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page that name a language, in order."""
    text = PAGES[page].read_text(encoding="utf-8")
    return [Block(match[1], match[2] or "", match[3]) for match in BLOCK.finditer(text)]


def commands(block: Block) -> Iterator[list[str]]:
    """The command lines of a bash block, split as a shell would, without comments."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


def all_commands(program: str) -> list[tuple[str, list[str]]]:
    """(page, arguments) of every call of `program` in a bash block of any page."""
    return [
        (page, words[1:])
        for page in PAGES
        for block in blocks(page)
        if block.language == "bash"
        for words in commands(block)
        if words[0] == program
    ]


def parse(arguments: list[str]) -> None:
    """Let the verb parse its arguments, without running it; a wrong one raises."""
    group = typer.main.get_command(app)
    verb, *rest = arguments
    group.commands[verb].make_context(verb, rest)


def run_page(page: str) -> str:
    """Run the blocks of a page in order in the working directory; what its Python blocks print.

    A block that names a file is written there (a Python one can then be imported); of the bash blocks the `xmc`
    commands are run; other Python blocks are executed, one after the other in one module.
    """
    module = types.ModuleType("documentation_page")
    printed = io.StringIO()
    with contextlib.ExitStack() as services:
        for block in blocks(page):
            if block.file:
                path = Path(block.file)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text, encoding="utf-8")
            elif block.language == "bash":
                run_commands(block, services)
            elif block.language == "python":
                with contextlib.redirect_stdout(printed):
                    exec(compile(block.text, page, "exec"), module.__dict__)
    return printed.getvalue()


def run_commands(block: Block, services: contextlib.ExitStack) -> None:
    """Run the `xmc` commands of a bash block; a service goes on among the others."""
    for words in commands(block):
        if words[:2] == ["xmc", "serve"]:
            services.enter_context(service(words[1:]))
        elif words[0] == "xmc":
            run_command(words[1:])


@contextlib.contextmanager
def service(arguments: list[str]) -> Iterator[None]:
    """`xmc serve` in a process of its own, once it answers, until the page has ended."""
    process = forked.Forked(forked.xmc, *arguments)
    try:
        assert any(line.startswith("serving") for line in process.stderr)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=30)


def run_command(arguments: list[str]) -> None:
    """Run one `xmc` command, with `> FILE`; training in a process of its own, since it changes the whole process."""
    words = [SHIPPED.get(word, word) for word in arguments]
    words, target = (words[:-2], words[-1]) if words[-2:-1] == [">"] else (words, "")
    words += [word for start, more in FEWER.items() if tuple(words[: len(start)]) == start for word in more]
    if words[0] in ("train", "scale"):
        done = forked.run(forked.xmc, *words)
        code, output, errors = done.returncode, done.stdout, done.stderr
    else:
        result = CliRunner().invoke(app, words)
        code, output, errors = result.exit_code, result.stdout, repr(result.exception)
    allowed = (0, 1) if words[0] == "doctor" or "--failed" in words else (0,)  # 1 tells of the machine, not of the page
    assert code in allowed, f"xmc {shlex.join(words)}: exit code {code}\n{output}\n{errors}"
    if target:
        Path(target).write_text(output, encoding="utf-8")
