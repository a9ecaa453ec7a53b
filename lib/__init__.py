"""The release: each folder has one job; see the map in CONTRIBUTING.md."""

import sys

# Invoke keeps Python from writing byte code. Then every task would compile all of lib/ anew, which takes 0.2 s.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)
