"""``python -m tiler.cli``."""

from tiler.cli.main import main

main()
