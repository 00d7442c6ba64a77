"""The command `behemoth bench` as a file, for those who start it with python or with accelerate launch."""

from behemoth_cli.console import run

if __name__ == "__main__":
    run("bench", prog="bench.py")
