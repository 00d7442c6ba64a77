"""The command `behemoth pretrain` as a file, for those who start it with python or with accelerate launch."""

from behemoth_cli.pretrain import main

if __name__ == "__main__":
    main(prog="pretrain_all.py")
