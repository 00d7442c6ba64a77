"""The command `behemoth play` as a file, for those who start it with python."""

from behemoth_cli.console import run

if __name__ == "__main__":
    run("play", prog="play.py")
