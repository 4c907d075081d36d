"""A driver that spoils a good one's answers, for the test of the suite: `wrong_driver.py FAULT COMMAND…`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

Spoil = Callable[[dict[str, Any]], object]


def _frames(spoil: Callable[[list[Any]], object]) -> Spoil:
    """Spoils the frames of an answer that has some."""
    return lambda answer: spoil(answer["frames"]) if answer.get("frames") else None


class _Rising:
    """A number that is higher with each answer."""

    def __init__(self, key: str, step: int) -> None:
        self._key, self._step, self._value = key, step, 0

    def __call__(self, answer: dict[str, Any]) -> None:
        self._value += self._step
        answer[self._key] = self._value


#: Verb and what becomes of its answer.
FAULTS: dict[str, tuple[str, Spoil]] = {
    "lost_frame": ("call", _frames(lambda frames: frames.pop(0))),
    "swapped_frames": ("call", _frames(lambda frames: frames.insert(0, frames.pop(len(frames) // 2)))),
    "second_reply": ("call", _frames(lambda frames: frames.append(frames[-1]))),
    "other_bytes": ("call", _frames(lambda frames: frames[0].update(crc32=frames[0]["crc32"] ^ 1))),
    "not_ended": ("call", lambda answer: answer.update(ended=False)),
    "accepted_unknown": ("call", lambda answer: answer.update(handle=0)),
    "lost_call": ("storm", lambda answer: answer.update(lost=answer["lost"] + 1, replies=answer["replies"] - 1)),
    "wrong_call": ("storm", lambda answer: answer.update(wrong=1)),
    "no_calls": ("join", lambda answer: answer.update(accepted=0, replies=0)),
    "broken_promise": ("unload", lambda answer: answer.update(broken=["two terminal replies for sid 7"])),
    "growing": ("rss", _Rising("rss_kib", 3000)),
    "left_thread": ("rss", _Rising("threads", 1)),
    "quiet_close": ("stream_close", lambda answer: answer.update(status=0)),
    "leaves": ("call", lambda answer: os._exit(3)),
    "crashes": ("call", lambda answer: os.kill(os.getpid(), signal.SIGSEGV)),
    "sanitizer": ("unload", lambda answer: print("==1==ERROR: AddressSanitizer: on purpose", file=sys.stderr)),
    "bad_end": ("quit", lambda answer: sys.exit(5)),
}


def main() -> int:
    """Pass lines to the good driver, and spoil what comes back."""
    verb, spoil = FAULTS[sys.argv[1]]
    good = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert good.stdin
    assert good.stdout
    for line in sys.stdin:
        asked = line.split()[0]
        good.stdin.write(line)
        good.stdin.flush()
        if asked == "quit":
            break
        answer = json.loads(good.stdout.readline())
        if asked == verb and not {"error", "job"} & answer.keys():
            spoil(answer)
        print(json.dumps(answer), flush=True)
    code = good.wait()
    if verb == "quit":
        spoil({})
    return code


if __name__ == "__main__":
    sys.exit(main())
