"""`python -m searchd.coordinator`."""

from searchd.coordinator.loop import main

if __name__ == "__main__":
    main()
