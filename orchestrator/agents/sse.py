"""Server-sent events: bytes in, the data of whole events out."""

import re

from orchestrator.agents.failures import malformed

_LINE_END = re.compile(rb"\r\n|\n|\r")


class Events:
    """Cuts a stream into events, in whatever pieces it comes; `max_event` bounds one of them."""

    def __init__(self, max_event: int) -> None:
        self._max_event = max_event
        self._rest = bytearray()
        self._searched = 0  # bytes of `_rest` that are known to hold no line's end
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of the events that `chunk` completes; raise `Fault` for one too large."""
        self._rest += chunk
        done: list[bytes] = []
        start = 0
        for end in _LINE_END.finditer(self._rest, self._searched):
            if end.end() == len(self._rest) and end.group() == b"\r":
                break  # its \n may be under way
            self._line(bytes(self._rest[start : end.start()]), done)
            start = end.end()
        del self._rest[:start]
        self._searched = max(0, len(self._rest) - 1)
        if len(self._rest) + self._size > self._max_event:
            raise malformed(f"sent an event of more than {self._max_event} bytes")
        return done

    def end(self) -> list[bytes]:
        """Return the data of an event that the stream's end completes."""
        done: list[bytes] = []
        self._line(bytes(self._rest).removesuffix(b"\r"), done)
        self._line(b"", done)
        self._rest.clear()
        return done

    def _line(self, line: bytes, done: list[bytes]) -> None:
        if not line:
            if self._data:
                done.append(b"\n".join(self._data))
            self._data, self._size = [], 0
        elif line.startswith(b"data:"):  # comments, ids, names and delays mean nothing here
            data = line[5:].removeprefix(b" ")
            self._data.append(data)
            self._size += len(data)
