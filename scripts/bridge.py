"""The command `behemoth bridge` as a file, for those who start it with python or with accelerate launch."""

from behemoth_cli.console import run

if __name__ == "__main__":
    run("bridge", prog="bridge.py")
