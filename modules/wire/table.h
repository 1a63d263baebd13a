/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FCGIPM_WIRE_TABLE_H
#define FCGIPM_WIRE_TABLE_H
/*
 * What: the numbers of FastCGI 1.0 (§8), one row each: name, value, sentence. Enums, printers and manual
 * pages come from these rows, so that they cannot disagree.
 * Who calls: anyone.
 */

/* clang-format off */
#define FCGIPM_TYPE_TABLE(X)                                                                   \
    X(BEGIN_REQUEST,      1, "server: a request starts, with role and flags")                  \
    X(ABORT_REQUEST,      2, "server: the client has gone, end soon")                          \
    X(END_REQUEST,        3, "application: the request is over, with both statuses")           \
    X(PARAMS,             4, "server, stream: name-value pairs, the CGI environment")          \
    X(STDIN,              5, "server, stream: the request body")                               \
    X(STDOUT,             6, "application, stream: the answer, CGI head and body")             \
    X(STDERR,             7, "application, stream: text for the log")                          \
    X(DATA,               8, "server, stream: the file that a filter works on")                \
    X(GET_VALUES,         9, "server, management: asks for the limits of the application")     \
    X(GET_VALUES_RESULT, 10, "application, management: the limits that it knows")              \
    X(UNKNOWN_TYPE,      11, "application, management: the type sent to it is not known")

#define FCGIPM_ROLE_TABLE(X)                                                                   \
    X(RESPONDER,  1, "makes the answer, as a CGI program does")                                \
    X(AUTHORIZER, 2, "decides if the request may go on")                                       \
    X(FILTER,     3, "makes the answer from a file sent along")

#define FCGIPM_STATUS_TABLE(X)                                                                 \
    X(REQUEST_COMPLETE, 0, "the request was carried out")                                      \
    X(CANT_MPX_CONN,    1, "refused: one request at a time on a connection")                   \
    X(OVERLOADED,       2, "refused: the application has run out of something")                \
    X(UNKNOWN_ROLE,     3, "refused: the application does not play this role")
/* clang-format on */

#define FCGIPM_TYPE_ROW(name, value, doc)   FCGIPM_TYPE_##name = (value),
#define FCGIPM_ROLE_ROW(name, value, doc)   FCGIPM_ROLE_##name = (value),
#define FCGIPM_STATUS_ROW(name, value, doc) FCGIPM_STATUS_##name = (value),

typedef enum fcgipm_type { FCGIPM_TYPE_TABLE(FCGIPM_TYPE_ROW) } fcgipm_type_t;
typedef enum fcgipm_role { FCGIPM_ROLE_TABLE(FCGIPM_ROLE_ROW) } fcgipm_role_t;
typedef enum fcgipm_status { FCGIPM_STATUS_TABLE(FCGIPM_STATUS_ROW) } fcgipm_status_t;

#undef FCGIPM_TYPE_ROW
#undef FCGIPM_ROLE_ROW
#undef FCGIPM_STATUS_ROW

/* Flag of BEGIN_REQUEST (§5.1): the application leaves the connection open after END_REQUEST. */
#define FCGIPM_KEEP_CONN 1

/* The row's name, "?" for a number that has no row. */
const char *fcgipm_type_str(unsigned type);
const char *fcgipm_role_str(unsigned role);
const char *fcgipm_status_str(unsigned status);
#endif
