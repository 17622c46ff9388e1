"""What all tests take for granted."""

import signal


def pytest_configure():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore Ctrl-C, which is tested
