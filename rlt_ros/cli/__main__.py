"""`python -m rlt_ros.cli`."""

from rlt_ros.cli import main

if __name__ == "__main__":
    main()
