"""A command line that Invoke cannot parse: what is wrong with it, and what would be right."""

import re
import sys
from types import ModuleType

from invoke import main
from invoke.collection import Collection
from invoke.exceptions import ParseError
from invoke.parser import Parser
from invoke.parser.context import ParserContext
from invoke.program import Program

from lib.terminal import output

GROUPS = {
    "Release": ["release", "train", "evaluate", "register", "image", "aci", "aks", "test"],
    "Look": ["status", "why", "report", "trace", "history", "score"],
    "Operate": ["start", "stop", "keys", "destroy", "adopt", "manifest"],
    "Set up": ["setup", "doctor", "workspace", "attach", "data", "ci", "comment"],
    "Develop": ["check", "bench"],
}
WIDTH = 79
HELP = {"--help", "-h"}


def overview(tasks: ModuleType) -> str:
    """Return all tasks by purpose, each with its first sentence."""
    import textwrap

    collection, lines = Collection.from_module(tasks), ["Usage: invoke TASK [OPTIONS]"]
    for group, names in GROUPS.items():
        lines += ["", group]
        for name in filter(collection.task_names.__contains__, names):
            text = (collection[name].__doc__ or "").strip().partition(". ")[0].rstrip(".")
            lines += textwrap.wrap(f"{name:<9} {text}", WIDTH, initial_indent="  ", subsequent_indent=" " * 12)
    return "\n".join(
        [
            *lines,
            "",
            "invoke --help TASK explains a task; invoke TASK --dry prints what it would do.",
        ]
    )


def check(arguments: list[str], tasks: ModuleType) -> str:
    """Return what is wrong with the arguments of `invoke`; "" if Invoke can parse them."""
    program = Program()
    core = Parser(initial=program.initial_context, ignore_unknown=True).parse_argv(arguments)
    if core[0].args.complete.value:
        return ""  # a shell completes a command line that nobody has finished yet
    if not core.unparsed and not isinstance(core[0].args.help.value, str):
        return ""
    collection = Collection.from_module(tasks)
    names = list(collection.task_names)
    # Only of the tasks that are named: those of all tasks would take longer than many a task's own work at its start.
    contexts = [
        ParserContext(name=name, args=collection[name].get_arguments()) for name in names if name in core.unparsed
    ]
    try:
        Parser(initial=program.initial_context, contexts=contexts).parse_argv(core.unparsed)
    except ParseError as error:
        return _explain(error, names)
    except ValueError as error:
        return f"{error}: a flag needs a number"
    explained = core[0].args.help.value
    if isinstance(explained, str) and explained not in names:
        return _unknown(f"task {explained}", explained, names)
    return ""


def _explain(error: ParseError, names: list[str]) -> str:
    task = error.context.name if error.context else None
    unknown = re.search(r"^No idea what '(.*)' is", str(error))
    if unknown is None:
        help_line = f"`invoke --help {task}` explains it" if task else "`invoke --list` lists the tasks"
        return f"{str(error).rstrip('!')}\n{help_line}"
    name = unknown[1]
    if name.startswith("-"):
        flags = [flag for flag in (error.context.flag_names() if error.context else ()) if len(flag) > len("-x")]
        return _unknown(f"option {name.partition('=')[0]}" + (f" of {task}" if task else ""), name, flags)
    return _unknown(f"task {name}", name, names)


def _unknown(what: str, name: str, choices: list[str]) -> str:
    import difflib  # only here: it takes a moment

    nearest = difflib.get_close_matches(name, choices, n=1)
    meant = f": did you mean {nearest[0]}?" if nearest else ""
    return f"unknown {what}{meant}\nChoose one of {', '.join(sorted(choices)) or 'none: it has no options'}"


def unsupported(system: str) -> str:
    """Return why a system cannot run this project; an empty string if it can."""
    return "Windows runs this project in WSL only: https://learn.microsoft.com/windows/wsl" if system == "win32" else ""


def require(tasks: ModuleType) -> None:
    """Print the tasks if the command line is empty. End with exit code 2 if it is wrong; Invoke would end with 1."""
    if why := unsupported(sys.platform):
        sys.stderr.write(f"Error: {why}\n")
        sys.exit(2)
    output.survive_closed_pipe()
    arguments = sys.argv[1:]
    if not arguments:
        print(overview(tasks))
        sys.exit(0)
    if arguments[0] in Collection.from_module(tasks).task_names and HELP.intersection(arguments[1:]):
        # Invoke takes it for the value of a required argument.
        sys.argv[1:] = ["--help", arguments[0]]
        main.program.run()
    if problem := check(sys.argv[1:], tasks):
        sys.stderr.write(f"Error: {problem}\n")
        sys.exit(2)
