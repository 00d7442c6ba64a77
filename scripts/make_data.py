"""The command `behemoth data` as a file, for those who start it with python or with accelerate launch."""

from behemoth_cli.data import main

if __name__ == "__main__":
    main(prog="make_data.py")
