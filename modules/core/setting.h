/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_CORE_SETTING_H
#define FCGIPM_CORE_SETTING_H
/*
 * What: the settings of one pool as a plain struct, and everything that can be done with them by a loop over
 * core/setting_table.h: defaults, parsing of values, validation, writing to and reading from bytes (for the
 * manager), fingerprint. There is no code per directive.
 * Who calls: httpd's parent while it reads the configuration (parse, check, write); the manager (read).
 * Owns: pointers point into the pool given to parse/read.
 * Always true: 1. two settings with equal values have equal fingerprints, in every process and over
 * restarts; 2. read(write(s)) == s; 3. read refuses what it does not know (version, length, bounds).
 */
#include <stdint.h>
#include <apr_pools.h>
#include <apr_tables.h>
#include "core/fault.h"

typedef enum fcgipm_flag3 { FCGIPM_AUTO, FCGIPM_ON, FCGIPM_OFF } fcgipm_flag3_t;

/* What a control group is limited to; 0: nothing was said. */
typedef struct fcgipm_group_limit {
    uint64_t memory_max, memory_high; /* bytes */
    uint32_t cpu_percent;             /* of one CPU */
    uint32_t cpu_weight, pids_max, io_weight;
} fcgipm_group_limit_t;

/* One pool. Members are in table order; units in the names: _us microseconds, _max counts, _bytes bytes. */
typedef struct fcgipm_setting {
    const char *name;            /* of the FcgiServer block: [A-Za-z0-9._-]{1,63} */
    const char *vhost;           /* "" = main server; otherwise server name and port of the private vhost */
    uint32_t scope;              /* log scope, see core/log.h; not part of the fingerprint */
    apr_array_header_t *command; /* of const char *: absolute program path, arguments; NULL when external */
    const char *connect;         /* canonical address, NULL when spawned */
    const char *user, *group;    /* NULL = httpd's User and Group */
    const char *suexec;          /* the program to become the user through, NULL = we do it ourselves */
    uint32_t suexec_root;        /* fcgipm_suexec_root_t */
    uint32_t user_from;          /* fcgipm_user_from_t; not 0: a template, whose pools appear on demand */
    const char *user_path;       /* PATH: "/home/%{user}/www" */
    const char *user_below;      /* OWNER: the files lie there */
    uint32_t user_min;           /* smallest uid */
    uint32_t user_vhost;         /* 1: a pool for each virtual host, too */
    const char *directory;       /* NULL = the directory of the program */
    apr_array_header_t *env;     /* of const char *: "NAME=VALUE", in order, FcgiPassEnv already resolved */
    uint32_t processes_min, processes_max;
    uint32_t concurrency;  /* requests at a time per process (external: in all); 0 = Auto */
    uint32_t multiplex;    /* 1: several requests on one connection, where the process can */
    uint32_t keep_conn;    /* fcgipm_flag3_t: keep connections open between requests */
    uint32_t client_abort; /* 0 abort, 1 finish: what happens to a request whose client left */
    uint32_t umask;
    /* FcgiLimit; FCGIPM_NO_SIZE, FCGIPM_NO_COUNT, 0: as httpd has it */
    uint64_t limit_memory_bytes;
    int64_t limit_cpu_us;
    uint32_t limit_files, limit_procs;
    uint64_t limit_core_bytes, limit_filesize_bytes, limit_stack_bytes;
    int32_t nice, oom; /* FcgiPriority; FCGIPM_NO_INTEGER: as httpd has it */
    uint32_t ioprio;   /* 0 as httpd has it, 1 idle, 2 best-effort:0, ... 9 best-effort:7 */
    uint32_t no_new_privs;
    const char *root;     /* FcgiRoot; command and directory are paths in it */
    uint32_t private_tmp; /* 1: a /tmp of its own, of so many bytes: */
    uint64_t private_tmp_bytes;
    apr_array_header_t *read_only, *inaccessible; /* of const char *: paths, as the process sees them */
    uint32_t queue_length;                        /* waiting requests */
    uint32_t queue_threads;                       /* 0 = Auto */
    int64_t start_us, connect_us, queue_us, read_us, request_us, idle_us, stop_us; /* FcgiTimeout */
    int64_t firstbyte_us;                                                          /* 0 = as read_us */
    uint64_t head_bytes;                                                           /* largest response head */
    uint64_t body_memory_bytes;   /* request body kept in memory up to here, then in a temporary file */
    uint32_t body_streams;        /* 1: the request body is not read first */
    uint64_t reply_memory_bytes;  /* of an answer that the client has not taken yet */
    uint64_t reply_file_bytes;    /* the same, in a temporary file */
    apr_array_header_t *sendfile; /* of const char *: directories whose files it may name; NULL = none */
    uint32_t recycle_requests;    /* FcgiRecycle; 0 = never */
    int64_t recycle_age_us;
    uint64_t recycle_memory_bytes; /* of a process and all that it forked */
    uint32_t recycle_measure;      /* fcgipm_measure_t */
    uint32_t ready;                /* fcgipm_ready_kind_t */
    const char *probe;             /* path to ask for, NULL = FCGI_GET_VALUES */
    int64_t probe_every_us;        /* idle processes, 0 = never */
    int64_t probe_timeout_us;
    apr_array_header_t *watch;        /* of const char *: files whose change restarts the pool; "Command": the
                                         program */
    int64_t slow_us;                  /* 0 = off */
    apr_array_header_t *slow_command; /* NULL = what /proc says */
    fcgipm_group_limit_t cgroup;      /* FcgiCgroupLimit, for all processes together */
} fcgipm_setting_t;

/* Whom the processes of a template's pool run as. */
typedef enum fcgipm_user_from {
    FCGIPM_USER_SAID,   /* no template: FcgiUser */
    FCGIPM_USER_OWNER,  /* the owner of the request's file */
    FCGIPM_USER_SUEXEC, /* the virtual host's SuexecUserGroup */
    FCGIPM_USER_PATH,   /* a name in the file's path */
    FCGIPM_USER_HTTPD   /* httpd's own */
} fcgipm_user_from_t;
/* Below what suexec wants the program. */
typedef enum fcgipm_suexec_root {
    FCGIPM_SUEXEC_ROOT_AUTO,   /* the user's directory for a program in his home, else suexec's own root */
    FCGIPM_SUEXEC_ROOT_SERVER, /* suexec's own root */
    FCGIPM_SUEXEC_ROOT_USER    /* the user's directory for the web */
} fcgipm_suexec_root_t;
typedef enum fcgipm_measure { FCGIPM_MEASURE_PSS, FCGIPM_MEASURE_RSS } fcgipm_measure_t;
typedef enum fcgipm_ready_kind {
    FCGIPM_READY_AUTO,   /* it takes our question from its socket, whatever it says to it */
    FCGIPM_READY_ANSWER, /* it answers FCGI_GET_VALUES */
    FCGIPM_READY_NOTIFY  /* it says READY=1 as sd_notify(3) does */
} fcgipm_ready_kind_t;

/* What holds for all pools together; rows of their own in core/setting_table.h. */
typedef struct fcgipm_global {
    uint32_t max_workers;        /* processes of all pools, 0 = as many as they may have */
    uint64_t memory_bytes;       /* PSS of all processes, 0 = no budget */
    uint32_t user_threads;       /* httpd threads for the pools of one FcgiUser, 0 = Auto */
    uint64_t reply_memory_bytes; /* for the answers that all httpd children keep */
    uint32_t async;              /* fcgipm_flag3_t */
    uint32_t min_uid, min_gid;   /* no application runs as a user or group below; httpd's own may */
    uint32_t user_workers;       /* processes of all pools of one FcgiUser, 0 = as many as they may have */
    uint32_t demand_pools;       /* pools made on demand at a time */
    uint32_t user_queue;         /* requests that wait for processes of one FcgiUser, 0 = as many as may */
    uint64_t user_memory_bytes;  /* PSS of all processes of one FcgiUser, 0 = no budget */
} fcgipm_global_t;

/* One FcgiUserLimit: all processes of one user, whatever their pool. Plain data: it travels as bytes. */
#define FCGIPM_ANY_USER UINT32_MAX
typedef struct fcgipm_user_limit {
    uint32_t uid; /* FCGIPM_ANY_USER: each user that has none of his own */
    uint32_t pad;
    fcgipm_group_limit_t limit;
} fcgipm_user_limit_t;

typedef enum fcgipm_setting_kind {
    FCGIPM_KIND_COUNT,    /* uint32_t */
    FCGIPM_KIND_DURATION, /* int64_t us; "10s" "500ms" "5m" "2h" "1d", a bare number is seconds; "off" = 0 */
    FCGIPM_KIND_SIZE,     /* uint64_t bytes; "64K" "256M" "1G" */
    FCGIPM_KIND_PERCENT,  /* uint32_t; "150%" */
    FCGIPM_KIND_OCTAL,    /* uint32_t */
    FCGIPM_KIND_INTEGER,  /* int32_t, may be negative */
    FCGIPM_KIND_CHOICE,   /* uint32_t index into words "Auto|On|Off" */
    FCGIPM_KIND_STRING,   /* const char *, NULL = none */
    FCGIPM_KIND_ADDRESS,  /* const char *, canonical */
    FCGIPM_KIND_LIST      /* apr_array_header_t * of const char * */
} fcgipm_setting_kind_t;

/* "off" where 0 would be a number like any other; the row's words are "off" then. */
#define FCGIPM_NO_SIZE    ((uint64_t)INT64_MAX)
#define FCGIPM_NO_COUNT   UINT32_MAX
#define FCGIPM_NO_INTEGER INT32_MIN

/* One row of the table; see setting_table.h. */
typedef struct fcgipm_setting_row {
    const char *directive; /* "FcgiTimeout" */
    const char *key;       /* "start" for FcgiTimeout start=10s; NULL: a positional argument */
    fcgipm_setting_kind_t kind;
    size_t offset;      /* in fcgipm_setting_t */
    int64_t min, max;   /* in the unit of the member */
    const char *value;  /* default, as a user would write it; NULL = none */
    const char *words;  /* CHOICE: "Auto|On|Off" */
    const char *syntax; /* "start=duration" */
    const char *doc;    /* sentences for the reference */
    int fingerprint;    /* 1: a change of it means other processes */
} fcgipm_setting_row_t;

extern const fcgipm_setting_row_t fcgipm_setting_rows[];
extern const unsigned fcgipm_setting_row_count;
extern const fcgipm_setting_row_t fcgipm_setting_global_rows[]; /* offset: in fcgipm_global_t */
extern const unsigned fcgipm_setting_global_row_count;
extern const fcgipm_setting_row_t fcgipm_setting_user_rows[]; /* offset: in fcgipm_user_limit_t */
extern const unsigned fcgipm_setting_user_row_count;

/* Values that depend on others and were not said (concurrency, keep_conn). After all directives, before
 * check. */
void fcgipm_setting_finish(fcgipm_setting_t *s);
/* Most requests at a time per process, also where the process itself will say how many. */
#define FCGIPM_CONCURRENCY_AUTO 32u
static inline uint32_t fcgipm_setting_places(const fcgipm_setting_t *s)
{
    return s->concurrency ? s->concurrency : FCGIPM_CONCURRENCY_AUTO;
}
void fcgipm_setting_defaults(fcgipm_setting_t *s, apr_pool_t *pool);
void fcgipm_setting_global_defaults(fcgipm_global_t *global, apr_pool_t *pool);
/* Set the member of `row` from text, in the struct that the row belongs to. NULL on success, else a sentence
 * naming directive, value, and what would be right (allocated from pool). */
const char *fcgipm_setting_parse(void *s, const fcgipm_setting_row_t *row, const char *text,
                                 apr_pool_t *pool);
/* Rules that need more than one member (min <= max, command or connect, ...). NULL or a sentence. */
const char *fcgipm_setting_check(const fcgipm_setting_t *s, apr_pool_t *pool);
/* 64-bit FNV-1a over the rows with fingerprint = 1, and name and vhost. */
uint64_t fcgipm_setting_fingerprint(const fcgipm_setting_t *s);
/* 64-bit FNV-1a over name and vhost: which pool it is, whatever its values. */
uint64_t fcgipm_setting_key(const fcgipm_setting_t *s);
/* Append to a byte array (apr_array_header_t of char). */
void fcgipm_setting_write(const fcgipm_setting_t *s, apr_array_header_t *out);
/* Read one from [*in, end), advancing. APR_SUCCESS, or APR_EINVAL with a fault. */
apr_status_t fcgipm_setting_read(fcgipm_setting_t *s, const unsigned char **in, const unsigned char *end,
                                 apr_pool_t *pool, fcgipm_fault_t *fault);
#endif
