"""The command `behemoth study` as a file, for those who start it with python or with accelerate launch."""

from behemoth_cli.study import main

if __name__ == "__main__":
    main(prog="study.py")
