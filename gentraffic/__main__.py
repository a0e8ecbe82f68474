"""`python -m gentraffic` is the command `gentraffic`."""

from gentraffic.cli.main import main

if __name__ == "__main__":
    main()
