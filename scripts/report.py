"""The command `behemoth report` as a file, for those who start it with python or with accelerate launch."""

from behemoth_cli.report import main

if __name__ == "__main__":
    main(prog="report.py")
