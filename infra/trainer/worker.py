"""torchrun that ends with the exit status of the process that failed first.

`torchrun` itself ends with 1 whatever happened, so that nobody outside can tell bad input (2), which no restart mends,
from an accident. Takes torchrun's arguments and its PET_* variables: `python -m infra.trainer.worker -m qure.cli ...`.
"""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs torchrun in this process.

    Args:
        arguments: torchrun's; the command line's when left out.

    Returns:
        0, the exit status of the process that failed first, or 128 and the number of the signal that ended it.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    try:
        torchrun(list(arguments) if arguments is not None else None)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        print(f"rank {rank} ended with exit status {failure.exitcode}", file=sys.stderr, flush=True)
        return failure.exitcode if failure.exitcode >= 0 else 128 - failure.exitcode
    return 0


if __name__ == "__main__":
    sys.exit(main())
