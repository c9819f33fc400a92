"""``python -m taco_kd`` is the same program as ``taco-kd``."""

from taco_kd.cli import main

if __name__ == "__main__":
    main()
