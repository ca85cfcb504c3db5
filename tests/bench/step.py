# SPDX-License-Identifier: Apache-2.0
"""step.py COMMAND...: runs it with its output on standard error, and says as JSON what it took. A process of its own and a
small one: ru_maxrss begins with what the parent had when a program is executed, which here is some 10 MB; unlike
/proc/PID/status, read while the program runs, it misses nothing. Ends the command when it is ended."""

import json
import os
import signal
import sys
import time


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    pid = None
    try:
        began = time.perf_counter()
        pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
        _, status, used = os.wait4(pid, 0)
        seconds = time.perf_counter() - began
    except SystemExit:
        if pid:
            os.kill(pid, signal.SIGKILL)
        raise
    print(json.dumps({"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "most_mb": used.ru_maxrss * 1024 / 1e6}))
    sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


if __name__ == "__main__":
    main()
