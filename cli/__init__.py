"""The command line: one command a file, each a thin skin on the library."""

from fsrcache.cli.main import main as main
