"""How an exchange can end without a whole answer: each phase has an error of its own.

ExchangeError
├── NotSent                  nothing of the request has left: it may always be sent again
│   ├── PoolExhausted        no connection became free in time
│   ├── ConnectFailed        nobody there, no such name, no way to get there
│   │   └── TlsFailed        the two ends could not prove themselves to each other
│   └── ConnectTimedOut
├── NoAnswer                 the connection ended before any byte of an answer
│   └── KeptAliveDied        and it had served before: most likely the server never read the request
├── FirstByteTimedOut        the request was sent, and no answer began
├── ProgressTimedOut         no byte moved, either way, in the middle of it
├── AnswerCut                the answer broke off; carries the bytes of body it still owes
├── AnswerTooLong            longer than whoever reads it whole is ready to keep
└── AnswerMalformed          what came is not an answer in HTTP/1.1
"""


class ExchangeError(Exception):
    """Root of the tree; `str()` says what happened to which endpoint."""


class NotSent(ExchangeError):
    pass


class PoolExhausted(NotSent):
    pass


class ConnectFailed(NotSent):
    pass


class TlsFailed(ConnectFailed):
    pass


class ConnectTimedOut(NotSent):
    pass


class NoAnswer(ExchangeError):
    pass


class KeptAliveDied(NoAnswer):
    pass


class FirstByteTimedOut(ExchangeError):
    pass


class ProgressTimedOut(ExchangeError):
    pass


class AnswerCut(ExchangeError):
    """`owed` is the bytes of body that did not come; None: the head broke off, or nobody knows."""

    def __init__(self, message: str, owed: int | None) -> None:
        super().__init__(message)
        self.owed = owed


class AnswerTooLong(ExchangeError):
    pass


class AnswerMalformed(ExchangeError):
    pass
