"""`python -m tooltune`: the command line, as launchers such as torchrun start it."""

from tooltune.cli.main import main

if __name__ == "__main__":
    main()
