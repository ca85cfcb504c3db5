/* SPDX-License-Identifier: Apache-2.0
 * log: one event is one line, whatever a stranger put into it; nobody waits for stderr; what is
 * lost is counted. Each test has stderr in a file of its own, or in a pipe that it reads when it
 * likes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/str.h"
#include "base/thread.h"

static int real_stderr = -1;
static int captured = -1;

static int capture(void **state)
{
    (void)state;
    real_stderr = dup(STDERR_FILENO);
    captured = memfd_create("stderr", MFD_CLOEXEC);
    if (real_stderr < 0 || captured < 0 || dup2(captured, STDERR_FILENO) < 0)
        return -1;
    log_configure(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
    clock_freeze(1795479302, 0);
    return 0;
}

static int release(void **state)
{
    (void)state;
    log_stop();
    clock_real();
    dup2(real_stderr, STDERR_FILENO);
    close(real_stderr);
    close(captured);
    return 0;
}

/* What was written since the last call, owned. */
static char *written(void)
{
    static const size_t max = 16 << 20;
    char *text = alloc_zero(max + 1);
    ssize_t length = file_read_some(captured, text, max, 0, NULL);
    assert_true(length >= 0);
    text[length] = '\0';
    assert_int_equal(ftruncate(captured, 0), 0);
    assert_int_equal(lseek(captured, 0, SEEK_SET), 0);
    return text;
}

static void assert_written(const char *expected)
{
    autofree char *text = written();
    assert_string_equal(text, expected);
}

static size_t count_lines(const char *text)
{
    size_t count = 0;
    for (; *text; text++)
        count += *text == '\n';
    return count;
}

static void a_text_line_has_time_level_message_and_fields(void **state)
{
    (void)state;
    log_event(LOG_LEVEL_INFO, "request", LOG_S("method", "GET"), LOG_I("status", -200), LOG_END);
    assert_written("2026-11-24T00:15:02Z INFO request method=GET status=-200\n");
    log_event(LOG_LEVEL_WARNING, "upstream failed", LOG_END);
    assert_written("2026-11-24T00:15:02Z WARNING upstream failed\n");
}

static void a_json_line_is_an_object(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    log_event(LOG_LEVEL_ERROR, "no \"space\"", LOG_S("path", "/v2/"), LOG_I("n", INT64_MIN),
              LOG_END);
    assert_written(
        "{\"time\":\"2026-11-24T00:15:02Z\",\"level\":\"error\",\"message\":\"no \\\"space\\\"\","
        "\"path\":\"/v2/\",\"n\":-9223372036854775808}\n");
}

static void values_are_quoted_when_they_need_it(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        const char *shown;
    } cases[] = {
        {"plain", "v=plain"},
        {"sha256:ab/c.d-e_f@g", "v=sha256:ab/c.d-e_f@g"},
        {"", "v=\"\""},
        {"two words", "v=\"two words\""},
        {"a=b", "v=\"a=b\""},
        {"say \"hi\"", "v=\"say \\\"hi\\\"\""},
        {"back\\slash", "v=\"back\\\\slash\""},
        {"é€😀", "v=\"é€😀\""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        log_event(LOG_LEVEL_INFO, "m", LOG_S("v", cases[i].value), LOG_END);
        autofree char *expected = alloc_format("2026-11-24T00:15:02Z INFO m %s\n", cases[i].shown);
        assert_written(expected);
    }
}

static void a_stranger_s_bytes_neither_forge_a_line_nor_move_the_cursor(void **state)
{
    (void)state;
    log_event(LOG_LEVEL_INFO, "m",
              LOG_S("v", "a\n2026-11-24T00:15:02Z ERROR forged\r\t\x1b[2J\x7f\xc2\x9b\xff"),
              LOG_END);
    assert_written("2026-11-24T00:15:02Z INFO m v=\"a\\n2026-11-24T00:15:02Z ERROR forged\\r\\t"
                   "\\u001b[2J\\u007f\\u009b\\xff\"\n");
    log_event(LOG_LEVEL_INFO, "bad\nmessage", LOG_END);
    assert_written("2026-11-24T00:15:02Z INFO bad\\nmessage\n");
}

static void json_lines_parse_whatever_bytes_come_in(void **state)
{
    (void)state;
    char value[256 * 3];
    size_t length = 0;
    for (int round = 0; round < 3; round++) /* upwards, then pairs, then downwards */
        for (int i = 1; i < 256; i++)
            value[length++] = (char)(round == 0 ? i : round == 1 ? i * 101 % 255 + 1 : 256 - i);
    value[length] = '\0';
    log_configure(LOG_LEVEL_DEBUG, LOG_FORMAT_JSON);
    log_event(LOG_LEVEL_INFO, value, LOG_S("v", value), LOG_S("w", "é\nx"), LOG_END);
    autofree char *text = written();
    struct error e = {0};
    autojson struct json_t *line = json_parse(text, strlen(text), &e);
    if (!line)
        fail_msg("%s", e.text);
    assert_int_equal(count_lines(text), 1);
    assert_string_equal(json_get_string(line, "w"), "é\nx");
    assert_string_equal(json_get_string(line, "v"), json_get_string(line, "message"));
}

static void a_field_without_a_value_is_left_out(void **state)
{
    (void)state;
    log_event(LOG_LEVEL_INFO, "m", LOG_S("gone", NULL), LOG_I("n", 1), LOG_END);
    assert_written("2026-11-24T00:15:02Z INFO m n=1\n");
}

static int evaluations;

static const char *evaluated(void)
{
    evaluations++;
    return "x";
}

static void lines_below_the_level_are_not_even_evaluated(void **state)
{
    (void)state;
    evaluations = 0;
    log_configure(LOG_LEVEL_WARNING, LOG_FORMAT_TEXT);
    assert_false(log_is_on(LOG_LEVEL_INFO));
    assert_true(log_is_on(LOG_LEVEL_WARNING));
    log_event(LOG_LEVEL_INFO, "m", LOG_S("v", evaluated()), LOG_END);
    assert_int_equal(evaluations, 0);
    log_fields(LOG_LEVEL_INFO, "m", (struct log_field[]){LOG_END});
    assert_written("");
    log_event(LOG_LEVEL_WARNING, "m", LOG_S("v", evaluated()), LOG_END);
    assert_int_equal(evaluations, 1);
    assert_written("2026-11-24T00:15:02Z WARNING m v=x\n");
}

static void off_means_nothing_at_all(void **state)
{
    (void)state;
    log_configure(LOG_LEVEL_OFF, LOG_FORMAT_TEXT);
    assert_false(log_is_on(LOG_LEVEL_ERROR));
    assert_false(log_is_on(LOG_LEVEL_OFF));
    log_event(LOG_LEVEL_ERROR, "m", LOG_END);
    log_event(LOG_LEVEL_OFF, "m", LOG_END);
    assert_written("");
}

static void words_are_parsed_and_others_refused(void **state)
{
    (void)state;
    static const char *const words[] = {"debug", "info", "warning", "error", "off"};
    enum log_level level = LOG_LEVEL_DEBUG;
    enum log_format format = LOG_FORMAT_TEXT;
    for (int i = 0; i < 5; i++)
        assert_true(log_level_parse(words[i], &level) && (int)level == i);
    assert_false(log_level_parse("INFO", &level));
    assert_false(log_level_parse("", &level));
    assert_int_equal(level, LOG_LEVEL_OFF);
    assert_true(log_format_parse("json", &format) && format == LOG_FORMAT_JSON);
    assert_false(log_format_parse("xml", &format));
    assert_int_equal(format, LOG_FORMAT_JSON);
    assert_true(log_format_parse("text", &format) && format == LOG_FORMAT_TEXT);
}

/* Every length around the cut, and characters of several bytes, so that each seam is met. */
static void long_lines_are_cut_whole_and_say_so(void **state)
{
    (void)state;
    static const char *const fill[] = {"x", "\n", "€", "\xff", "\""};
    autostr struct str value = {0};
    for (size_t f = 0; f < sizeof(fill) / sizeof(fill[0]); f++) {
        for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
            log_configure(LOG_LEVEL_DEBUG, (enum log_format)format);
            for (size_t before = 0; before < 8; before++) {
                str_clear(&value);
                str_add_bytes(&value, "1234567", before);
                for (int i = 0; i < 9000; i++)
                    str_add(&value, fill[f]);
                log_event(LOG_LEVEL_INFO, "m", LOG_S("v", str_text(&value)), LOG_I("n", 1),
                          LOG_END);
                autofree char *text = written();
                size_t length = strlen(text);
                assert_in_range(length, 8192 - 80, 8192);
                assert_int_equal(count_lines(text), 1);
                assert_true(text[length - 1] == '\n');
                const char *end = format == LOG_FORMAT_JSON ? ",\"cut\":1}\n" : " cut=1\n";
                assert_string_equal(text + length - strlen(end), end);
                autojson struct json_t *line = json_parse(text, length, NULL);
                assert_int_equal(line != NULL, format == LOG_FORMAT_JSON);
            }
        }
    }
}

static void a_line_that_just_fits_is_not_cut(void **state)
{
    (void)state;
    autostr struct str value = {0};
    for (int i = 0; i < 8000; i++)
        str_add_char(&value, 'x');
    log_event(LOG_LEVEL_INFO, "m", LOG_S("v", str_text(&value)), LOG_I("n", 7), LOG_END);
    autofree char *text = written();
    assert_non_null(strstr(text, "xxx n=7\n"));
}

static void fields_without_end_are_cut_too(void **state)
{
    (void)state;
    enum { FIELDS = 2000 };
    struct log_field *fields = alloc_array(FIELDS + 1, sizeof(*fields));
    for (size_t i = 0; i < FIELDS; i++)
        fields[i] = i % 2 ? LOG_S("name", "value with spaces") : LOG_I("number", INT64_MIN);
    fields[FIELDS] = LOG_END;
    for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
        log_configure(LOG_LEVEL_DEBUG, (enum log_format)format);
        log_fields(LOG_LEVEL_INFO, "m", fields);
        autofree char *text = written();
        assert_in_range(strlen(text), 8000, 8192);
        assert_int_equal(count_lines(text), 1);
        assert_non_null(strstr(text, "cut"));
    }
    free(fields);
}

static void stopping_writes_all_that_was_logged_in_order(void **state)
{
    (void)state;
    struct error e = {0};
    autostr struct str expected = {0};
    for (int round = 0; round < 3; round++) {
        assert_int_equal(log_start(&e), 0);
        for (int i = 0; i < 1000; i++) {
            log_event(LOG_LEVEL_INFO, "m", LOG_I("n", i), LOG_END);
            str_format(&expected, "2026-11-24T00:15:02Z INFO m n=%d\n", i);
        }
        log_stop();
        log_event(LOG_LEVEL_INFO, "at once", LOG_END);
        str_add(&expected, "2026-11-24T00:15:02Z INFO at once\n");
    }
    log_stop();
    assert_written(str_text(&expected));
}

enum { THREADS = 4, LINES = 3000 };

static void *log_many(void *cls)
{
    for (int i = 0; i < LINES; i++)
        log_event(LOG_LEVEL_INFO, "m", LOG_I("thread", *(int *)cls), LOG_I("n", i), LOG_END);
    return NULL;
}

/* Walks over lines of log_many: each is whole and follows its thread's last. Returns those seen
 * plus those told to have been dropped. */
static size_t account(char *text)
{
    int last[THREADS] = {-1, -1, -1, -1};
    size_t sum = 0;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        int thread = -1, n = -1, used = 0;
        unsigned long dropped = 0;
        const char *told = strstr(line, " dropped=");
        if (told)
            dropped = strtoul(told + strlen(" dropped="), NULL, 10);
        sum += dropped;
        if (strstr(line, " ERROR log stopped"))
            continue;
        sum++;
        if (sscanf(line, "2026-11-24T00:15:02Z INFO m thread=%d n=%d%n", &thread, &n, &used) != 2)
            fail_msg("torn line: %s", line);
        assert_true(line[used] == '\0' || line + used == told);
        assert_in_range(thread, 0, THREADS - 1);
        assert_true(n > last[thread]);
        last[thread] = n;
    }
    return sum;
}

static void run_log_many(void)
{
    pthread_t threads[THREADS];
    int ids[THREADS];
    for (int i = 0; i < THREADS; i++) {
        ids[i] = i;
        assert_int_equal(thread_start(&threads[i], "many", log_many, &ids[i], NULL), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void threads_log_whole_lines_each_in_its_order(void **state)
{
    (void)state;
    assert_int_equal(log_start(NULL), 0);
    run_log_many();
    log_stop();
    autofree char *text = written();
    assert_int_equal(account(text), THREADS * LINES);
}

static void threads_log_whole_lines_without_the_writer_too(void **state)
{
    (void)state;
    run_log_many();
    autofree char *text = written();
    assert_int_equal(count_lines(text), THREADS * LINES);
    assert_int_equal(account(text), THREADS * LINES);
}

static void *toggle(void *cls)
{
    _Atomic bool *is_over = cls;
    while (!atomic_load(is_over)) {
        log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
        log_configure(LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
    }
    return NULL;
}

static void the_level_may_change_while_threads_log(void **state)
{
    (void)state;
    _Atomic bool is_over = false;
    pthread_t t;
    assert_int_equal(log_start(NULL), 0);
    assert_int_equal(thread_start(&t, "toggle", toggle, &is_over, NULL), 0);
    run_log_many();
    atomic_store(&is_over, true);
    pthread_join(t, NULL);
    log_stop();
    autofree char *text = written();
    assert_true(account(text) <= THREADS * LINES);
}

struct pipe_reader {
    int fd;
    struct str text;
};

static void *read_pipe(void *cls)
{
    struct pipe_reader *r = cls;
    char buffer[4096];
    for (ssize_t n; (n = read(r->fd, buffer, sizeof(buffer))) > 0;)
        str_add_bytes(&r->text, buffer, (size_t)n);
    return NULL;
}

/* Puts stderr on a pipe, of which r has the reading end. */
static void plug_pipe(struct pipe_reader *r, int flags)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(fcntl(ends[1], F_SETFL, flags), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    close(ends[1]);
    *r = (struct pipe_reader){.fd = ends[0]};
}

/* The last writing end goes, so that the reader comes to the end. */
static void unplug_pipe(struct pipe_reader *r, pthread_t t)
{
    assert_true(dup2(captured, STDERR_FILENO) >= 0);
    pthread_join(t, NULL);
    close(r->fd);
}

/* The sum of what lines tell to have been dropped: the writer may get ahead now and then. */
static int64_t count_told(const char *text)
{
    int64_t sum = 0;
    for (const char *at = text; (at = strstr(at, " dropped=")); at++)
        sum += strtol(at + strlen(" dropped="), NULL, 10);
    return sum;
}

/* So that some are lost that no line has told yet. Returns the lines it took. */
static size_t log_until_one_is_lost(void)
{
    size_t lines = 0;
    for (int64_t before = metric_get(log_dropped_total); metric_get(log_dropped_total) == before;
         lines++)
        log_event(LOG_LEVEL_INFO, "more", LOG_END);
    return lines;
}

static void nobody_waits_for_a_stuck_stderr_and_the_lost_are_told(void **state)
{
    (void)state;
    struct pipe_reader r;
    pthread_t t;
    int64_t before = metric_get(log_dropped_total);
    plug_pipe(&r, 0);
    assert_int_equal(log_start(NULL), 0);
    run_log_many(); /* nobody reads: would never end if it waited */
    size_t more = log_until_one_is_lost();
    assert_int_equal(thread_start(&t, "read", read_pipe, &r, NULL), 0);
    for (bool is_accepted = false; !is_accepted; more++) { /* until there is room again */
        int64_t last = metric_get(log_dropped_total);
        log_event(LOG_LEVEL_INFO, "again", LOG_END);
        is_accepted = metric_get(log_dropped_total) == last;
        sched_yield();
    }
    log_stop();
    unplug_pipe(&r, t);
    const char *again = strstr(str_text(&r.text), " INFO again dropped=");
    assert_non_null(again);
    int64_t lost = metric_get(log_dropped_total) - before;
    size_t lines = count_lines(str_text(&r.text));
    assert_int_equal(lines + (size_t)lost, THREADS * LINES + more);
    assert_int_equal(count_told(str_text(&r.text)), lost);
    str_fini(&r.text);
}

static void the_lost_are_told_at_the_stop_if_no_line_follows(void **state)
{
    (void)state;
    struct pipe_reader r;
    pthread_t t;
    int64_t before = metric_get(log_dropped_total);
    plug_pipe(&r, 0);
    assert_int_equal(log_start(NULL), 0);
    log_until_one_is_lost();
    assert_int_equal(thread_start(&t, "read", read_pipe, &r, NULL), 0);
    log_stop();
    unplug_pipe(&r, t);
    assert_non_null(strstr(str_text(&r.text), " ERROR log stopped dropped="));
    assert_int_equal(count_told(str_text(&r.text)), metric_get(log_dropped_total) - before);
    str_fini(&r.text);
}

static void a_stderr_that_does_not_block_loses_nothing(void **state)
{
    (void)state;
    struct pipe_reader r;
    pthread_t t;
    plug_pipe(&r, O_NONBLOCK);
    assert_int_equal(thread_start(&t, "read", read_pipe, &r, NULL), 0);
    run_log_many(); /* at once: more than a pipe holds */
    unplug_pipe(&r, t);
    autofree char *text = str_take(&r.text);
    assert_int_equal(count_lines(text), THREADS * LINES);
    assert_int_equal(account(text), THREADS * LINES);
}

static void a_stderr_that_is_gone_stops_nobody(void **state)
{
    (void)state;
    close(STDERR_FILENO);
    log_event(LOG_LEVEL_INFO, "m", LOG_END);
    assert_int_equal(log_start(NULL), 0);
    log_event(LOG_LEVEL_INFO, "m", LOG_END);
    log_stop();
    assert_true(dup2(captured, STDERR_FILENO) >= 0);
    log_event(LOG_LEVEL_INFO, "m", LOG_END);
    assert_written("2026-11-24T00:15:02Z INFO m\n");
}

#define caught(test) cmocka_unit_test_setup_teardown(test, capture, release)

int main(void)
{
    const struct CMUnitTest tests[] = {
        caught(a_text_line_has_time_level_message_and_fields),
        caught(a_json_line_is_an_object),
        caught(values_are_quoted_when_they_need_it),
        caught(a_stranger_s_bytes_neither_forge_a_line_nor_move_the_cursor),
        caught(json_lines_parse_whatever_bytes_come_in),
        caught(a_field_without_a_value_is_left_out),
        caught(lines_below_the_level_are_not_even_evaluated),
        caught(off_means_nothing_at_all),
        caught(words_are_parsed_and_others_refused),
        caught(long_lines_are_cut_whole_and_say_so),
        caught(a_line_that_just_fits_is_not_cut),
        caught(fields_without_end_are_cut_too),
        caught(stopping_writes_all_that_was_logged_in_order),
        caught(threads_log_whole_lines_each_in_its_order),
        caught(threads_log_whole_lines_without_the_writer_too),
        caught(the_level_may_change_while_threads_log),
        caught(nobody_waits_for_a_stuck_stderr_and_the_lost_are_told),
        caught(the_lost_are_told_at_the_stop_if_no_line_follows),
        caught(a_stderr_that_does_not_block_loses_nothing),
        caught(a_stderr_that_is_gone_stops_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
