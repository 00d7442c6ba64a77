"""python -m behemoth_cli: the same as the console command `behemoth`."""

from behemoth_cli.console import main

if __name__ == "__main__":
    main()
