from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from organcam.runner import Interrupted, interruptible
from organcam.runner.signals import held_back

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of unix")

STUBBORN = """
import sys
from organcam.runner import interruptible
with interruptible():
    try:
        print("ready", flush=True)
        sys.stdin.read()
    finally:
        print("cleaning up", flush=True)
        sys.stdin.read()
"""

SWALLOWED = """
import gc, signal, sys, threading, weakref
from organcam.runner import Interrupted, interruptible
from organcam.runner.signals import held_back

class Thing:
    def __del__(self):
        if sys.argv[1] == "finaliser":
            signal.raise_signal(signal.SIGTERM)

def callback(_reference):
    signal.raise_signal(signal.SIGTERM)

def suppress():
    try:
        signal.raise_signal(signal.SIGTERM)
    except BaseException:
        pass

def held():
    class Held:
        def __del__(self):
            with held_back():
                signal.raise_signal(signal.SIGTERM)
    Held()

try:
    with interruptible():
        thing = Thing()
        if sys.argv[1] == "callback":
            reference = weakref.ref(thing, callback)
        elif sys.argv[1] == "handler":
            suppress()
        elif sys.argv[1] == "held":
            held()
        del thing
        print("swallowed", flush=True)
        threading.Event().wait(60)
        print("went on", flush=True)
except Interrupted as stopped:
    print("stopped", stopped.exit_code, signal.getsignal(signal.SIGALRM) is signal.SIG_DFL)
"""


def raise_signal(number):
    with interruptible():
        signal.raise_signal(number)


@pytest.mark.parametrize(("number", "code", "name"), [(signal.SIGINT, 130, "SIGINT"), (signal.SIGTERM, 143, "SIGTERM")])
def test_signal_becomes_an_exception_with_its_exit_code(number, code, name):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"stopped by {name}; the same command goes on from here") as caught:
        raise_signal(number)
    assert caught.value.exit_code == code
    assert signal.getsignal(number) is before


def test_going_on_after_errors_does_not_go_on_after_this():
    assert not issubclass(Interrupted, Exception)


def test_second_signal_ends_the_process_at_once():
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdin=-1, stdout=-1, encoding="utf-8") as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "cleaning up\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 143


def test_other_threads_are_left_alone():
    seen = []

    def body():
        with interruptible():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_a_signal_held_back_raises_at_the_end_of_the_outermost_block():
    done = []

    def nested():
        with interruptible(), held_back():
            with held_back():
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("inner")
            done.append("outer")

    with pytest.raises(Interrupted) as caught:
        nested()
    assert done == ["inner", "outer"]
    assert caught.value.exit_code == 143
    with interruptible(), held_back():
        done.append("nothing is left over")
    assert len(done) == 3


@pytest.mark.parametrize("where", ["finaliser", "callback", "handler", "held"])
def test_a_signal_that_is_swallowed_comes_again(where):
    """Python ignores exceptions of finalisers and of weak references' callbacks; importlib's locks have such a one."""
    ended = subprocess.run(
        [sys.executable, "-c", SWALLOWED, where], check=True, capture_output=True, encoding="utf-8", timeout=50
    )
    assert ended.stdout.splitlines() == ["swallowed", "stopped 143 True"]
