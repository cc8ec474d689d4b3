"""What a failure of a store means for whoever might try again: pure, one table."""

from typing import Literal, NamedTuple

from pannier_gateway.errors import ArrivedDamaged, StoreBusy, StoreTimedOut, StoreUnavailable
from pannier_gateway.upstream.errors import (
    AnswerCut,
    ExchangeError,
    KeptAliveDied,
    NoAnswer,
    NotSent,
    PoolExhausted,
)


class Failure(NamedTuple):
    """A judgement.

    `reason` names it in metrics; `maybe_done`: what was asked may have happened all the same;
    `unread`: the server most likely never read the request, so the next try costs nothing;
    `cut`: the connection ended, which says little of the server;
    `wait`: seconds that the store says to wait, None where it does not.
    """

    kind: Literal["permanent", "transient", "busy"]
    reason: str
    maybe_done: bool = False
    unread: bool = False
    cut: bool = False
    wait: float | None = None


def judge(error: BaseException) -> Failure:
    """Total. Only what a store says of itself is worth another try, never what a caller did."""
    match error:
        case StoreBusy():
            return Failure("busy", "StoreBusy", wait=error.wait)
        case ArrivedDamaged():
            return Failure("transient", "ArrivedDamaged")
        case StoreUnavailable() | StoreTimedOut():
            return interrupted(error, exchange_error(error))
        case _:
            return Failure("permanent", type(error).__name__)


def interrupted(error: BaseException, cause: ExchangeError | None) -> Failure:
    """Without a `cause` the store has answered: that it failed, not how far it had come."""
    if cause is None:
        return Failure("transient", type(error).__name__, maybe_done=True)
    reason = type(cause).__name__
    if isinstance(cause, PoolExhausted):  # it has waited already, and more asking fills it more
        return Failure("permanent", reason)
    return Failure(
        "transient",
        reason,
        maybe_done=not isinstance(cause, NotSent),
        unread=isinstance(cause, KeptAliveDied),
        cut=isinstance(cause, NoAnswer | AnswerCut),
    )


def exchange_error(error: BaseException) -> ExchangeError | None:
    """What broke the exchange beneath `error`, where that is what happened."""
    cause = error.__cause__
    while cause is not None and not isinstance(cause, ExchangeError):
        cause = cause.__cause__
    return cause
