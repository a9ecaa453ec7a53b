"""`python -m tests.azure` starts the loopback Azure in the foreground and prints what a client needs."""

import argparse
from pathlib import Path

from tests.azure.loopback import main
from tests.azure.server import run

parser = argparse.ArgumentParser(prog="python -m tests.azure", description=__doc__)
parser.add_argument("--port", type=int, default=0, help="of the proxy and the admin interface; any free one if 0")
parser.add_argument("--folder", type=Path, help="keeps the certificate, the logs and the runs; else a temporary one")
parser.add_argument("--workspace", default="release", help="that is there from the beginning; none if empty")
parser.add_argument("--group", default="release", help="the workspace's resource group")
parser.add_argument("--location", default="westeurope", help="the workspace's region")
parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
main(run, parser.parse_args())
