"""Clients that hang up: unseen by the loop while what they sent before is not read.

A connection is not read from while its body is held up, and its end comes behind what is unread.
Who sends no more may yet read, or be gone: that shows once something was sent to them.
"""

import select
from array import array
from asyncio import Transport
from fcntl import ioctl
from termios import FIONREAD

ENDED = getattr(select, "POLLRDHUP", 0)  # Linux; elsewhere only a reset is seen


def has_left(transport: Transport) -> bool:
    """Whether the client sends no more than the kernel has of it, or is gone."""
    if transport.is_closing():
        return True
    poll = select.poll()
    poll.register(transport.get_extra_info("socket"), ENDED)
    return bool(poll.poll(0))


def is_gone(transport: Transport) -> bool:
    """Whether nobody is there to take an answer, as far as the kernel has heard."""
    if transport.is_closing():
        return True
    poll = select.poll()
    poll.register(transport.get_extra_info("socket"), 0)  # told in any case: the end both ways
    return bool(poll.poll(0))


def unread(transport: Transport) -> int:
    """How many bytes of the client's the kernel has."""
    size = array("i", [0])
    ioctl(transport.get_extra_info("socket").fileno(), FIONREAD, size)
    return size[0]
