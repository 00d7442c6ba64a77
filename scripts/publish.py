"""The command `behemoth publish` as a file, for those who start it with python or with accelerate launch."""

from behemoth_cli.publish import main

if __name__ == "__main__":
    main(prog="publish.py")
