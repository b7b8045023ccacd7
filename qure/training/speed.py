"""How fast a training runs and how long it will take: for the eye and the tracking server, never for a decision."""

import time


class Speed:
    """Counts images from its making on; minings and evaluations lie between epochs and are not counted.

    Args:
        steps: steps of this epoch that are left.
        later_steps: steps of all epochs after it.
    """

    def __init__(self, steps: int, later_steps: int) -> None:
        self._begun = time.monotonic()
        self._left = steps + later_steps
        self._steps, self._images = 0, 0

    def step(self, images: int) -> None:
        """Counts one step over so many images (references, targets and negatives)."""
        self._steps += 1
        self._images += images
        self._left -= 1

    def metrics(self) -> dict[str, float]:
        """images_per_second and seconds since the beginning."""
        seconds = time.monotonic() - self._begun
        return {"images_per_second": self._images / max(seconds, 1e-9), "epoch_seconds": seconds}

    def __str__(self) -> str:
        numbers = self.metrics()
        left = numbers["epoch_seconds"] / max(self._steps, 1) * self._left
        speed = f"{numbers['images_per_second']:.0f} images/s"
        return f"{speed}, {span(left)} of training left" if self._left else speed


def span(seconds: float) -> str:
    """A time span for people.

    >>> span(42.4), span(754), span(9000)
    ('42 s', '12 min 34 s', '2 h 30 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
