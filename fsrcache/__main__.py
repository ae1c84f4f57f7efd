"""``python -m fsrcache``: the command line."""

from fsrcache.cli import main

if __name__ == "__main__":
    main()
