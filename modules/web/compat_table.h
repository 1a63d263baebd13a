/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WEB_COMPAT_TABLE_H
#define FCGIPM_WEB_COMPAT_TABLE_H
/*
 * What: what each directive and option of mod_fcgid and mod_fastcgi means to us. conf/fcgipm-migrate and
 * docs/migrate.md say the same (t/86-migrate.t compares the names).
 *
 *   X(name, kind, native directive, its key, nth of those without a key, text)
 *
 * kind: see legacy.c. text: an example of a value; or, where there is no counterpart or it is refused, what
 * is there in its place.
 */
#define NO_AUTH                                                                                              \
    "mod_fcgipm asks no application who may come in, and without it this place would be open; use "          \
    "mod_authnz_fcgi (AuthnzFcgiDefineProvider) with an authorizer that runs by itself, or httpd's Require"
#define NO_TUNING                                                                                            \
    "there is no counterpart, and none is needed: a process is started when a request waits, and failures "  \
    "are followed by growing delays (FcgiProcesses)"
#define NO_SCAN                                                                                              \
    "there is no counterpart, and none is needed: the manager learns of deaths and times when they happen"

#define NO_START    "there is no counterpart, and none is needed: a failed start is followed by growing delays"
#define NO_DYNAMIC  "there is no counterpart: programs that are run by their first request have the defaults"
#define OUR_SOCKETS "sockets are the module's own, in FcgiRuntimeDir, where no other user reaches them"

#define FCGIPM_COMPAT_DIRECTIVES(X)                                                                          \
    X("FcgidIOTimeout", VALUE, "FcgiTimeout", "read", 0, "40")                                               \
    X("FcgidBusyTimeout", VALUE, "FcgiTimeout", "request", 0, "300")                                         \
    X("FcgidIdleTimeout", VALUE, "FcgiTimeout", "idle", 0, "300")                                            \
    X("FcgidConnectTimeout", VALUE, "FcgiTimeout", "connect", 0, "3")                                        \
    X("FcgidMaxProcesses", GLOBAL, "FcgiMaxWorkers", NULL, 0, "1000")                                        \
    X("FcgidMaxProcessesPerClass", VALUE, "FcgiProcesses", NULL, 1, "8")                                     \
    X("FcgidMinProcessesPerClass", VALUE, "FcgiProcesses", NULL, 0, "1")                                     \
    X("FcgidMaxRequestsPerProcess", VALUE, "FcgiRecycle", "requests", 0, "500")                              \
    X("FcgidProcessLifeTime", VALUE, "FcgiRecycle", "lifetime", 0, "3600")                                   \
    X("FcgidMaxRequestInMem", VALUE, "FcgiRequestBuffer", "memory", 0, "65536")                              \
    X("FcgidMaxRequestLen", BODY, NULL, NULL, 0, "1073741824")                                               \
    X("FcgidInitialEnv", ENV, "FcgiEnv", NULL, 0, NULL)                                                      \
    X("FcgidPassHeader", HEADER, NULL, NULL, 0, NULL)                                                        \
    X("FcgidWrapper", WRAPPER, NULL, NULL, 0, NULL)                                                          \
    X("FcgidCmdOptions", COMMAND, NULL, NULL, 0, NULL)                                                       \
    X("FcgidOutputBufferSize", NONE, NULL, NULL, 0,                                                          \
      "there is no counterpart, and none is needed: an answer is sent on when the application pauses "       \
      "(FcgiResponseBuffer bounds what a slow client has not taken)")                                        \
    X("FcgidFixPathinfo", NONE, NULL, NULL, 0,                                                               \
      "there is no counterpart, and none is needed: SCRIPT_NAME and PATH_INFO are as httpd found them")      \
    X("FcgidIPCDir", NONE, NULL, NULL, 0, "sockets are in FcgiRuntimeDir, where no other user reaches them") \
    X("FcgidProcessTableFile", NONE, NULL, NULL, 0,                                                          \
      "there is no counterpart: the shared memory has no name, and FcgiRuntimeDir has the rest")             \
    X("FcgidSpawnScore", NONE, NULL, NULL, 0, NO_TUNING)                                                     \
    X("FcgidSpawnScoreUpLimit", NONE, NULL, NULL, 0, NO_TUNING)                                              \
    X("FcgidTerminationScore", NONE, NULL, NULL, 0, NO_TUNING)                                               \
    X("FcgidTimeScore", NONE, NULL, NULL, 0, NO_TUNING)                                                      \
    X("FcgidBusyScanInterval", NONE, NULL, NULL, 0, NO_SCAN)                                                 \
    X("FcgidErrorScanInterval", NONE, NULL, NULL, 0, NO_SCAN)                                                \
    X("FcgidIdleScanInterval", NONE, NULL, NULL, 0, NO_SCAN)                                                 \
    X("FcgidZombieScanInterval", NONE, NULL, NULL, 0, NO_SCAN)                                               \
    X("FcgidWin32PreventOrphans", NONE, NULL, NULL, 0,                                                       \
      "it is for Windows only; here a process and all that it has forked end together in any case")          \
    X("FcgidAccessChecker", REFUSED, NULL, NULL, 0, NO_AUTH)                                                 \
    X("FcgidAccessCheckerAuthoritative", REFUSED, NULL, NULL, 0, NO_AUTH)                                    \
    X("FcgidAuthenticator", REFUSED, NULL, NULL, 0, NO_AUTH)                                                 \
    X("FcgidAuthenticatorAuthoritative", REFUSED, NULL, NULL, 0, NO_AUTH)                                    \
    X("FcgidAuthorizer", REFUSED, NULL, NULL, 0, NO_AUTH)                                                    \
    X("FcgidAuthorizerAuthoritative", REFUSED, NULL, NULL, 0, NO_AUTH)                                       \
    X("FastCgiServer", SERVER, NULL, NULL, 0, NULL)                                                          \
    X("FastCgiExternalServer", EXTERNAL, NULL, NULL, 0, NULL)                                                \
    X("FastCgiConfig", DYNAMIC, NULL, NULL, 0, NULL)                                                         \
    X("FastCgiWrapper", SUEXEC, NULL, NULL, 0, NULL)                                                         \
    X("FastCgiIpcDir", IPC_DIR, NULL, NULL, 0,                                                               \
      "sockets are in FcgiRuntimeDir; only a relative -socket of FastCgiExternalServer still begins here")   \
    X("FastCgiAccessChecker", REFUSED, NULL, NULL, 0, NO_AUTH)                                               \
    X("FastCgiAccessCheckerAuthoritative", REFUSED, NULL, NULL, 0, NO_AUTH)                                  \
    X("FastCgiAuthenticator", REFUSED, NULL, NULL, 0, NO_AUTH)                                               \
    X("FastCgiAuthenticatorAuthoritative", REFUSED, NULL, NULL, 0, NO_AUTH)                                  \
    X("FastCgiAuthorizer", REFUSED, NULL, NULL, 0, NO_AUTH)                                                  \
    X("FastCgiAuthorizerAuthoritative", REFUSED, NULL, NULL, 0, NO_AUTH)

/* Options of FcgidCmdOptions. */
#define FCGIPM_COMPAT_COMMAND_OPTIONS(X)                                                                     \
    X("ConnectTimeout", VALUE, "FcgiTimeout", "connect", 0, "3")                                             \
    X("IdleTimeout", VALUE, "FcgiTimeout", "idle", 0, "300")                                                 \
    X("IOTimeout", VALUE, "FcgiTimeout", "read", 0, "40")                                                    \
    X("MaxProcesses", VALUE, "FcgiProcesses", NULL, 1, "8")                                                  \
    X("MinProcesses", VALUE, "FcgiProcesses", NULL, 0, "1")                                                  \
    X("MaxProcessLifeTime", VALUE, "FcgiRecycle", "lifetime", 0, "3600")                                     \
    X("MaxRequestsPerProcess", VALUE, "FcgiRecycle", "requests", 0, "500")                                   \
    X("InitialEnv", ENV, "FcgiEnv", NULL, 0, NULL)

/* Options of FastCgiServer, FastCgiExternalServer and FastCgiConfig: one table, as which of them may have it
 * does not matter for what it means. */
#define FCGIPM_COMPAT_SERVER_OPTIONS(X)                                                                      \
    X("-appConnTimeout", VALUE, "FcgiTimeout", "connect", 0, "5")                                            \
    X("-idle-timeout", VALUE, "FcgiTimeout", "read", 0, "30")                                                \
    X("-processes", VALUE, "FcgiProcesses", NULL, 1, "1")                                                    \
    X("-listen-queue-depth", VALUE, "FcgiQueue", "length", 0, "100")                                         \
    X("-initial-env", ENV, "FcgiEnv", NULL, 0, NULL)                                                         \
    X("-pass-header", HEADER, NULL, NULL, 0, NULL)                                                           \
    X("-user", USER, NULL, NULL, 0, NULL)                                                                    \
    X("-group", GROUP, NULL, NULL, 0, NULL)                                                                  \
    X("-host", HOST, NULL, NULL, 0, NULL)                                                                    \
    X("-socket", SOCKET, NULL, NULL, 0, OUR_SOCKETS)                                                         \
    X("-flush", SWITCH, NULL, NULL, 0, NULL)                                                                 \
    X("-port", NONE, NULL, NULL, 0, OUR_SOCKETS)                                                             \
    X("-nph", SWITCH, NULL, NULL, 0,                                                                         \
      "the head of an answer is read in any case; one that begins with HTTP/1.1 is understood")              \
    X("-priority", VALUE, "FcgiPriority", "nice", 0, "5")                                                    \
    X("-init-start-delay", NONE, NULL, NULL, 0, NO_START)                                                    \
    X("-restart-delay", NONE, NULL, NULL, 0, NO_START)                                                       \
    X("-min-server-life", NONE, NULL, NULL, 0, NO_START)                                                     \
    X("-autoUpdate", SWITCH, NULL, NULL, 0,                                                                  \
      "write a <FcgiServer> block with FcgiWatch Command for the program")                                   \
    X("-restart", SWITCH, NULL, NULL, 0, NULL)                                                               \
    X("-gainValue", NONE, NULL, NULL, 0, NO_DYNAMIC)                                                         \
    X("-killInterval", NONE, NULL, NULL, 0, NO_DYNAMIC)                                                      \
    X("-maxClassProcesses", NONE, NULL, NULL, 0, NO_DYNAMIC)                                                 \
    X("-maxProcesses", NONE, NULL, NULL, 0, NO_DYNAMIC)                                                      \
    X("-minProcesses", NONE, NULL, NULL, 0, NO_DYNAMIC)                                                      \
    X("-multiThreshold", NONE, NULL, NULL, 0, NO_DYNAMIC)                                                    \
    X("-singleThreshold", NONE, NULL, NULL, 0, NO_DYNAMIC)                                                   \
    X("-processSlack", NONE, NULL, NULL, 0, NO_DYNAMIC)                                                      \
    X("-startDelay", NONE, NULL, NULL, 0, NO_DYNAMIC)                                                        \
    X("-updateInterval", NONE, NULL, NULL, 0, NO_DYNAMIC)

/* Names of earlier versions, which both modules still take. */
#define FCGIPM_COMPAT_ALIASES(X)                                                                             \
    X("BusyScanInterval", "FcgidBusyScanInterval")                                                           \
    X("BusyTimeout", "FcgidBusyTimeout")                                                                     \
    X("DefaultInitEnv", "FcgidInitialEnv")                                                                   \
    X("DefaultMaxClassProcessCount", "FcgidMaxProcessesPerClass")                                            \
    X("DefaultMinClassProcessCount", "FcgidMinProcessesPerClass")                                            \
    X("ErrorScanInterval", "FcgidErrorScanInterval")                                                         \
    X("FCGIWrapper", "FcgidWrapper")                                                                         \
    X("IdleScanInterval", "FcgidIdleScanInterval")                                                           \
    X("IdleTimeout", "FcgidIdleTimeout")                                                                     \
    X("IPCCommTimeout", "FcgidIOTimeout")                                                                    \
    X("IPCConnectTimeout", "FcgidConnectTimeout")                                                            \
    X("MaxProcessCount", "FcgidMaxProcesses")                                                                \
    X("MaxRequestInMem", "FcgidMaxRequestInMem")                                                             \
    X("MaxRequestLen", "FcgidMaxRequestLen")                                                                 \
    X("MaxRequestsPerProcess", "FcgidMaxRequestsPerProcess")                                                 \
    X("OutputBufferSize", "FcgidOutputBufferSize")                                                           \
    X("PassHeader", "FcgidPassHeader")                                                                       \
    X("PHP_Fix_Pathinfo_Enable", "FcgidFixPathinfo")                                                         \
    X("ProcessLifeTime", "FcgidProcessLifeTime")                                                             \
    X("SharememPath", "FcgidProcessTableFile")                                                               \
    X("SocketPath", "FcgidIPCDir")                                                                           \
    X("SpawnScore", "FcgidSpawnScore")                                                                       \
    X("SpawnScoreUpLimit", "FcgidSpawnScoreUpLimit")                                                         \
    X("TerminationScore", "FcgidTerminationScore")                                                           \
    X("TimeScore", "FcgidTimeScore")                                                                         \
    X("ZombieScanInterval", "FcgidZombieScanInterval")                                                       \
    X("AppClass", "FastCgiServer")                                                                           \
    X("ExternalAppClass", "FastCgiExternalServer")                                                           \
    X("FCGIConfig", "FastCgiConfig")                                                                         \
    X("FastCgiSuexec", "FastCgiWrapper")
#endif
