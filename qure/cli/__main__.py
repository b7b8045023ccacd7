"""`python -m qure.cli`: what torchrun starts."""

from qure.cli import app

if __name__ == "__main__":
    app()
