/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_CORE_SETTING_TABLE_H
#define FCGIPM_CORE_SETTING_TABLE_H
/*
 * What: one row per directive of a <FcgiServer> block, or per key of one that takes key=value. From it come:
 * httpd's command table, defaults, bounds, error sentences, the fingerprint, the bytes for the manager, and
 * conf/DIRECTIVES.md. A new setting is a member in core/setting.h and a row here.
 *
 *   X(directive, key, kind, member, min, max, default, words, syntax, fingerprint, doc)
 *
 * min and max are in the member's unit (durations: microseconds). fingerprint 1: changing it means other
 * processes; 0: it concerns requests or policy only... which is still a new pool, unless it is not hashed:
 * see setting.c.
 */
#define FCGIPM_MS ((int64_t)1000)
#define FCGIPM_S  ((int64_t)1000000)
#define FCGIPM_K  ((int64_t)1024)
#define FCGIPM_M  ((int64_t)1048576)

#define FCGIPM_SETTINGS(X)                                                                                   \
    X("FcgiCommand", NULL, LIST, command, 0, 0, NULL, NULL, "program [argument ...]", 1,                     \
      "The program to run and its arguments, in httpd's quoting; no shell. A relative path starts at "       \
      "ServerRoot. The "                                                                                     \
      "program accepts connections on descriptor 0.")                                                        \
    X("FcgiConnect", NULL, ADDRESS, connect, 0, 0, NULL, NULL, "unix:/path | host:port | [::1]:port", 1,     \
      "In place of FcgiCommand: an application that somebody else runs (php-fpm, spawn-fcgi, another "       \
      "machine).")                                                                                           \
    X("FcgiUser", NULL, STRING, user, 0, 0, NULL, NULL, "user", 1,                                           \
      "Whom the processes run as; httpd's own User when not given. Never root.")                             \
    X("FcgiUser", NULL, STRING, group, 0, 0, NULL, NULL, "[group]", 1,                                       \
      "The user's own group when not given.")                                                                \
    X("FcgiDirectory", NULL, STRING, directory, 0, 0, NULL, NULL, "/path", 1,                                \
      "Working directory; the program's own when not given.")                                                \
    X("FcgiUmask", NULL, OCTAL, umask, 0, 0777, "022", NULL, "octal", 1,                                     \
      "File creation mask of the processes.")                                                                \
    X("FcgiEnv", NULL, LIST, env, 0, 0, NULL, NULL, "NAME value", 1,                                         \
      "A variable in the processes' environment, which is otherwise empty but for PATH. May be repeated.")   \
    X("FcgiProcesses", NULL, COUNT, processes_min, 0, 256, "1", NULL, "min", 1,                              \
      "Processes that are always there.")                                                                    \
    X("FcgiProcesses", NULL, COUNT, processes_max, 1, 256, "4", NULL, "max", 1,                              \
      "Most processes; more than min are started on demand. One number alone is both.")                      \
    X("FcgiConcurrency", NULL, COUNT, concurrency, 1, 1024, NULL, NULL, "number", 1,                         \
      "Requests at a time per process: 1 (default) for most; threads, or PHP_FCGI_CHILDREN, otherwise. "     \
      "With FcgiConnect: "                                                                                   \
      "requests at a time in all, 32 by default.")                                                           \
    X("FcgiKeepConn", NULL, CHOICE, keep_conn, 0, 2, "Auto", "Auto|On|Off", "Auto | On | Off", 1,            \
      "Keep connections to the application open between requests. Auto: for our own processes, not with "    \
      "FcgiConnect, "                                                                                        \
      "whose processes others may want as well.")                                                            \
    X("FcgiClientAbort", NULL, CHOICE, client_abort, 0, 1, "Abort", "Abort|Finish", "Abort | Finish", 1,     \
      "What happens to a request whose client has left: it is aborted, or the application may finish.")      \
    X("FcgiQueue", "length", COUNT, queue_length, 0, 1000, "100", NULL, "length=number", 1,                  \
      "Requests that may wait for a process; further ones get 503 at once.")                                 \
    X("FcgiTimeout", "start", DURATION, start_us, 100 * FCGIPM_MS, 3600 * FCGIPM_S, "30s", NULL,             \
      "start=time", 1, "start: a new process must accept connections by then.")                              \
    X("FcgiTimeout", "connect", DURATION, connect_us, 10 * FCGIPM_MS, 600 * FCGIPM_S, "5s", NULL,            \
      "connect=time", 1, "connect: to the application's socket.")                                            \
    X("FcgiTimeout", "queue", DURATION, queue_us, 0, 3600 * FCGIPM_S, "10s", NULL, "queue=time", 1,          \
      "queue: longest wait for a process, then 503.")                                                        \
    X("FcgiTimeout", "read", DURATION, read_us, 0, 86400 * FCGIPM_S, "60s", NULL, "read=time", 1,            \
      "read: longest silence of the application within a request, then 504 and the process is replaced; "    \
      "off: none.")                                                                                          \
    X("FcgiTimeout", "request", DURATION, request_us, 0, 604800 * FCGIPM_S, "300s", NULL, "request=time", 1, \
      "request: the whole request from the first byte sent to the application, then 504; off: no limit.")    \
    X("FcgiTimeout", "idle", DURATION, idle_us, 0, 604800 * FCGIPM_S, "5m", NULL, "idle=time", 1,            \
      "idle: a process above min that had nothing to do for so long ends; off: never.")                      \
    X("FcgiTimeout", "stop", DURATION, stop_us, 0, 600 * FCGIPM_S, "10s", NULL, "stop=time", 1,              \
      "stop: from TERM to KILL, for the whole process group.")                                               \
    X("FcgiHeadLimit", NULL, SIZE, head_bytes, 1 * FCGIPM_K, 1 * FCGIPM_M, "64K", NULL, "size", 1,           \
      "Largest response head; a larger one is 502.")                                                         \
    X("FcgiRequestBuffer", "memory", SIZE, body_memory_bytes, 0, 16 * FCGIPM_M, "64K", NULL, "memory=size",  \
      1,                                                                                                     \
      "Request bodies are read whole before a process is taken: in memory up to this, then in a temporary "  \
      "file.")

/* Directives that are no setting of a pool: name, scope, syntax, default, doc. */
#define FCGIPM_DIRECTIVES(X)                                                                                 \
    X("<FcgiServer>", "server config, virtual host", "<FcgiServer NAME> ... </FcgiServer>", "",              \
      "Describes an application and its processes. In the main server it can be named by every virtual "     \
      "host, in a "                                                                                          \
      "virtual host it is private to it.")                                                                   \
    X("FcgiPass", "location, directory", "FcgiPass NAME [prefix=/path] | None", "",                          \
      "The application that answers here. In <Location \"/blog\"> SCRIPT_NAME is /blog and PATH_INFO the "   \
      "rest; in a "                                                                                          \
      "pattern say prefix=/path; elsewhere the file that httpd finds is the script. SetHandler fcgipm:NAME " \
      "is the same.")                                                                                        \
    X("FcgiPassEnv", "FcgiServer block", "FcgiPassEnv NAME ...", "",                                         \
      "Variables of httpd's own environment that the processes get, read when the configuration is.")        \
    X("FcgiRuntimeDir", "server config", "FcgiRuntimeDir DIR", "fcgipm in httpd's runtime directory",        \
      "Sockets and state; made if missing, and refused if others can write there.")
#endif
