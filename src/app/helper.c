/* SPDX-License-Identifier: Apache-2.0
 * One child process, its three streams, its end. What it writes may be secret whatever its exit
 * status is, and is repeated nowhere. */
#include "app/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "upstream/credentials.h"

enum { PATIENCE_MS = 10000, ANSWER_MAX_BYTES = 64 << 10 };

#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

extern char **environ;

/* Our blocked signals and our ignored SIGPIPE are none of its business. */
static int spawn(const char *program, int in, int out, pid_t *child)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, pipe_only;
    char *words[] = {(char *)program, "get", NULL};
    sigemptyset(&none);
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in, 0);
    posix_spawn_file_actions_adddup2(&files, out, 1);
    posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &pipe_only);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int failed = posix_spawnp(child, program, &files, &attributes, words, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&files);
    return failed;
}

/* Until it closes its output. false: too long in either sense. */
static bool read_answer(int from, struct str *answer)
{
    int64_t end = clock_mono_ms() + PATIENCE_MS;
    struct pollfd p = {.fd = from, .events = POLLIN};
    char some[4096];
    for (;;) {
        int64_t left = end - clock_mono_ms();
        int ready = poll(&p, 1, left > 0 ? (int)left : 0);
        if (ready < 0 && errno == EINTR)
            continue;
        ssize_t n = ready > 0 ? read(from, some, sizeof some) : -1;
        if (n <= 0)
            return n == 0;
        str_add_bytes(answer, some, (size_t)n);
        if (answer->length > ANSWER_MAX_BYTES)
            return false;
    }
}

/* It has closed its output, so this takes no time, unless it is to die anyway or stays on purpose.
 */
static int ending_of(pid_t child, bool is_to_die)
{
    int64_t end = clock_mono_ms() + (is_to_die ? 0 : PATIENCE_MS);
    int status = 0;
    pid_t ended;
    while ((ended = waitpid(child, &status, WNOHANG)) == 0 && clock_mono_ms() < end)
        poll(NULL, 0, 2);
    if (ended == 0) {
        kill(child, SIGKILL);
        while ((ended = waitpid(child, &status, 0)) < 0 && errno == EINTR)
            ;
    }
    return ended == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int helper_ask(const char *name, const char *server, struct credentials *out, struct error *e)
{
    int to[2] = {-1, -1}, from[2] = {-1, -1};
    if (!name[0] || name[strspn(name, NAME_CHARACTERS)])
        return error_set(e, ERR_USAGE, "the name of a credential helper is letters, digits, ._-");
    autofree char *program = alloc_format("docker-credential-%s", name);
    autostr struct str answer = {0};
    pid_t child = -1;
    if (pipe2(to, O_CLOEXEC) < 0)
        return error_errno(e, "%s: pipe", program);
    if (pipe2(from, O_CLOEXEC) < 0) {
        close(to[0]);
        close(to[1]);
        return error_errno(e, "%s: pipe", program);
    }
    int failed = spawn(program, to[0], from[1], &child);
    close(to[0]);
    close(from[1]);
    /* one that knows its answer need not read the question */
    bool is_asked = !failed && (write(to[1], server, strlen(server)) > 0 || errno == EPIPE);
    close(to[1]);
    bool is_read = is_asked && read_answer(from[0], &answer);
    close(from[0]);
    int status = failed ? -1 : ending_of(child, !is_read);
    int result = 0;
    if (failed)
        result = error_set(e, ERR_USAGE, "%s cannot be run: %s", program, strerror(failed));
    else if (!is_read)
        result =
            error_set(e, ERR_USAGE, "%s did not answer within %d s", program, PATIENCE_MS / 1000);
    else if (status != 0)
        result = error_set(e, ERR_USAGE, "%s knows nothing of %s (exit status %d)", program, server,
                           status);
    else if (credentials_from_helper(str_text(&answer), answer.length, out, e) < 0)
        result = error_prefix(e, "%s", program);
    if (answer.text)
        explicit_bzero(answer.text, answer.length);
    return result;
}
