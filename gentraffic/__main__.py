"""`python -m gentraffic` is the command `gentraffic`."""

from gentraffic.cli import main

if __name__ == "__main__":
    main()
