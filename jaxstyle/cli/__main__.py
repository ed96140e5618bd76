"""`python -m jaxstyle.cli`."""

from jaxstyle.cli.process import run

if __name__ == "__main__":
    run()
