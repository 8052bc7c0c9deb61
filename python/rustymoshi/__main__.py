"""`python -m rustymoshi` is the command `rustymoshi`."""

from rustymoshi.cli import main

main()
