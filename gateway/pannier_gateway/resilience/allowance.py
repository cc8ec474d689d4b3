"""What may be done in addition: a share of all that is asked, saved up to a burst."""


class Allowance:
    """`take` once for each that is done in addition."""

    def __init__(self, share: float, burst: int) -> None:
        self._credit = burst / 2
        self._share = share
        self._burst = burst

    def __repr__(self) -> str:
        return f"<Allowance of {self._credit:.1f}>"

    def asked(self) -> None:
        if self._credit < self._burst:
            self._credit += self._share

    @property
    def left(self) -> bool:
        return self._credit >= 1

    @property
    def plenty(self) -> bool:
        return self._credit >= self._burst / 2

    def take(self) -> None:
        self._credit -= 1
