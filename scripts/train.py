"""The command `behemoth train` as a file, for those who start it with python or with accelerate launch."""

from behemoth_cli.train import main

if __name__ == "__main__":
    main(prog="train.py")
