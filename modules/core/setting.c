/* SPDX-License-Identifier: Apache-2.0 */
#include "core/setting.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <apr_strings.h>

#include "core/addr.h"
#include "core/owner.h"
#include "core/setting_table.h"

const fcgipm_setting_row_t fcgipm_setting_rows[] = {
#define X(directive_, key_, kind_, member_, min_, max_, default_, words_, syntax_, print_, doc_)             \
    {.directive = directive_,                                                                                \
     .key = key_,                                                                                            \
     .kind = FCGIPM_KIND_##kind_,                                                                            \
     .offset = offsetof(fcgipm_setting_t, member_),                                                          \
     .min = min_,                                                                                            \
     .max = max_,                                                                                            \
     .value = default_,                                                                                      \
     .words = words_,                                                                                        \
     .syntax = syntax_,                                                                                      \
     .doc = doc_,                                                                                            \
     .fingerprint = print_},
    FCGIPM_SETTINGS(X)
#undef X
};
const unsigned fcgipm_setting_row_count = sizeof fcgipm_setting_rows / sizeof *fcgipm_setting_rows;

const fcgipm_setting_row_t fcgipm_setting_global_rows[] = {
#define X(directive_, kind_, member_, min_, max_, default_, words_, syntax_, doc_)                           \
    {.directive = directive_,                                                                                \
     .kind = FCGIPM_KIND_##kind_,                                                                            \
     .offset = offsetof(fcgipm_global_t, member_),                                                           \
     .min = min_,                                                                                            \
     .max = max_,                                                                                            \
     .value = default_,                                                                                      \
     .words = words_,                                                                                        \
     .syntax = syntax_,                                                                                      \
     .doc = doc_},
    FCGIPM_GLOBALS(X)
#undef X
};
const unsigned fcgipm_setting_global_row_count =
    sizeof fcgipm_setting_global_rows / sizeof *fcgipm_setting_global_rows;

const fcgipm_setting_row_t fcgipm_setting_user_rows[] = {
#define X(key_, kind_, member_, min_, max_, syntax_)                                                         \
    {.directive = "FcgiUserLimit",                                                                           \
     .key = key_,                                                                                            \
     .kind = FCGIPM_KIND_##kind_,                                                                            \
     .offset = offsetof(fcgipm_user_limit_t, limit.member_),                                                 \
     .min = min_,                                                                                            \
     .max = max_,                                                                                            \
     .syntax = syntax_},
    FCGIPM_USER_LIMITS(X)
#undef X
};
const unsigned fcgipm_setting_user_row_count =
    sizeof fcgipm_setting_user_rows / sizeof *fcgipm_setting_user_rows;

#define EXTERNAL_CONCURRENCY 32
#define NOT_SAID             UINT32_MAX
#define LIST_MAX             4095 /* entries that a reader believes */

static void *member(void *s, const fcgipm_setting_row_t *row)
{
    return (char *)s + row->offset;
}

static const void *member_const(const fcgipm_setting_t *s, const fcgipm_setting_row_t *row)
{
    return (const char *)s + row->offset;
}

/* The directive with its key, as it shall stand in a sentence. */
static const char *title(const fcgipm_setting_row_t *row, const char *text, apr_pool_t *pool)
{
    return row->key ? apr_psprintf(pool, "%s %s=%s", row->directive, row->key, text)
                    : apr_psprintf(pool, "%s %s", row->directive, text);
}

/* --- numbers --- */

/* Digits, then a unit from the list "name:factor"; the product in *out. False when it is neither. */
static bool scaled(const char *text, const char *const *units, const int64_t *factors, unsigned count,
                   int64_t *out)
{
    char *end;
    unsigned long long number;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    number = strtoull(text, &end, 10);
    if (errno || number > INT64_MAX)
        return false;
    for (unsigned i = 0; i < count; i++)
        if (!strcasecmp(end, units[i]))
            return !__builtin_mul_overflow((int64_t)number, factors[i], out);
    return false;
}

static bool read_duration(const char *text, int64_t *out)
{
    static const char *const units[] = {"", "us", "ms", "s", "m", "min", "h", "d"};
    static const int64_t factors[] = {
        FCGIPM_S, 1, FCGIPM_MS, FCGIPM_S, 60 * FCGIPM_S, 60 * FCGIPM_S, 3600 * FCGIPM_S, 86400 * FCGIPM_S};

    if (!strcasecmp(text, "off")) {
        *out = 0;
        return true;
    }
    return scaled(text, units, factors, sizeof units / sizeof *units, out);
}

static bool read_size(const char *text, int64_t *out)
{
    static const char *const units[] = {"", "B", "K", "KB", "M", "MB", "G", "GB"};
    static const int64_t factors[] = {
        1, 1, FCGIPM_K, FCGIPM_K, FCGIPM_M, FCGIPM_M, FCGIPM_M * FCGIPM_K, FCGIPM_M * FCGIPM_K};

    return scaled(text, units, factors, sizeof units / sizeof *units, out);
}

static bool read_octal(const char *text, int64_t *out)
{
    char *end;

    if (*text < '0' || *text > '7')
        return false;
    *out = strtol(text, &end, 8);
    return *end == '\0';
}

/* A count that may be Auto has 0 for it. */
static bool takes_auto(const fcgipm_setting_row_t *row)
{
    const char *word = row->words ? row->words : row->value;

    return row->kind == FCGIPM_KIND_COUNT && word && !strcasecmp(word, "Auto");
}

static bool is_auto(const fcgipm_setting_row_t *row, const char *text)
{
    return takes_auto(row) && !strcasecmp(text, "Auto");
}

/* A number that is not there, which is not 0. */
static bool takes_off(const fcgipm_setting_row_t *row)
{
    return row->kind != FCGIPM_KIND_CHOICE && row->words && !strcasecmp(row->words, "off");
}

static int64_t off_value(const fcgipm_setting_row_t *row)
{
    return row->kind == FCGIPM_KIND_SIZE      ? (int64_t)FCGIPM_NO_SIZE
           : row->kind == FCGIPM_KIND_INTEGER ? (int64_t)FCGIPM_NO_INTEGER
                                              : (int64_t)FCGIPM_NO_COUNT;
}

static bool read_count(const char *text, int64_t *out)
{
    static const char *const none[] = {""};
    static const int64_t one[] = {1};

    return scaled(text, none, one, 1, out);
}

static bool read_integer(const char *text, int64_t *out)
{
    bool negative = *text == '-';

    if (!read_count(text + negative, out))
        return false;
    *out = negative ? -*out : *out;
    return true;
}

static bool read_percent(const char *text, int64_t *out)
{
    static const char *const sign[] = {"%"};
    static const int64_t one[] = {1};

    return scaled(text, sign, one, 1, out);
}

static const char *show_duration(int64_t us, apr_pool_t *pool)
{
    if (us % (3600 * FCGIPM_S) == 0 && us)
        return apr_psprintf(pool, "%" PRId64 "h", us / (3600 * FCGIPM_S));
    if (us % FCGIPM_S == 0)
        return apr_psprintf(pool, "%" PRId64 "s", us / FCGIPM_S);
    return apr_psprintf(pool, "%" PRId64 "ms", us / FCGIPM_MS);
}

static const char *show_size(int64_t bytes, apr_pool_t *pool)
{
    if (bytes && bytes % FCGIPM_M == 0)
        return apr_psprintf(pool, "%" PRId64 "M", bytes / FCGIPM_M);
    if (bytes && bytes % FCGIPM_K == 0)
        return apr_psprintf(pool, "%" PRId64 "K", bytes / FCGIPM_K);
    return apr_psprintf(pool, "%" PRId64, bytes);
}

typedef struct number_kind {
    bool (*read)(const char *text, int64_t *out);
    const char *what, *how;
} number_kind_t;

static const number_kind_t number_kinds[] = {
    [FCGIPM_KIND_COUNT] = {read_count, "not a number", "a whole number"},
    [FCGIPM_KIND_DURATION] = {read_duration, "not a time", "a number with ms, s, m, h or d"},
    [FCGIPM_KIND_SIZE] = {read_size, "not a size", "a number with K, M or G"},
    [FCGIPM_KIND_PERCENT] = {read_percent, "not a percentage", "a percentage of one CPU"},
    [FCGIPM_KIND_OCTAL] = {read_octal, "not an octal number", "an octal number"},
    [FCGIPM_KIND_INTEGER] = {read_integer, "not a number", "a whole number"},
};

static const char *show(const fcgipm_setting_row_t *row, int64_t number, apr_pool_t *pool)
{
    switch (row->kind) {
    case FCGIPM_KIND_DURATION:
        return show_duration(number, pool);
    case FCGIPM_KIND_SIZE:
        return show_size(number, pool);
    case FCGIPM_KIND_PERCENT:
        return apr_psprintf(pool, "%" PRId64 "%%", number);
    case FCGIPM_KIND_OCTAL:
        return apr_psprintf(pool, "0%" PRIo64, (uint64_t)number);
    default:
        return apr_psprintf(pool, "%" PRId64, number);
    }
}

static void store_number(void *s, const fcgipm_setting_row_t *row, int64_t number)
{
    if (row->kind == FCGIPM_KIND_DURATION)
        *(int64_t *)member(s, row) = number;
    else if (row->kind == FCGIPM_KIND_SIZE)
        *(uint64_t *)member(s, row) = (uint64_t)number;
    else if (row->kind == FCGIPM_KIND_INTEGER)
        *(int32_t *)member(s, row) = (int32_t)number;
    else
        *(uint32_t *)member(s, row) = (uint32_t)number;
}

static int64_t load_number(const fcgipm_setting_t *s, const fcgipm_setting_row_t *row)
{
    const void *at = member_const(s, row);

    if (row->kind == FCGIPM_KIND_DURATION)
        return *(const int64_t *)at;
    if (row->kind == FCGIPM_KIND_SIZE)
        return (int64_t) * (const uint64_t *)at;
    if (row->kind == FCGIPM_KIND_INTEGER)
        return *(const int32_t *)at;
    return *(const uint32_t *)at;
}

static const char *parse_number(void *s, const fcgipm_setting_row_t *row, const char *text, apr_pool_t *pool)
{
    const number_kind_t *kind = &number_kinds[row->kind];
    bool off = takes_off(row) || (row->kind == FCGIPM_KIND_DURATION && row->min == 0);
    bool such = row->value && strcasecmp(row->value, "off");
    const char *example = apr_pstrcat(pool,
                                      off               ? " or off"
                                      : takes_auto(row) ? " or Auto"
                                                        : "",
                                      such ? ", such as " : "", such ? row->value : "", NULL);
    int64_t number = 0;

    if (is_auto(row, text)) {
        store_number(s, row, 0);
        return NULL;
    }
    if (takes_off(row) && !strcasecmp(text, "off")) {
        store_number(s, row, off_value(row));
        return NULL;
    }
    if (!kind->read(text, &number))
        return apr_psprintf(pool, "%s: %s; write %s between %s and %s%s", title(row, text, pool), kind->what,
                            kind->how, show(row, row->min, pool), show(row, row->max, pool), example);
    if (number < row->min || number > row->max)
        return apr_psprintf(pool, "%s: out of bounds; write %s between %s and %s%s", title(row, text, pool),
                            kind->how, show(row, row->min, pool), show(row, row->max, pool), example);
    store_number(s, row, number);
    return NULL;
}

/* --- the other kinds --- */

static const char *parse_choice(void *s, const fcgipm_setting_row_t *row, const char *text, apr_pool_t *pool)
{
    char *words = apr_pstrdup(pool, row->words), *last, *word;
    uint32_t index = 0;

    for (word = apr_strtok(words, "|", &last); word; word = apr_strtok(NULL, "|", &last), index++) {
        if (strcasecmp(word, text))
            continue;
        *(uint32_t *)member(s, row) = index;
        return NULL;
    }
    /* What has no default is not said by writing it: the first word means that nothing was. */
    return apr_psprintf(pool, "%s: not known; write one of %s", title(row, text, pool),
                        row->value ? row->words : strchr(row->words, '|') + 1);
}

static const char *parse_address(void *s, const fcgipm_setting_row_t *row, const char *text, apr_pool_t *pool)
{
    fcgipm_addr_t addr;
    fcgipm_fault_t fault;
    char canonical[160];

    if (fcgipm_addr_parse(&addr, text, &fault) != APR_SUCCESS)
        return apr_psprintf(pool, "%s %s", row->directive, fault.sentence);
    *(const char **)member(s, row) = apr_pstrdup(pool, fcgipm_addr_str(&addr, canonical, sizeof canonical));
    return NULL;
}

static const char *push(void *s, const fcgipm_setting_row_t *row, const char *text, apr_pool_t *pool)
{
    apr_array_header_t **list = member(s, row);

    if (!*list)
        *list = apr_array_make(pool, 4, sizeof(const char *));
    if ((*list)->nelts == LIST_MAX)
        return apr_psprintf(pool, "%s %.100s: at most %d words; write fewer, or a file that holds them",
                            row->directive, text, LIST_MAX);
    APR_ARRAY_PUSH(*list, const char *) = apr_pstrdup(pool, text);
    return NULL;
}

static bool has_control(const char *text)
{
    for (; *text; text++)
        if (((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7f)
            return true;
    return false;
}

static const char *unprintable(const fcgipm_setting_row_t *row, apr_pool_t *pool)
{
    return apr_psprintf(pool, "%s: empty or with control characters; write: %s %s", row->directive,
                        row->directive, row->syntax);
}

const char *fcgipm_setting_parse(void *s, const fcgipm_setting_row_t *row, const char *text, apr_pool_t *pool)
{
    switch (row->kind) {
    case FCGIPM_KIND_CHOICE:
        return parse_choice(s, row, text, pool);
    case FCGIPM_KIND_ADDRESS:
        return has_control(text) ? unprintable(row, pool) : parse_address(s, row, text, pool);
    case FCGIPM_KIND_STRING:
        if (!*text || has_control(text))
            return unprintable(row, pool);
        *(const char **)member(s, row) = apr_pstrdup(pool, text);
        return NULL;
    case FCGIPM_KIND_LIST:
        return push(s, row, text, pool);
    default:
        return parse_number(s, row, text, pool);
    }
}

void fcgipm_setting_defaults(fcgipm_setting_t *s, apr_pool_t *pool)
{
    memset(s, 0, sizeof *s);
    s->name = s->vhost = "";
    s->concurrency = NOT_SAID;
    for (unsigned i = 0; i < fcgipm_setting_row_count; i++)
        if (fcgipm_setting_rows[i].value)
            fcgipm_setting_parse(s, &fcgipm_setting_rows[i], fcgipm_setting_rows[i].value, pool);
}

void fcgipm_setting_global_defaults(fcgipm_global_t *global, apr_pool_t *pool)
{
    memset(global, 0, sizeof *global);
    for (unsigned i = 0; i < fcgipm_setting_global_row_count; i++)
        if (fcgipm_setting_global_rows[i].value)
            fcgipm_setting_parse(global, &fcgipm_setting_global_rows[i], fcgipm_setting_global_rows[i].value,
                                 pool);
}

void fcgipm_setting_finish(fcgipm_setting_t *s)
{
    if (s->concurrency == NOT_SAID)
        s->concurrency = s->connect ? EXTERNAL_CONCURRENCY : 1;
    if (s->connect && s->concurrency == 0) /* there is no process of ours to ask */
        s->concurrency = EXTERNAL_CONCURRENCY;
    if (s->keep_conn == FCGIPM_AUTO)
        s->keep_conn = s->connect ? FCGIPM_OFF : FCGIPM_ON;
}

static const char *check_paths(const char *directive, const apr_array_header_t *list, apr_pool_t *pool)
{
    for (int i = 0; list && i < list->nelts; i++)
        if (APR_ARRAY_IDX(list, i, const char *)[0] != '/')
            return apr_psprintf(pool, "%s %s: not a full path; write one that begins with /", directive,
                                APR_ARRAY_IDX(list, i, const char *));
    return NULL;
}

static bool below(const char *path, const char *dir)
{
    size_t len = strlen(dir);

    return path && !strncmp(path, dir, len) && (path[len] == '/' || !path[len]);
}

static const char *hidden_by_tmp(const fcgipm_setting_t *s, const char *directive, const char *path,
                                 apr_pool_t *pool)
{
    if (!s->private_tmp || !(below(path, "/tmp") || below(path, "/var/tmp")))
        return NULL;
    return apr_psprintf(pool,
                        "%s %s: with FcgiPrivateTmp the processes have an empty /tmp and /var/tmp; put it "
                        "somewhere else",
                        directive, path);
}

/* What the processes see of the file system. */
static const char *check_walls(const fcgipm_setting_t *s, apr_pool_t *pool)
{
    const char *fault,
        *program = s->command && s->command->nelts ? APR_ARRAY_IDX(s->command, 0, const char *) : NULL;

    if (s->root && (s->root[0] != '/' || !s->root[strspn(s->root, "/")]))
        return apr_psprintf(pool,
                            "FcgiRoot %s: not the full path of a directory; write one that begins with / and "
                            "is not all there is",
                            s->root);
    if (s->root && s->ready == FCGIPM_READY_NOTIFY)
        return "FcgiReady Notify: NOTIFY_SOCKET lies outside of FcgiRoot; write FcgiReady Auto, or a "
               "FcgiProbe";
    if (!s->suexec && s->suexec_root != FCGIPM_SUEXEC_ROOT_AUTO)
        return "FcgiSuexec root=: without suexec it means nothing; write FcgiSuexec On root=...";
    if (s->suexec && strcasecmp(s->suexec, "Off") && (s->root || s->no_new_privs))
        return apr_psprintf(
            pool,
            "FcgiSuexec and %s exclude each other: suexec is a setuid program of the system's; "
            "leave one of the two out",
            s->root ? "FcgiRoot" : "FcgiNoNewPrivs");
    if ((fault = check_paths("FcgiReadOnlyPaths", s->read_only, pool)) ||
        (fault = check_paths("FcgiInaccessiblePaths", s->inaccessible, pool)) ||
        (fault = hidden_by_tmp(s, "FcgiCommand", program, pool)))
        return fault;
    return hidden_by_tmp(s, "FcgiDirectory", s->directory, pool);
}

static const char *check_template(const fcgipm_setting_t *s, apr_pool_t *pool)
{
    if (s->connect)
        return "FcgiConnect: a template starts its processes itself; write FcgiCommand";
    if (s->suexec && strcasecmp(s->suexec, "Off"))
        return "FcgiSuexec: not in a template, whose processes become their user without it";
    if (s->user || s->group)
        return "FcgiUser: a template has its users from FcgiUserFrom; leave it out";
    if (s->user_from == FCGIPM_USER_OWNER && (!s->user_below || s->user_below[0] != '/'))
        return "FcgiUserFrom Owner: write also where the files of all users are, such as below=/srv/www";
    if (s->user_from != FCGIPM_USER_OWNER && s->user_below)
        return "FcgiUserFrom below=: only with Owner";
    if (s->user_from == FCGIPM_USER_PATH && (!s->user_path || !fcgipm_owner_pattern_ok(s->user_path)))
        return "FcgiUserFrom Path: write also where in the path the name is, such as Path "
               "/home/%{user}/public_html";
    if (s->user_from != FCGIPM_USER_PATH && s->user_path)
        return apr_psprintf(pool, "FcgiUserFrom %s: only with Path", s->user_path);
    return NULL;
}

const char *fcgipm_setting_check(const fcgipm_setting_t *s, apr_pool_t *pool)
{
    bool command = s->command && s->command->nelts;
    const char *fault;

    if (command && s->connect)
        return "FcgiCommand and FcgiConnect exclude each other; keep the first to have the program started, "
               "the second if "
               "it runs already";
    if (!command && !s->connect)
        return "neither FcgiCommand nor FcgiConnect; write the program to start, such as FcgiCommand "
               "/srv/app/app.fcgi";
    if (command && APR_ARRAY_IDX(s->command, 0, const char *)[0] != '/')
        return apr_psprintf(pool, "FcgiCommand %s: not a full path; write one that begins with /",
                            APR_ARRAY_IDX(s->command, 0, const char *));
    if (s->user_from && (fault = check_template(s, pool)))
        return fault;
    if (s->directory && s->directory[0] != '/')
        return apr_psprintf(pool, "FcgiDirectory %s: not a full path; write one that begins with /",
                            s->directory);
    if ((fault = check_walls(s, pool)))
        return fault;
    if (s->probe && s->probe[0] != '/')
        return apr_psprintf(pool, "FcgiProbe %s: not a path; write one that begins with /, such as /ping",
                            s->probe);
    for (int i = 0; s->watch && i < s->watch->nelts; i++) {
        const char *file = APR_ARRAY_IDX(s->watch, i, const char *);
        if (file[0] != '/' && strcasecmp(file, "Command"))
            return apr_psprintf(pool,
                                "FcgiWatch %s: not a full path; write one that begins with /, or Command "
                                "for the program itself",
                                file);
    }
    if (s->slow_command && s->slow_command->nelts &&
        APR_ARRAY_IDX(s->slow_command, 0, const char *)[0] != '/')
        return apr_psprintf(pool, "FcgiSlowLog ... %s: not a full path; write the program with its path",
                            APR_ARRAY_IDX(s->slow_command, 0, const char *));
    for (int i = 0; s->sendfile && i < s->sendfile->nelts; i++) {
        const char *root = APR_ARRAY_IDX(s->sendfile, i, const char *);
        if (root[0] != '/' || root[strspn(root, "/")] == '\0')
            return apr_psprintf(pool,
                                "FcgiSendfile %s: %s; write the full path of the directory that holds the "
                                "files",
                                root, root[0] == '/' ? "that is every file" : "not a full path");
    }
    if (s->multiplex && !s->connect && s->keep_conn == FCGIPM_OFF)
        return "FcgiMultiplex Auto needs connections that are kept; write FcgiKeepConn On, or leave one of "
               "the two out";
    if (s->processes_min > s->processes_max)
        return apr_psprintf(pool, "FcgiProcesses %u %u: the first number is the smaller one",
                            s->processes_min, s->processes_max);
    if (!s->connect && (s->processes_max + 2) * fcgipm_setting_places(s) > 8192)
        return apr_psprintf(pool,
                            "FcgiProcesses %u times FcgiConcurrency %u: more than 8000 requests at a time; "
                            "write smaller numbers",
                            s->processes_max, fcgipm_setting_places(s));
    return NULL;
}

/* --- bytes --- */

/* The format: u16 length of all rows' count, then name, vhost, scope, then the rows in table order. Numbers
 * are 8 bytes, little endian; strings a u32 length + 1 (0 = NULL) and the bytes; lists a u32 count + 1 (0 =
 * NULL) and strings. */
static void put_bytes(apr_array_header_t *out, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        APR_ARRAY_PUSH(out, char) = data[i];
}

static void put_number(apr_array_header_t *out, uint64_t number, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        APR_ARRAY_PUSH(out, char) = (char)(number >> (8 * i));
}

static void put_string(apr_array_header_t *out, const char *text)
{
    put_number(out, text ? strlen(text) + 1 : 0, 4);
    if (text)
        put_bytes(out, text, strlen(text));
}

static void put_list(apr_array_header_t *out, const apr_array_header_t *list)
{
    put_number(out, list ? (uint64_t)list->nelts + 1 : 0, 4);
    for (int i = 0; list && i < list->nelts; i++)
        put_string(out, APR_ARRAY_IDX(list, i, const char *));
}

static void put_row(apr_array_header_t *out, const fcgipm_setting_t *s, const fcgipm_setting_row_t *row)
{
    switch (row->kind) {
    case FCGIPM_KIND_STRING:
    case FCGIPM_KIND_ADDRESS:
        put_string(out, *(const char *const *)member_const(s, row));
        break;
    case FCGIPM_KIND_LIST:
        put_list(out, *(apr_array_header_t *const *)member_const(s, row));
        break;
    default:
        put_number(out, (uint64_t)load_number(s, row), 8);
    }
}

void fcgipm_setting_write(const fcgipm_setting_t *s, apr_array_header_t *out)
{
    put_number(out, fcgipm_setting_row_count, 2);
    put_string(out, s->name);
    put_string(out, s->vhost);
    put_number(out, s->scope, 4);
    for (unsigned i = 0; i < fcgipm_setting_row_count; i++)
        put_row(out, s, &fcgipm_setting_rows[i]);
}

static bool get_number(const unsigned char **in, const unsigned char *end, unsigned bytes, uint64_t *number)
{
    if ((size_t)(end - *in) < bytes)
        return false;
    *number = 0;
    for (unsigned i = 0; i < bytes; i++)
        *number |= (uint64_t)(*in)[i] << (8 * i);
    *in += bytes;
    return true;
}

static bool get_string(const unsigned char **in, const unsigned char *end, const char **text,
                       apr_pool_t *pool)
{
    uint64_t len;

    if (!get_number(in, end, 4, &len) || len > (size_t)(end - *in) + 1)
        return false;
    *text = NULL;
    if (len == 0)
        return true;
    if (memchr(*in, '\0', len - 1))
        return false;
    *text = apr_pstrmemdup(pool, (const char *)*in, len - 1);
    *in += len - 1;
    return true;
}

static bool get_list(const unsigned char **in, const unsigned char *end, apr_array_header_t **list,
                     apr_pool_t *pool)
{
    uint64_t count;

    if (!get_number(in, end, 4, &count) || count > LIST_MAX + 1)
        return false;
    *list = count ? apr_array_make(pool, (int)count, sizeof(const char *)) : NULL;
    for (uint64_t i = 1; i < count; i++) {
        const char *text;

        if (!get_string(in, end, &text, pool) || !text)
            return false;
        APR_ARRAY_PUSH(*list, const char *) = text;
    }
    return true;
}

static bool number_ok(const fcgipm_setting_row_t *row, int64_t number)
{
    return (number >= row->min && number <= row->max) || (takes_off(row) && number == off_value(row));
}

/* A number outside the bounds of its row cannot have been written by us. */
static bool get_row(const unsigned char **in, const unsigned char *end, fcgipm_setting_t *s,
                    const fcgipm_setting_row_t *row, apr_pool_t *pool)
{
    uint64_t number;

    switch (row->kind) {
    case FCGIPM_KIND_STRING:
    case FCGIPM_KIND_ADDRESS:
        return get_string(in, end, member(s, row), pool);
    case FCGIPM_KIND_LIST:
        return get_list(in, end, member(s, row), pool);
    default:
        if (!get_number(in, end, 8, &number) ||
            (!number_ok(row, (int64_t)number) && !(number == 0 && takes_auto(row))))
            return false;
        store_number(s, row, (int64_t)number);
        return true;
    }
}

apr_status_t fcgipm_setting_read(fcgipm_setting_t *s, const unsigned char **in, const unsigned char *end,
                                 apr_pool_t *pool, fcgipm_fault_t *fault)
{
    uint64_t rows, scope;

    memset(s, 0, sizeof *s);
    if (!get_number(in, end, 2, &rows) || rows != fcgipm_setting_row_count)
        return fcgipm_fault_set(fault, APR_EINVAL, "settings", "made by another build of the module");
    if (!get_string(in, end, &s->name, pool) || !get_string(in, end, &s->vhost, pool) || !s->name ||
        !s->vhost || strlen(s->name) > 63 || !get_number(in, end, 4, &scope))
        return fcgipm_fault_set(fault, APR_EINVAL, "settings", "the name is not readable");
    s->scope = (uint32_t)scope;
    for (unsigned i = 0; i < fcgipm_setting_row_count; i++)
        if (!get_row(in, end, s, &fcgipm_setting_rows[i], pool))
            return fcgipm_fault_set(fault, APR_EINVAL, "settings", "%s of pool %s is not readable",
                                    fcgipm_setting_rows[i].directive, s->name);
    if (fcgipm_setting_check(s, pool))
        return fcgipm_fault_set(fault, APR_EINVAL, "settings", "pool %s contradicts itself", s->name);
    return APR_SUCCESS;
}

/* --- fingerprint --- */

static uint64_t fnv(uint64_t hash, const void *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ ((const unsigned char *)data)[i]) * 0x100000001b3ull;
    return hash;
}

static uint64_t fnv_string(uint64_t hash, const char *text)
{
    return text ? fnv(fnv(hash, "s", 1), text, strlen(text) + 1) : fnv(hash, "-", 1);
}

static uint64_t fnv_row(uint64_t hash, const fcgipm_setting_t *s, const fcgipm_setting_row_t *row)
{
    const apr_array_header_t *list;
    int64_t number;

    switch (row->kind) {
    case FCGIPM_KIND_STRING:
    case FCGIPM_KIND_ADDRESS:
        return fnv_string(hash, *(const char *const *)member_const(s, row));
    case FCGIPM_KIND_LIST:
        list = *(apr_array_header_t *const *)member_const(s, row);
        for (int i = 0; list && i < list->nelts; i++)
            hash = fnv_string(hash, APR_ARRAY_IDX(list, i, const char *));
        return fnv(hash, ".", 1);
    default:
        number = load_number(s, row);
        return fnv(hash, &number, sizeof number);
    }
}

uint64_t fcgipm_setting_key(const fcgipm_setting_t *s)
{
    return fnv_string(fnv_string(0xcbf29ce484222325ull, s->vhost), s->name);
}

uint64_t fcgipm_setting_fingerprint(const fcgipm_setting_t *s)
{
    uint64_t hash = fcgipm_setting_key(s);

    for (unsigned i = 0; i < fcgipm_setting_row_count; i++)
        if (fcgipm_setting_rows[i].fingerprint)
            hash = fnv_row(hash, s, &fcgipm_setting_rows[i]);
    return hash;
}
