"""What holds for all tests."""

import signal

# A shell without job control lets what it starts in the background ignore Ctrl-C, and a program
# that is started inherits that: programs under test shall be as those that a user starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
