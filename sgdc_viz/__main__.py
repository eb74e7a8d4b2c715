import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `main`: Ctrl-C in the middle of imports ends without a traceback

from sgdc_viz.cli import main  # noqa: E402

if __name__ == "__main__":  # worker processes import this file again
    main()
