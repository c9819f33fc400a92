"""The command line: each command parses, calls one stage, prints. Only here: exit codes.

Nothing that imports torch may be imported at the top of a module of this package.
"""

from taco_kd.cli.app import main

__all__ = ["main"]
