"""The command `behemoth benchmark` as a file, for those who start it with python or with accelerate launch."""

from behemoth_cli.benchmark import main

if __name__ == "__main__":
    main(prog="benchmark.py")
