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
      "The program to run and its arguments. Quotes and backslashes are httpd's; there is no shell, so no "  \
      "variables, pipes or redirections. A relative path starts at ServerRoot. The program accepts its "     \
      "connections on descriptor 0, as every FastCGI library does by itself; what it writes to its "         \
      "standard output and error goes to the error log. A block has either this or FcgiConnect.")            \
    X("FcgiConnect", NULL, ADDRESS, connect, 0, 0, NULL, NULL, "unix:/path | host:port | [::1]:port", 1,     \
      "In place of FcgiCommand: the address of an application that somebody else runs, such as php-fpm, "    \
      "spawn-fcgi or another machine. A socket belongs in a directory where nobody else can write and put "  \
      "one "                                                                                                 \
      "of his in its place. A host name is looked up once, when the configuration is read. "                 \
      "FcgiUser, FcgiDirectory, FcgiUmask, FcgiLimit, FcgiPriority and the walls (FcgiRoot, ...), FcgiEnv, " \
      "FcgiProcesses, FcgiReady, FcgiProbe, FcgiRecycle, "                                                   \
      "FcgiWatch, FcgiSlowLog and the times start, idle and stop then mean nothing.")                        \
    X("FcgiUser", NULL, STRING, user, 0, 0, NULL, NULL, "user", 1,                                           \
      "Whom the processes run as, by name; httpd's own User when not given, also where a virtual host has "  \
      "SuexecUserGroup (FcgiSuexec and FcgiCompat heed that). Needs httpd to be started as root. "           \
      "Never root itself, nor one below FcgiMinUid or FcgiMinGid, nor one in root's group.")                 \
    X("FcgiUser", NULL, STRING, group, 0, 0, NULL, NULL, "[group]", 1,                                       \
      "Their group; the user's own, with its supplementary groups, when not given. Never root's.")           \
    X("FcgiSuexec", NULL, STRING, suexec, 0, 0, NULL, NULL, "On | Off | /path/to/suexec", 1,                 \
      "The processes become their user through httpd's own suexec program, with its checks (the program is " \
      "below its document root or the user's directory for the web, belongs to the user as its directory "   \
      "does, and nobody else can write either) and its log. The user is FcgiUser, or, in a virtual host "    \
      "without one, that of SuexecUserGroup. suexec leaves few variables of the environment: FcgiEnv and "   \
      "FcgiPassEnv can set only those that it knows, such as TZ and names that begin with HTTP_. The "       \
      "directory is always the program's.")                                                                  \
    X("FcgiSuexec", "root", CHOICE, suexec_root, 0, 2, "Auto", "Auto|Server|User", "root=Auto|Server|User",  \
      1,                                                                                                     \
      "Below what suexec wants the program: Server: its document root; User: the user's directory for the "  \
      "web; Auto: that for a program below the user's home, else its document root.")                        \
    X("FcgiUserFrom", NULL, CHOICE, user_from, 0, 4, NULL, "FcgiUser|Owner|SuexecUserGroup|Path|Server",     \
      "Owner | SuexecUserGroup | Path | Server", 1,                                                          \
      "In <FcgiServerTemplate> only, and needed there: whom the processes run as; each user has a pool of "  \
      "his own. Owner: the owner of the file that the request is for. SuexecUserGroup: the user and group "  \
      "that this directive of mod_suexec names for the virtual host (mod_suexec itself is not needed for "   \
      "it). Path: a name in the file's path, as the second word says. Server: httpd's own User, in a pool "  \
      "for each virtual host. Owner and Path need a file (not <Location>), and no symbolic link may be in "  \
      "its path. With Owner each directory of it below below= belongs to the owner or to root, and neither " \
      "a group nor others may write to the file, to one of these directories or to below= itself, as "       \
      "suexec has it (access lists show as rights of the group). With Path others may not.")                 \
    X("FcgiUserFrom", NULL, STRING, user_path, 0, 0, NULL, NULL, "[/path/%{user}/path]", 1,                  \
      "With Path: where the user's name stands, and where below it the files are.")                          \
    X("FcgiUserFrom", "below", STRING, user_below, 0, 0, NULL, NULL, "below=/path", 1,                       \
      "With Owner, and needed there: the directory in which all customers' files are.")                      \
    X("FcgiUserFrom", "minuid", COUNT, user_min, 1, 2147483647, "100", NULL, "minuid=number", 1,             \
      "Users with a smaller number get no pool, root never. FcgiMinUid holds as well.")                      \
    X("FcgiUserFrom", "vhost", CHOICE, user_vhost, 0, 1, "Off", "Off|On", "vhost=Off|On", 1,                 \
      "On: a user has a pool of his own in each virtual host; with Server it is always so.")                 \
    X("FcgiDirectory", NULL, STRING, directory, 0, 0, NULL, NULL, "/path", 1,                                \
      "The processes' working directory, a full path; the directory of the program when not given. It is "   \
      "entered as their user.")                                                                              \
    X("FcgiUmask", NULL, OCTAL, umask, 0, 0777, "022", NULL, "octal", 1,                                     \
      "File creation mask of the processes. 022 lets others read new files, 077 keeps them private.")        \
    X("FcgiLimit", "memory", SIZE, limit_memory_bytes, 4 * FCGIPM_M, 1024 * 1024 * FCGIPM_M, "off", "off",   \
      "memory=size", 1,                                                                                      \
      "Address space of one process (RLIMIT_AS): what it allocates beyond fails, which the application "     \
      "sees and may survive. Mapped files and libraries count; for what is really used see FcgiRecycle "     \
      "and FcgiMemoryBudget. A limit that is off is the one that httpd was started with; one that is said "  \
      "is soft and hard, and a value that cannot be set is a failed start.")                                 \
    X("FcgiLimit", "cpu", DURATION, limit_cpu_us, 0, 31536000 * FCGIPM_S, "off", NULL, "cpu=time", 1,        \
      "Processor time of one process in its whole life (RLIMIT_CPU), in whole seconds, rounded up; then "    \
      "SIGXCPU, and KILL a second later. It is replaced.")                                                   \
    X("FcgiLimit", "files", COUNT, limit_files, 8, 1048576, "off", "off", "files=number", 1,                 \
      "Descriptors of one process (RLIMIT_NOFILE).")                                                         \
    X("FcgiLimit", "procs", COUNT, limit_procs, 1, 1000000, "off", "off", "procs=number", 1,                 \
      "Processes and threads that the application's user may have when one of these processes makes "        \
      "another (RLIMIT_NPROC), whoever started them: for a FcgiUser of its own.")                            \
    X("FcgiLimit", "core", SIZE, limit_core_bytes, 0, 1024 * 1024 * FCGIPM_M, "off", "off", "core=size", 1,  \
      "Largest core dump (RLIMIT_CORE); 0: none.")                                                           \
    X("FcgiLimit", "filesize", SIZE, limit_filesize_bytes, 0, 1024 * 1024 * FCGIPM_M, "off", "off",          \
      "filesize=size", 1, "Largest file that a process can write (RLIMIT_FSIZE).")                           \
    X("FcgiLimit", "stack", SIZE, limit_stack_bytes, 64 * FCGIPM_K, 1024 * FCGIPM_M, "off", "off",           \
      "stack=size", 1, "Stack of a process (RLIMIT_STACK).")                                                 \
    X("FcgiPriority", "nice", INTEGER, nice, -20, 19, "off", "off", "nice=number", 1,                        \
      "Share of the processors, from -20 (most) to 19 (least); off: as httpd has it. A value below "         \
      "httpd's own needs httpd to be started as root.")                                                      \
    X("FcgiPriority", "oom", INTEGER, oom, -1000, 1000, "off", "off", "oom=number", 1,                       \
      "Whom the kernel kills first when memory is out (oom_score_adj): 1000 first, -1000 never; off: as "    \
      "httpd has it. A value below httpd's own needs root with CAP_SYS_RESOURCE.")                           \
    X("FcgiPriority", "ioprio", CHOICE, ioprio, 0, 9, "off",                                                 \
      "off|idle|best-effort:0|best-effort:1|best-effort:2|best-effort:3|best-effort:4|best-effort:5|best-"   \
      "effort:6|best-effort:7",                                                                              \
      "ioprio=off|idle|best-effort:0...7", 1,                                                                \
      "Share of the disks, where their scheduler heeds it: idle gets what nobody else wants, "               \
      "best-effort:0 most, best-effort:7 least.")                                                            \
    X("FcgiNoNewPrivs", NULL, CHOICE, no_new_privs, 0, 1, "Off", "Off|On", "On | Off", 1,                    \
      "On: no program that the processes run gains rights by being setuid or setgid "                        \
      "(PR_SET_NO_NEW_PRIVS). Off by default, because PHP's mail() and others hand mail to a setgid "        \
      "sendmail, which cannot work then.")                                                                   \
    X("FcgiRoot", NULL, STRING, root, 0, 0, NULL, NULL, "/path", 1,                                          \
      "The processes see this directory as / (chroot) and nothing outside of it; FcgiCommand, "              \
      "FcgiDirectory and FcgiSlowLog's command are then paths inside, and so are FcgiReadOnlyPaths and "     \
      "FcgiInaccessiblePaths. The directory and all above it belong to root, can be written by nobody "      \
      "else, and no part of the path is a symbolic link. What the application needs has to be in there: "    \
      "libraries, /dev/null, /etc/resolv.conf. It does not hold against processes of the same user "         \
      "outside: give it a FcgiUser of its own. Needs httpd to be started as root.")                          \
    X("FcgiPrivateTmp", NULL, CHOICE, private_tmp, 0, 1, "Off", "Off|On", "On | Off", 1,                     \
      "On: each process has an empty directory in memory (tmpfs) for its /tmp and /var/tmp, which nobody "   \
      "else sees and which goes with it; processes of one application do not share it. Needs root, and a "   \
      "kernel or container that allows mount namespaces; where it does not, the processes do not start.")    \
    X("FcgiPrivateTmp", NULL, SIZE, private_tmp_bytes, 1 * FCGIPM_M, 1024 * 1024 * FCGIPM_M, "64M", NULL,    \
      "[size]", 1, "How much can be written there.")                                                         \
    X("FcgiReadOnlyPaths", NULL, LIST, read_only, 0, 0, NULL, NULL, "/path ...", 1,                          \
      "Files and directories, with all that is mounted below, that the processes cannot write, whatever "    \
      "their rights. / is everything but FcgiPrivateTmp. May be repeated. Needs what FcgiPrivateTmp "        \
      "needs, and Linux 5.12. Not for what lies in a directory of the processes' own user: he can rename "   \
      "it, "                                                                                                 \
      "and it is open to the next process.")                                                                 \
    X("FcgiInaccessiblePaths", NULL, LIST, inaccessible, 0, 0, NULL, NULL, "/path ...", 1,                   \
      "Directories whose contents the processes do not see, and files and sockets that they cannot open, "   \
      "whatever their rights. A file that is replaced later (a new one renamed over it, as editors do) is "  \
      "open again to processes that run: close its directory where that happens. May be repeated. Needs "    \
      "what FcgiPrivateTmp needs. Not for what lies in a directory of the processes' own user: he can "      \
      "rename it, and it is open to the next process.")                                                      \
    X("FcgiEnv", NULL, LIST, env, 0, 0, NULL, NULL, "NAME [value]", 1,                                       \
      "A variable in the processes' environment; may be repeated. Nothing of httpd's own environment gets "  \
      "there without FcgiPassEnv. Unless said otherwise PATH is /usr/local/bin:/usr/bin:/bin, and "          \
      "PHP_FCGI_MAX_REQUESTS is 0: php-cgi would end by itself after 500 requests, where FcgiRecycle lets "  \
      "nobody wait. There are also FCGIPM_POOL, the name of the block, and FCGIPM_WORKER, a mark by which "  \
      "the manager knows its "                                                                               \
      "processes. Variables of a request are not set here: httpd's SetEnv and SetEnvIf do that.")            \
    X("FcgiProcesses", NULL, COUNT, processes_min, 0, 256, "1", NULL, "min", 1,                              \
      "Processes that are always there. With 0 they start with the first request and end after idle.")       \
    X("FcgiProcesses", NULL, COUNT, processes_max, 1, 256, "4", NULL, "max", 1,                              \
      "Most processes; more than min are started while requests wait, and end after idle. One number alone " \
      "is both.")                                                                                            \
    X("FcgiConcurrency", NULL, COUNT, concurrency, 1, 1024, NULL, "Auto", "number | Auto", 1,                \
      "Requests that one process takes at the same time: 1, the default, for most; more for applications "   \
      "with threads, or with children of their own that share its socket (PHP_FCGI_CHILDREN). Auto: each "   \
      "new process is asked (FCGI_GET_VALUES: FCGI_MAX_REQS, FCGI_MAX_CONNS) and gets as many as it says, "  \
      "at most 32; one that names no limit but FCGI_MPXS_CONNS=1, as Go's net/http/fcgi does, gets 32, and " \
      "one that does not answer 1 (libfcgi and what is built on it do not, and each first start is half a "  \
      "second later for it: there write the number). The process with the fewest requests gets the next "    \
      "one. With "                                                                                           \
      "FcgiConnect: requests at a time in all, 32 by default; no more than the other side has processes.")   \
    X("FcgiMultiplex", NULL, CHOICE, multiplex, 0, 1, "Off", "Off|Auto", "Off | Auto", 1,                    \
      "Auto: requests of one httpd child to one process share a connection, if the process says that it "    \
      "can do that (FCGI_GET_VALUES: FCGI_MPXS_CONNS=1); FcgiConcurrency says how many. It saves "           \
      "descriptors, not time; see docs/performance.md. An answer that its client does not take holds up "    \
      "the others of its connection for a quarter of a second at most, when FcgiResponseBuffer is full; "    \
      "then it is cut off. Requests with a body, those that must not be repeated, and HTTP/2 streams have "  \
      "a connection of their own. Needs FcgiConcurrency above 1 and FcgiKeepConn; not with FcgiConnect. "    \
      "With the "                                                                                            \
      "worker MPM it is as with event; a child of prefork has one request at a time, so there nothing is "   \
      "shared "                                                                                              \
      "and Auto changes nothing.")                                                                           \
    X("FcgiKeepConn", NULL, CHOICE, keep_conn, 0, 2, "Auto", "Auto|On|Off", "Auto | On | Off", 1,            \
      "Keep connections to the application open between requests. Auto: for our own processes, not with "    \
      "FcgiConnect, whose processes others may want as well (a kept connection to php-fpm holds one of its " \
      "children).")                                                                                          \
    X("FcgiClientAbort", NULL, CHOICE, client_abort, 0, 1, "Abort", "Abort|Finish", "Abort | Finish", 1,     \
      "What happens to a request whose client has left. Abort: the application is told, or its connection "  \
      "closed, and its answer thrown away. Finish: it may complete the answer first, for applications that " \
      "must not be cut off.")                                                                                \
    X("FcgiQueue", "length", COUNT, queue_length, 0, 1000, "256", NULL, "length=number", 1,                  \
      "Requests that may wait for a process, in the order of their arrival; further ones get 503 at once. "  \
      "How long they wait is FcgiTimeout queue=.")                                                           \
    X("FcgiQueue", "threads", COUNT, queue_threads, 0, 100000, "Auto", NULL, "threads=number", 1,            \
      "Most of httpd's threads that requests of this application may hold, those that run and those that "   \
      "wait together; beyond it requests get 503 at once, so that a site that hangs never takes the server " \
      "with it. Auto: half of httpd's MaxRequestWorkers. Requests that wait without a thread (FcgiAsync) "   \
      "do not count. All applications of one user together are "                                             \
      "bounded by FcgiUserThreads.")                                                                         \
    X("FcgiTimeout", "start", DURATION, start_us, 100 * FCGIPM_MS, 3600 * FCGIPM_S, "30s", NULL,             \
      "start=time", 1,                                                                                       \
      "A new process must accept connections by then; otherwise it is stopped and counts as a failed "       \
      "start.")                                                                                              \
    X("FcgiTimeout", "connect", DURATION, connect_us, 10 * FCGIPM_MS, 600 * FCGIPM_S, "5s", NULL,            \
      "connect=time", 1, "Longest wait for a connection to the application's socket.")                       \
    X("FcgiTimeout", "queue", DURATION, queue_us, 0, 3600 * FCGIPM_S, "10s", NULL, "queue=time", 1,          \
      "Longest wait for a process, then 503; off: as long as it takes.")                                     \
    X("FcgiTimeout", "read", DURATION, read_us, 0, 86400 * FCGIPM_S, "60s", NULL, "read=time", 1,            \
      "Longest silence of the application within a request, then 504, and the process is replaced; off: no " \
      "limit.")                                                                                              \
    X("FcgiTimeout", "firstbyte", DURATION, firstbyte_us, 0, 86400 * FCGIPM_S, "off", NULL,                  \
      "firstbyte=time", 1,                                                                                   \
      "Longest wait for the first byte of the answer, then 504, and the process is replaced; off: read= "    \
      "holds here, too. For applications that think long and then stream.")                                  \
    X("FcgiTimeout", "request", DURATION, request_us, 0, 604800 * FCGIPM_S, "300s", NULL, "request=time", 1, \
      "The whole request, from the first byte sent to the application on, then 504; off: no limit.")         \
    X("FcgiTimeout", "idle", DURATION, idle_us, 0, 604800 * FCGIPM_S, "5m", NULL, "idle=time", 1,            \
      "A process above min that had nothing to do for so long ends; off: never.")                            \
    X("FcgiTimeout", "stop", DURATION, stop_us, 0, 600 * FCGIPM_S, "10s", NULL, "stop=time", 1,              \
      "From TERM to KILL when a process is stopped, for its whole process group; 0: KILL follows at once. "  \
      "One whose request hung has 2 seconds at most.")                                                       \
    X("FcgiHeadLimit", NULL, SIZE, head_bytes, 1 * FCGIPM_K, 1 * FCGIPM_M, "64K", NULL, "size", 1,           \
      "Largest head of an answer (status and header fields together); a larger one is 502.")                 \
    X("FcgiRequestBuffer", "memory", SIZE, body_memory_bytes, 0, 16 * FCGIPM_M, "64K", NULL, "memory=size",  \
      1,                                                                                                     \
      "A request body is read whole before a process is taken, so that a slow upload holds none: in memory " \
      "up to this size, beyond it in a temporary file that has no name. How large it may be at all is "      \
      "httpd's LimitRequestBody.")                                                                           \
    X("FcgiRequestBuffering", NULL, CHOICE, body_streams, 0, 1, "On", "On|Off", "On | Off", 1,               \
      "On: as FcgiRequestBuffer says. Off: the body goes to the application as it comes, and the answer "    \
      "comes back meanwhile, for uploads that are shown as they go or that never end; a slow client then "   \
      "holds a process, a request is not tried again on another process once the body has begun, and one "   \
      "whose length is not known has no CONTENT_LENGTH (PHP then sees no body at all).")                     \
    X("FcgiResponseBuffer", "memory", SIZE, reply_memory_bytes, 0, 1024 * FCGIPM_M, "256K", NULL,            \
      "memory=size", 1,                                                                                      \
      "An answer is taken from the process as fast as that writes it, so that a slow reader holds none: "    \
      "what the client has not taken yet is kept in memory up to this size, beyond it in a temporary file "  \
      "that has no name. How much memory all of them use together is FcgiResponseMemory.")                   \
    X("FcgiResponseBuffer", "file", SIZE, reply_file_bytes, 0, 1024 * 1024 * FCGIPM_M, "1G", NULL,           \
      "file=size", 1,                                                                                        \
      "Largest temporary file of one answer; beyond it the process waits for the client, so a small one "    \
      "lets "                                                                                                \
      "slow readers hold processes. 0: no file.")                                                            \
    X("FcgiSendfile", NULL, LIST, sendfile, 0, 0, NULL, NULL, "/directory ...", 0,                           \
      "Directories whose files the application may have sent by httpd in place of a body of its own: it "    \
      "answers with X-Sendfile (or X-Lighttpd-Send-File) and the file's full path, or X-Accel-Redirect (or " \
      "X-LiteSpeed-Location) and a path of this server. The file's real place, all symbolic links "          \
      "followed, must be below one of them, httpd's own rules (Require and the like) must allow it, and "    \
      "its "                                                                                                 \
      "User be able to read it; otherwise it is 502. A directory that is itself a link is looked up when "   \
      "the configuration is read. A change replaces no process. Without it these fields mean nothing and "   \
      "go to the client as any other. See conf/OPERATING.md.")                                               \
    X("FcgiRecycle", "requests", COUNT, recycle_requests, 0, 1000000000, "0", NULL, "requests=number", 1,    \
      "A process is replaced after so many requests, give or take a tenth, so that not all go at once; 0: "  \
      "never. The next one is ready before the old one stops taking requests, and that one finishes what "   \
      "it has.")                                                                                             \
    X("FcgiRecycle", "lifetime", DURATION, recycle_age_us, 0, 31536000 * FCGIPM_S, "off", NULL,              \
      "lifetime=time", 1, "The same after this time.")                                                       \
    X("FcgiRecycle", "memory", SIZE, recycle_memory_bytes, 0, 1024 * 1024 * FCGIPM_M, "0", NULL,             \
      "memory=size", 1,                                                                                      \
      "The same when the process and all that it has forked use more memory than this; looked at every 10 "  \
      "seconds; 0: never.")                                                                                  \
    X("FcgiRecycle", "measure", CHOICE, recycle_measure, 0, 1, "PSS", "PSS|RSS", "measure=PSS|RSS", 1,       \
      "How memory= counts. PSS: memory shared with other processes counts in part, as it is. RSS: it "       \
      "counts "                                                                                              \
      "whole in each.")                                                                                      \
    X("FcgiReady", NULL, CHOICE, ready, 0, 2, "Auto", "Auto|Answer|Notify", "Auto | Answer | Notify", 1,     \
      "When a new process is ready for requests. Auto: when it takes a connection and reads from it. "       \
      "Answer: when it has answered FCGI_GET_VALUES, which php-cgi does and libfcgi does not. Notify: when " \
      "it says "                                                                                             \
      "READY=1 to NOTIFY_SOCKET, as with systemd. In each case also after FcgiProbe's request, if there is " \
      "one.")                                                                                                \
    X("FcgiProbe", NULL, STRING, probe, 0, 0, NULL, NULL, "[/path]", 1,                                      \
      "A request (GET) that a process must answer with a status below 500 before it gets any other, and "    \
      "with every= again whenever it is idle. Without a path the question is FCGI_GET_VALUES and any sign "  \
      "of life is an answer.")                                                                               \
    X("FcgiProbe", "every", DURATION, probe_every_us, 0, 86400 * FCGIPM_S, "off", NULL, "every=time", 1,     \
      "Idle processes are asked so often; one that does not answer is replaced. A process that somebody "    \
      "has stopped (SIGSTOP) is found without it, within a minute.")                                         \
    X("FcgiProbe", "timeout", DURATION, probe_timeout_us, 10 * FCGIPM_MS, 600 * FCGIPM_S, "5s", NULL,        \
      "timeout=time", 1, "How long an idle process may take to answer.")                                     \
    X("FcgiWatch", NULL, LIST, watch, 0, 0, NULL, NULL, "/path ... | Command", 1,                            \
      "When one of these files changes or appears, such as a restart.txt that a deployment touches, the "    \
      "processes are replaced one by one, without a lost request; if the new ones do not start, the old "    \
      "ones stay. Command: the program's own file. Looked at every second or two. `fcgipmctl restart NAME` " \
      "does the same by hand.")                                                                              \
    X("FcgiSlowLog", NULL, DURATION, slow_us, 0, 86400 * FCGIPM_S, "off", NULL, "time", 1,                   \
      "A request that takes longer than this gets an entry in the error log while it runs: pool, pid, URL, " \
      "time, and what the process is doing (state, wait channel, system call). One that is about to be "     \
      "killed for a timeout gets it, too.")                                                                  \
    X("FcgiSlowLog", NULL, LIST, slow_command, 0, 0, NULL, NULL, "[command [argument ...]]", 1,              \
      "A program whose output is added, such as a stack dumper; the process id is its last argument. It "    \
      "runs as the application's user, for at most 5 seconds.")                                              \
    X("FcgiCgroupLimit", "memory.max", SIZE, cgroup.memory_max, 0, 1024 * 1024 * FCGIPM_M, "0", NULL,        \
      "memory.max=size", 1,                                                                                  \
      "Most memory of all processes of the block together, with what they forked and what they have of "     \
      "the file cache; beyond it the kernel kills the largest, and the log, the status page and fcgipmctl "  \
      "say so. 0: no limit. The keys are cgroup v2's own. They need FcgiCgroup and the named controller "    \
      "there; where "                                                                                        \
      "that is missing a warning says so and they do not hold.")                                             \
    X("FcgiCgroupLimit", "memory.high", SIZE, cgroup.memory_high, 0, 1024 * 1024 * FCGIPM_M, "0", NULL,      \
      "memory.high=size", 1,                                                                                 \
      "Beyond it they are slowed down and their memory is taken back, but none is killed.")                  \
    X("FcgiCgroupLimit", "cpu.max", PERCENT, cgroup.cpu_percent, 0, 100000, "0%", NULL, "cpu.max=percent",   \
      1, "Most CPU time of all of them together, in percent of one CPU: 150% is one and a half.")            \
    X("FcgiCgroupLimit", "cpu.weight", COUNT, cgroup.cpu_weight, 0, 10000, "0", NULL, "cpu.weight=number",   \
      1, "Their share of the CPU when there is not enough for all blocks of the user; others have 100.")     \
    X("FcgiCgroupLimit", "pids.max", COUNT, cgroup.pids_max, 0, 4000000, "0", NULL, "pids.max=number", 1,    \
      "Most processes and threads of all of them together; beyond it fork fails.")                           \
    X("FcgiCgroupLimit", "io.weight", COUNT, cgroup.io_weight, 0, 10000, "0", NULL, "io.weight=number", 1,   \
      "Their share of the disks, as cpu.weight; it takes a disk scheduler that knows it (bfq, io.cost).")

/* Keys of FcgiUserLimit: key, kind, member of fcgipm_group_limit_t, min, max, syntax. */
#define FCGIPM_USER_LIMITS(X)                                                                                \
    X("memory", SIZE, memory_max, 0, 1024 * 1024 * FCGIPM_M, "memory=size")                                  \
    X("cpu", PERCENT, cpu_percent, 0, 100000, "cpu=percent")                                                 \
    X("pids", COUNT, pids_max, 0, 4000000, "pids=number")

/* What is said once for the whole server: directive, kind, member, min, max, default, words, syntax, doc. */
#define FCGIPM_GLOBALS(X)                                                                                    \
    X("FcgiMaxWorkers", COUNT, max_workers, 0, 14000, "0", NULL, "number",                                   \
      "Most processes of all applications together; 0: no limit but their own. When one more is needed, "    \
      "the "                                                                                                 \
      "idle process that was used longest ago ends for it, whichever application it belongs to; if all are " \
      "busy, requests wait. A process that is being replaced and its successor count as one.")               \
    X("FcgiMemoryBudget", SIZE, memory_bytes, 0, 1024 * 1024 * FCGIPM_M, "0", NULL, "size",                  \
      "Memory (PSS) for all processes of all applications together, looked at every 10 seconds; 0: no "      \
      "limit. While more is used, idle processes end, the one used longest ago first, and no further ones "  \
      "start for an application that has one.")                                                              \
    X("FcgiUserWorkers", COUNT, user_workers, 0, 14000, "0", NULL, "number",                                 \
      "Most processes of all applications of one user together (FcgiUser, or what a template finds), "       \
      "whatever pools they are in; 0: no limit. When one more is needed, his own idle process that was "     \
      "used longest ago ends for it; if all are busy, his requests wait. A process that is being replaced "  \
      "and its successor "                                                                                   \
      "count as one.")                                                                                       \
    X("FcgiUserMemory", SIZE, user_memory_bytes, 0, 1024 * 1024 * FCGIPM_M, "0", NULL, "size",               \
      "The same as FcgiMemoryBudget for all processes of one user together (FcgiUser, or what a template "   \
      "finds), whatever pools they are in: while they use more, idle ones of his end. Nobody stops what is " \
      "busy: FcgiUserLimit memory= and FcgiLimit memory= do.")                                               \
    X("FcgiDemandPools", COUNT, demand_pools, 1, 6400, "6400", NULL, "number",                               \
      "Most pools at a time that were made on demand (<FcgiServerTemplate>, fcgipm-script); one customer "   \
      "has seven eighths of them at most. A customer is a user, or with FcgiUserFrom Server a virtual "      \
      "host; programs of fcgipm-script are counted for the owner of their directory. When one more is "      \
      "needed, one that does nothing goes: of the customer who has most, that which was used longest ago, "  \
      "but nobody loses one that he has used in the last 30 seconds to somebody who has as many. Until "     \
      "there is room requests wait, at most 10 seconds, then 503; without a thread (FcgiAsync), or else "    \
      "in half of httpd's threads at most. By itself a pool goes when its last process was idle for "        \
      "FcgiTimeout idle=.")                                                                                  \
    X("FcgiUserQueue", COUNT, user_queue, 0, 100000, "0", NULL, "number",                                    \
      "Most requests that may wait for processes of all applications of one user together (FcgiUser, or "    \
      "what a template finds), beside FcgiQueue length= of each; further ones get 503 at once. 0: no "       \
      "limit.")                                                                                              \
    X("FcgiUserThreads", COUNT, user_threads, 0, 100000, "Auto", NULL, "number",                             \
      "Most of httpd's threads that requests to all applications of one user (FcgiUser, or what a template " \
      "finds) may hold together; beyond it they get 503 at once. Auto: three quarters of httpd's "           \
      "MaxRequestWorkers.")                                                                                  \
    X("FcgiMinUid", COUNT, min_uid, 1, 4294967294, "100", NULL, "number",                                    \
      "No application runs as a user with a lower uid, so that a mistake in a block gives nobody the "       \
      "rights of a system account; httpd's own User is always allowed. Never 0.")                            \
    X("FcgiMinGid", COUNT, min_gid, 1, 4294967294, "100", NULL, "number",                                    \
      "The same for the gid of its group. A user who is in root's group (0) is refused as well.")            \
    X("FcgiResponseMemory", SIZE, reply_memory_bytes, 0, 1024 * 1024 * FCGIPM_M, "64M", NULL, "size",        \
      "Memory for all answers that wait for slow clients, of all httpd children together (each has its "     \
      "share); what does not fit goes to temporary files at once. See FcgiResponseBuffer.")                  \
    X("FcgiAsync", CHOICE, async, 0, 2, "Auto", "Auto|On|Off", "Auto | On | Off",                            \
      "Whether requests that wait (for a process, for its answer, for the client's body, for a client that " \
      "reads slowly) give their thread back to httpd meanwhile. It takes the event MPM of httpd 2.4.63 or "  \
      "newer; elsewhere, and for HTTP/2, subrequests and error documents, they wait in their thread. Auto: " \
      "where it can. On: the same, with a warning at the start where it cannot. Off: never. See "            \
      "docs/performance.md for what to set in httpd.")

/* Directives that are no setting of a pool: name, scope, syntax, default, doc. */
#define FCGIPM_DIRECTIVES(X)                                                                                 \
    X("<FcgiServer>", "server config, virtual host", "<FcgiServer NAME> ... </FcgiServer>", "",              \
      "Describes an application and its processes. NAME is 1 to 63 letters, digits, dots, underscores or "   \
      "hyphens. A block in the main server can be named by every virtual host, and they share its "          \
      "processes; a block in a virtual host is private to it, and goes before one of the main server with "  \
      "the same name. Exactly one of FcgiCommand and FcgiConnect must be in it. A reload with a changed "    \
      "block starts the new processes before the old ones end; an unchanged block is not touched.")          \
    X("<FcgiServerTemplate>", "server config, virtual host",                                                 \
      "<FcgiServerTemplate NAME> ... </FcgiServerTemplate>", "",                                             \
      "As <FcgiServer>, for the applications of many users: nothing runs at first, and each user has a "     \
      "pool of his own when a request needs it, with processes that run as he. FcgiUserFrom says who he "    \
      "is; FcgiProcesses, FcgiTimeout and all else hold for each pool by itself, at most 14 processes. A "   \
      "pool goes when its last process was idle for FcgiTimeout idle= (off: not by itself), and nobody has " \
      "asked for five seconds; FcgiProcesses min are kept only until then. In FcgiCommand, FcgiDirectory, "  \
      "FcgiEnv and FcgiWatch %{user} is the user's name. In "                                                \
      "logs and fcgipmctl the pool of alice is NAME:alice. FcgiUser, FcgiSuexec and FcgiConnect do not "     \
      "belong in it.")                                                                                       \
    X("FcgiPass", "location, directory", "FcgiPass NAME [prefix=/path] | None", "",                          \
      "The application that answers here. In <Location \"/blog\"> SCRIPT_NAME is /blog and PATH_INFO the "   \
      "rest, and no file is looked for; in a pattern (LocationMatch, or a Location with ~, * or ?) say "     \
      "prefix=/path, as the pattern does not tell. Elsewhere (Directory, Files, FilesMatch) the file that "  \
      "httpd finds is the script, and one that is missing is 404. None takes a part of a larger place out "  \
      "again. SetHandler fcgipm:NAME is the same. In .htaccess (AllowOverride FileInfo) only names that "    \
      "the "                                                                                                 \
      "server's configuration opens there, with FcgiAllowPass or FcgiPass itself, are answered; others are " \
      "403.")                                                                                                \
    X("FcgiAllowPass", "location, directory", "FcgiAllowPass NAME ...", "",                                  \
      "Applications that .htaccess files from here on down may choose, with FcgiPass NAME or SetHandler "    \
      "fcgipm:NAME.")                                                                                        \
    X("FcgiAllowWrapper", "server config, virtual host",                                                     \
      "FcgiAllowWrapper \"command [argument ...]\" "                                                         \
      "[TEMPLATE]",                                                                                          \
      "",                                                                                                    \
      "A command that FcgiWrapper may name, here and in .htaccess. Its pools are as those of the "           \
      "<FcgiServerTemplate>, which stands above, but for FcgiCommand, and each user has one in each "        \
      "virtual "                                                                                             \
      "host. Without a template everything is the default, and the processes run as httpd's User.")          \
    X("FcgiWrapper", "server config, virtual host, directory, .htaccess (FileInfo)",                         \
      "FcgiWrapper \"command [argument ...]\" [.extension ...] [virtual]", "",                               \
      "Files with one of these endings (without any: all) are answered by this command, which "              \
      "FcgiAllowWrapper must allow, word for word. Needs Options ExecCGI. virtual: the file need not be "    \
      "there. SetHandler, FcgiPass or FcgiPass None further inside ends it, and so does one in the "         \
      "server's <Files> or <FilesMatch>, which httpd takes after .htaccess: there write it in <Files>, "     \
      "too. With FcgiCompat On, outside of .htaccess, this is so where FcgiAllowWrapper above it allows "    \
      "the command; with another command FcgiWrapper is the old name of FcgidWrapper.")                      \
    X("FcgiPassEnv", "FcgiServer block", "FcgiPassEnv NAME ...", "",                                         \
      "Variables of httpd's own environment that the processes get, with the values they have when the "     \
      "configuration is read. One that is not set is skipped with a warning.")                               \
    X("FcgiCompat", "server config", "FcgiCompat On | Off", "Off",                                           \
      "On: the directives and handlers of mod_fcgid and mod_fastcgi are understood, without those modules: " \
      "FcgidWrapper, FastCgiServer and FastCgiExternalServer become applications of this module, with the "  \
      "settings that the others give them. What has no counterpart is said once in the error log, with "     \
      "what there is in its place. It goes before the first of them, and before <IfModule mod_fcgid.c>, "    \
      "which is true from here on. Not together with mod_fcgid or mod_fastcgi. docs/migrate.md has the "     \
      "tables; fcgipm-migrate writes the same as native directives.")                                        \
    X("FcgiCgroup", "server config", "FcgiCgroup Auto | On | Off | /path", "Auto",                           \
      "Control groups (cgroup v2): each process gets a group of its own below one of its user and one of "   \
      "its block, so that all that it has forked ends with it, wherever that hides, and so that "            \
      "FcgiCgroupLimit and FcgiUserLimit can hold. On: below the group in which httpd runs. /path: below "   \
      "that group, which must be there. Auto: as On, where systemd has delegated that group "                \
      "(Delegate=yes), or where there is no systemd and the group is not the hierarchy's root; else as "     \
      "Off, which a line at info level says. With On or a path configtest fails where it cannot be, and at " \
      "a start that is an error in the log and httpd goes on without. Needs httpd to be started as root "    \
      "and "                                                                                                 \
      "Linux 5.14. A change takes a stop and a start. See conf/OPERATING.md.")                               \
    X("FcgiUserLimit", "server config", "FcgiUserLimit USER | * [memory=size] [cpu=percent] [pids=number]",  \
      "",                                                                                                    \
      "Limits for all processes of one FcgiUser together, whatever their block, as memory.max, cpu.max "     \
      "and pids.max of FcgiCgroupLimit; may be repeated. *: for each user that has none of his own. A "      \
      "reload changes them for running processes, too.")                                                     \
    X("FcgiRuntimeDir", "server config", "FcgiRuntimeDir DIR", "fcgipm in httpd's runtime directory",        \
      "Sockets and state; made if missing, and refused if others can write there. At most 80 bytes. A "      \
      "relative path starts at httpd's runtime directory.")
#endif
