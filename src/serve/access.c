/* SPDX-License-Identifier: Apache-2.0
 * Networks are compared as the 16 bytes of an IPv6 address, IPv4 mapped into it. Passwords are
 * crypt(3)'s: libxcrypt knows bcrypt, yescrypt and the SHA-2 kinds. */
#include "serve/access.h"

#include <arpa/inet.h>
#include <crypt.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/auto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/str.h"
#include "oci/digest.h"
#include "serve/throttle.h"

enum {
    ADDRESS_BYTES = 16,
    USERS_FILE_MAX = 1 << 20,
    SLOTS = 256, /* pairs remembered: so many right and so many wrong ones */
};

struct network {
    unsigned char address[ADDRESS_BYTES];
    unsigned bits;
};

struct user {
    char *name, *hash;
};

struct access {
    bool needs_certificate, has_users;
    struct network *networks;
    size_t network_count;
    struct user *users;
    size_t user_count;
};

/* Pairs as digests of "user:password"; algorithm 0: empty. Guesses push no right one out. */
struct access_memory {
    struct digest right[SLOTS], wrong[SLOTS];
    struct throttle throttle;
};

/* --- networks --------------------------------------------------------------------------------- */

static void map_v4(const void *four, unsigned char out[ADDRESS_BYTES])
{
    static const unsigned char prefix[12] = {[10] = 0xFF, [11] = 0xFF};
    memcpy(out, prefix, sizeof prefix);
    memcpy(out + sizeof prefix, four, 4);
}

static bool parse_network(const char *text, struct network *out)
{
    char address[INET6_ADDRSTRLEN];
    unsigned char four[4];
    struct slice head, tail;
    uint64_t bits;
    bool has_bits = slice_cut(slice_of(text), '/', &head, &tail);
    if (!slice_copy(has_bits ? head : slice_of(text), address, sizeof address))
        return false;
    bool is_v4 = inet_pton(AF_INET, address, four) == 1;
    if (is_v4)
        map_v4(four, out->address);
    else if (inet_pton(AF_INET6, address, out->address) != 1)
        return false;
    unsigned most = is_v4 ? 32 : 128;
    if (!has_bits)
        bits = most;
    else if (!slice_u64(tail, most, &bits))
        return false;
    out->bits = (unsigned)bits + (is_v4 ? 96 : 0);
    return true;
}

static bool is_in(const struct network *n, const unsigned char address[ADDRESS_BYTES])
{
    unsigned whole = n->bits / 8, rest = n->bits % 8;
    if (memcmp(n->address, address, whole) != 0)
        return false;
    return rest == 0 || (n->address[whole] ^ address[whole]) >> (8 - rest) == 0;
}

static bool is_from_a_network(const struct access *a, const struct sockaddr *from)
{
    unsigned char address[ADDRESS_BYTES];
    if (from->sa_family == AF_INET)
        map_v4(&((const struct sockaddr_in *)(const void *)from)->sin_addr, address);
    else if (from->sa_family == AF_INET6)
        memcpy(address, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr,
               sizeof address);
    else
        return false;
    for (size_t i = 0; i < a->network_count; i++)
        if (is_in(&a->networks[i], address))
            return true;
    return false;
}

static const char *print_address(const struct sockaddr *from, char *out, socklen_t out_bytes)
{
    const void *at = from->sa_family == AF_INET
                         ? (const void *)&((const struct sockaddr_in *)(const void *)from)->sin_addr
                         : &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr;
    const char *text = inet_ntop(from->sa_family, at, out, out_bytes);
    return text ? text : "an unknown address";
}

/* --- users ------------------------------------------------------------------------------------ */

static bool is_right(const char *password, const char *hash)
{
    struct crypt_data *data = alloc_zero(sizeof *data);
    const char *made = crypt_r(password, hash, data);
    bool is_equal = made && made[0] != '*' && strcmp(made, hash) == 0;
    explicit_bzero(data, sizeof *data);
    free(data);
    return is_equal;
}

static const struct user *find_user(const struct access *a, struct slice name)
{
    for (size_t i = 0; i < a->user_count; i++)
        if (slice_equals(name, a->users[i].name))
            return &a->users[i];
    return NULL;
}

/* An unknown user costs as much time as a wrong password, so that names cannot be told by it. */
static bool is_user(const struct access *a, const char *pair)
{
    struct slice name, password;
    if (a->user_count == 0 || !slice_cut(slice_of(pair), ':', &name, &password))
        return false;
    const struct user *u = find_user(a, name);
    return is_right(password.at, u ? u->hash : a->users[0].hash) && u;
}

/* 0: the pair may be checked now; 1: at *at_ms; -1: ERR_BUSY. */
static int take_turn(struct access_memory *m, const struct visitor *v, int64_t now_ms,
                     int64_t *at_ms, struct error *e)
{
    struct throttle_network network = throttle_network_of(v->address);
    int64_t turn_ms = v->has_waited ? now_ms : throttle_take_turn(&m->throttle, &network, now_ms);
    if (turn_ms == now_ms)
        turn_ms = throttle_take_check(&m->throttle, now_ms);
    if (turn_ms < 0 || turn_ms - v->came_ms > THROTTLE_PATIENCE_MS) {
        error_set(e, ERR_BUSY, "too many passwords to check");
        e->retry_after_s = THROTTLE_MOST_MS / 1000;
        return -1;
    }
    *at_ms = turn_ms;
    return turn_ms > now_ms;
}

/* 0 right, 1 to be told at *at_ms, -1. */
static int check_pair(const struct access *a, struct access_memory *m, const struct visitor *v,
                      const char *pair, int64_t now_ms, int64_t *at_ms, struct error *e)
{
    struct digest d;
    struct slice name, password;
    digest_of(DIGEST_SHA256, pair, strlen(pair), &d);
    struct digest *right = &m->right[d.bytes[0] % SLOTS], *wrong = &m->wrong[d.bytes[0] % SLOTS];
    if (digest_equals(right, &d))
        return 0;
    if (!digest_equals(wrong, &d)) {
        int turn = take_turn(m, v, now_ms, at_ms, e);
        if (turn != 0)
            return turn;
        if (is_user(a, pair)) {
            *right = d;
            return 0;
        }
        struct throttle_network network = throttle_network_of(v->address);
        throttle_fail(&m->throttle, &network, now_ms);
        *wrong = d;
    }
    slice_cut(slice_of(pair), ':', &name, &password);
    return error_set(e, ERR_UNAUTHORIZED, "no user \"%.*s\" with that password",
                     (int)(name.length < 64 ? name.length : 64), name.at);
}

static int check_user(const struct access *a, struct access_memory *m, const struct visitor *v,
                      int64_t now_ms, int64_t *at_ms, struct error *e)
{
    char pair[1024];
    size_t length;
    struct slice scheme, word;
    if (!v->authorization || !slice_cut(slice_of(v->authorization), ' ', &scheme, &word) ||
        !slice_equals_nocase(scheme, "Basic"))
        return error_set(e, ERR_UNAUTHORIZED, "this mirror wants a user and a password");
    if (!str_base64_decode(slice_trim(word), pair, sizeof pair, &length) || memchr(pair, 0, length))
        return error_set(e, ERR_UNAUTHORIZED, "the Authorization header is not what Basic says");
    int verdict = check_pair(a, m, v, pair, now_ms, at_ms, e);
    explicit_bzero(pair, sizeof pair);
    return verdict;
}

/* --- the check -------------------------------------------------------------------------------- */

bool access_wants_certificate(const struct access *a)
{
    return a->needs_certificate;
}

int access_check(const struct access *a, struct access_memory *m, const struct visitor *v,
                 int64_t now_ms, int64_t *at_ms, struct error *e)
{
    char text[INET6_ADDRSTRLEN];
    if (a->network_count > 0 && !is_from_a_network(a, v->address))
        return error_set(e, ERR_DENIED, "%s is in none of the networks that may ask here",
                         print_address(v->address, text, sizeof text));
    if (a->needs_certificate && !v->has_certificate)
        return error_set(e, ERR_DENIED,
                         "this mirror wants a client certificate of its own authority");
    return a->has_users ? check_user(a, m, v, now_ms, at_ms, e) : 0;
}

struct access_memory *access_memory_new(void)
{
    return alloc_zero(sizeof(struct access_memory));
}

void access_memory_free(struct access_memory *m)
{
    free(m);
}

void access_memory_forget(struct access_memory *m)
{
    memset(m->right, 0, sizeof m->right);
    memset(m->wrong, 0, sizeof m->wrong);
}

/* --- loading ---------------------------------------------------------------------------------- */

static int add_user(struct access *a, struct slice line, const char *file, unsigned number,
                    struct error *e)
{
    struct slice name, hash;
    if (line.length == 0 || slice_starts(line, "#"))
        return 0;
    if (!slice_cut(line, ':', &name, &hash) || name.length == 0)
        return error_set(e, ERR_USAGE, "%s:%u: a line is \"user:hash\"", file, number);
    if (find_user(a, name))
        return error_set(e, ERR_USAGE, "%s:%u: the user stands here twice", file, number);
    struct user u = {.name = slice_dup(name), .hash = slice_dup(hash)};
    if (u.hash[0] != '$' || crypt_checksalt(u.hash) == CRYPT_SALT_INVALID) {
        free(u.name);
        free(u.hash);
        return error_set(e, ERR_USAGE,
                         "%s:%u: not a hash that can be checked here (write it with htpasswd -B)",
                         file, number);
    }
    a->users = alloc_grow(a->users, a->user_count + 1, sizeof *a->users);
    a->users[a->user_count++] = u;
    return 0;
}

static int load_users(struct access *a, const char *file, struct error *e)
{
    autofree char *bytes = NULL;
    size_t length;
    struct slice line, rest;
    int found = file_read(AT_FDCWD, file, USERS_FILE_MAX, &bytes, &length, e);
    if (found == 0)
        return error_set(e, ERR_USAGE, "%s: there is no such file", file);
    if (found < 0)
        return -1;
    rest = slice_of(bytes);
    a->has_users = true;
    for (unsigned number = 1; rest.length > 0; number++) {
        if (!slice_cut(rest, '\n', &line, &rest)) {
            line = rest;
            rest.length = 0;
        }
        if (add_user(a, slice_trim(line), file, number, e) < 0)
            return -1;
    }
    return 0;
}

static int add_network(struct access *a, const char *text, struct error *e)
{
    struct network n;
    if (!parse_network(text, &n))
        return error_set(e, ERR_USAGE, "\"%s\" is no network (10.0.0.0/8, fd00::/8, ::1)", text);
    a->networks = alloc_grow(a->networks, a->network_count + 1, sizeof *a->networks);
    a->networks[a->network_count++] = n;
    return 0;
}

struct access *access_load(const struct access_options *o, struct error *e)
{
    struct access *a = alloc_zero(sizeof *a);
    int failed = 0;
    a->needs_certificate = o->needs_certificate;
    for (char *const *n = o->networks; n && *n && !failed; n++)
        if (**n)
            failed = add_network(a, *n, e);
    if (!failed && o->users)
        failed = load_users(a, o->users, e);
    if (!failed)
        return a;
    access_free(a);
    return NULL;
}

void access_free(struct access *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->user_count; i++) {
        free(a->users[i].name);
        free(a->users[i].hash);
    }
    free(a->users);
    free(a->networks);
    free(a);
}

bool access_is_empty(const struct access *a)
{
    return !a->needs_certificate && !a->has_users && a->network_count == 0;
}

static bool is_same_user(const struct user *a, const struct user *b)
{
    return strcmp(a->name, b->name) == 0 && strcmp(a->hash, b->hash) == 0;
}

bool access_is_same(const struct access *a, const struct access *b)
{
    if (a->needs_certificate != b->needs_certificate || a->has_users != b->has_users ||
        a->network_count != b->network_count || a->user_count != b->user_count)
        return false;
    for (size_t i = 0; i < a->network_count; i++)
        if (a->networks[i].bits != b->networks[i].bits ||
            memcmp(a->networks[i].address, b->networks[i].address, ADDRESS_BYTES) != 0)
            return false;
    for (size_t i = 0; i < a->user_count; i++)
        if (!is_same_user(&a->users[i], &b->users[i]))
            return false;
    return true;
}
