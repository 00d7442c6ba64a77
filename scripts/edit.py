"""The command `behemoth edit` as a file, for those who start it with python or with accelerate launch."""

from behemoth_cli.edit import main

if __name__ == "__main__":
    main(prog="edit.py")
