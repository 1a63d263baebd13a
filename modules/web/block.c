/* SPDX-License-Identifier: Apache-2.0 */
#include "web/block.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <apr_lib.h>
#include <apr_strings.h>
#include <http_core.h>
#include <http_log.h>

#include "share/demand.h"
#include "web/directive.h"

APLOG_USE_MODULE(fcgipm);

static fcgipm_setting_t *current; /* of the block that is being read, NULL: none is */
static const char *current_block; /* "<FcgiServer blog" */

static bool name_ok(const char *name)
{
    size_t len = strlen(name);

    return len > 0 && len < 64 &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

/* Letters that differ, are missing or too many; case does not count. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[32], before, left;
    size_t len = strlen(b);

    if (len >= sizeof row / sizeof *row)
        return UINT_MAX;
    for (size_t j = 0; j <= len; j++)
        row[j] = (unsigned)j;
    for (; *a; a++) {
        before = row[0]++;
        for (size_t j = 1; j <= len; j++) {
            left = row[j - 1] < row[j] ? row[j - 1] : row[j];
            before += apr_tolower(*a) != apr_tolower(b[j - 1]);
            left = left + 1 < before ? left + 1 : before;
            before = row[j];
            row[j] = left;
        }
    }
    return row[len];
}

/* The directive for blocks that `wrong` was meant to be, or NULL. */
static const char *nearest(const char *wrong)
{
    const char *found = NULL;
    unsigned best = 4, d;

    for (unsigned i = 0; i < fcgipm_setting_row_count; i++)
        if ((d = distance(wrong, fcgipm_setting_rows[i].directive)) < best) {
            best = d;
            found = fcgipm_setting_rows[i].directive;
        }
    return found;
}

/* httpd would take any directive of its own in here, and do something that nobody meant; and of a name that
 * it does not know it says no more than that. */
static const char *check_inside(cmd_parms *cmd, const char *kind, const char *name)
{
    for (const ap_directive_t *d = cmd->directive->first_child; d; d = d->next) {
        const char *meant = fcgipm_directive_listed(d->directive) ? NULL : nearest(d->directive);

        if (meant || strncasecmp(d->directive, "Fcgi", 4))
            cmd->err_directive = d;
        if (meant)
            return apr_psprintf(cmd->pool, "%s: there is no such directive; write %s", d->directive, meant);
        if (strncasecmp(d->directive, "Fcgi", 4))
            return apr_psprintf(cmd->pool,
                                "%s %s: not allowed in %s %s>, which describes an application; only "
                                "directives that begin with Fcgi are",
                                d->directive, d->args, kind, name);
    }
    return NULL;
}

/* The block is read. What a template needs, and what it must not have, the other kind must not, and needs. */
const char *fcgipm_block_check(cmd_parms *cmd, const fcgipm_setting_t *setting, bool template)
{
    const char *fault;

    if (template && !setting->user_from)
        return "FcgiUserFrom is missing; write whom the processes run as: FcgiUserFrom Owner below=/path, "
               "SuexecUserGroup, Path /path/%{user}, or Server";
    if (!template && setting->user_from)
        return "FcgiUserFrom belongs in <FcgiServerTemplate>; write FcgiUser here";
    if ((fault = fcgipm_setting_check(setting, cmd->pool)))
        return fault;
    return template ? fcgipm_demand_fits(setting, cmd->pool) : NULL;
}

const char *fcgipm_block_directive(cmd_parms *cmd, void *dir, const char *args)
{
    ap_directive_t *block = cmd->directive; /* (what is inside changes that, and the command) */
    const char *kind = cmd->cmd->name;
    bool template = !strcasecmp(kind, "<FcgiServerTemplate");
    const char *end = strrchr(args, '>');
    const char *name, *fault;
    fcgipm_setting_t *setting;

    (void)dir;
    if ((fault = ap_check_cmd_context(cmd, NOT_IN_DIR_CONTEXT)))
        return fault;
    if (!end)
        return apr_pstrcat(cmd->pool, cmd->cmd->name, "> directive missing closing '>'", NULL);
    if (current)
        return apr_psprintf(cmd->pool, "%s> cannot be inside %s>", cmd->cmd->name, current_block);
    args = apr_pstrmemdup(cmd->pool, args, (apr_size_t)(end - args));
    name = ap_getword_conf(cmd->pool, &args);
    if (!name_ok(name) || *args)
        return apr_psprintf(
            cmd->pool,
            "%s %s%s%s>: not a name; write one of 1 to 63 letters, digits, '.', '_' or '-', such as "
            "%s blog>",
            cmd->cmd->name, name, *args ? " " : "", args, cmd->cmd->name);
    if ((fault = check_inside(cmd, cmd->cmd->name, name)))
        return fault;
    setting = apr_pcalloc(cmd->pool, sizeof *setting);
    fcgipm_setting_defaults(setting, cmd->pool);
    setting->name = name;
    setting->vhost = fcgipm_directive_vhost(cmd->pool, cmd->server);
    current = setting;
    current_block = apr_pstrcat(cmd->pool, cmd->cmd->name, " ", name, NULL);
    fault = ap_walk_config(block->first_child, cmd, cmd->context);
    current = NULL;
    if (fault)
        return fault;
    cmd->directive = block;
    fcgipm_setting_finish(setting);
    if ((fault = fcgipm_block_check(cmd, setting, template))) {
        cmd->err_directive = fcgipm_directive_line(block, fault);
        return apr_psprintf(cmd->pool, "%s %s>: %s", kind, name, fault);
    }
    if ((fault = fcgipm_directive_add(cmd->pool, cmd->server, setting, fcgipm_directive_place(cmd))))
        return fault;
    fcgipm_directive_pool(cmd->server, name)->block = block;
    return NULL;
}

/* httpd would say that some module may not be loaded. */
const char *fcgipm_block_needed(cmd_parms *cmd, void *dir, const char *args)
{
    (void)dir;
    return apr_psprintf(cmd->pool, "%s %s: a block; write <%s %s>, its directives, and </%s>", cmd->cmd->name,
                        args, cmd->cmd->name, args, cmd->cmd->name);
}

static const char *syntax_of(apr_pool_t *pool, const char *directive)
{
    const char *text = directive;

    for (unsigned i = 0; i < fcgipm_setting_row_count; i++)
        if (!strcasecmp(fcgipm_setting_rows[i].directive, directive))
            text = apr_pstrcat(pool, text, " ", fcgipm_setting_rows[i].syntax, NULL);
    return text;
}

static const char *wrong_count(cmd_parms *cmd)
{
    return apr_psprintf(cmd->pool, "wrong arguments; write: %s", syntax_of(cmd->pool, cmd->cmd->name));
}

/* FcgiEnv NAME [VALUE], as httpd's SetEnv. */
static const char *env_directive(cmd_parms *cmd, const char *args)
{
    const char *name = ap_getword_conf(cmd->pool, &args);
    const char *value = ap_getword_conf(cmd->pool, &args);

    if (!*name || *args)
        return wrong_count(cmd);
    if (strchr(name, '='))
        return apr_psprintf(cmd->pool, "FcgiEnv %s: a name has no '='; write: FcgiEnv NAME value", name);
    return fcgipm_setting_parse(current, fcgipm_directive_row("FcgiEnv", NULL, 0),
                                apr_pstrcat(cmd->pool, name, "=", value, NULL), cmd->pool);
}

/* FcgiPassEnv NAME ...: resolved now, so that a change of httpd's own environment is a change of the pool. */
static const char *pass_env_directive(cmd_parms *cmd, const char *args)
{
    const char *fault = NULL;

    if (!*args)
        return wrong_count(cmd);
    while (*args && !fault) {
        const char *name = ap_getword_conf(cmd->pool, &args);
        const char *value = getenv(name);

        if (!value)
            ap_log_error(APLOG_MARK, APLOG_WARNING | APLOG_NOERRNO, 0, cmd->server,
                         "FPM0660: %s: FcgiPassEnv %s: httpd has no such variable in its environment",
                         fcgipm_directive_place(cmd), name);
        else
            fault = fcgipm_setting_parse(current, fcgipm_directive_row("FcgiEnv", NULL, 0),
                                         apr_pstrcat(cmd->pool, name, "=", value, NULL), cmd->pool);
    }
    return fault;
}

/* FcgiCommand PROGRAM ARGUMENT ...: words as httpd reads them (quotes, backslash); no shell. */
static const char *command_directive(cmd_parms *cmd, const char *args)
{
    const fcgipm_setting_row_t *row = fcgipm_directive_row("FcgiCommand", NULL, 0);
    const char *word = ap_getword_conf(cmd->pool, &args);
    const char *fault;

    if (!*word)
        return wrong_count(cmd);
    if (current->command && current->command->nelts)
        return "FcgiCommand is given twice in this block; keep one";
    fault = fcgipm_setting_parse(current, row, ap_server_root_relative(cmd->pool, word), cmd->pool);
    while (*args && !fault)
        fault = fcgipm_setting_parse(current, row, ap_getword_conf(cmd->pool, &args), cmd->pool);
    return fault;
}

/* FcgiSendfile DIRECTORY ...: where it is now. Who can write there later cannot make it another place. */
static const char *sendfile_directive(cmd_parms *cmd, const char *args)
{
    const char *fault = NULL;

    if (!*args)
        return wrong_count(cmd);
    while (*args && !fault) {
        const char *word = ap_getword_conf(cmd->pool, &args);
        char real[PATH_MAX];

        fault = fcgipm_setting_parse(current, fcgipm_directive_row("FcgiSendfile", NULL, 0),
                                     word[0] == '/' && realpath(word, real) ? real : word, cmd->pool);
    }
    return fault;
}

/* key=value where the directive has such a key, else the next of its positions; a list takes all that follow.
 */
static const char *one_value(cmd_parms *cmd, const char *word, unsigned *position)
{
    const char *equals = strchr(word, '=');
    const fcgipm_setting_row_t *row = NULL;

    if (equals)
        row = fcgipm_directive_row(cmd->cmd->name,
                                   apr_pstrmemdup(cmd->pool, word, (apr_size_t)(equals - word)), 0);
    if (row)
        return fcgipm_setting_parse(current, row, equals + 1, cmd->pool);
    if (!fcgipm_directive_row(cmd->cmd->name, NULL, 0))
        return apr_psprintf(cmd->pool, "%s %s: not known; write: %s", cmd->cmd->name, word,
                            syntax_of(cmd->pool, cmd->cmd->name));
    row = fcgipm_directive_row(cmd->cmd->name, NULL, *position);
    if (!row && *position > 0 && (row = fcgipm_directive_row(cmd->cmd->name, NULL, --*position)) &&
        row->kind != FCGIPM_KIND_LIST)
        row = NULL;
    ++*position;
    return row ? fcgipm_setting_parse(current, row, word, cmd->pool) : wrong_count(cmd);
}

/* Every directive of the table that needs no more than its rows. */
static const char *table_directive(cmd_parms *cmd, const char *args)
{
    unsigned position = 0;
    const char *word = NULL, *fault = NULL;

    if (!*args)
        return wrong_count(cmd);
    while (*args && !fault)
        fault = one_value(cmd, word = ap_getword_conf(cmd->pool, &args), &position);
    /* One number is both: a fixed size. */
    if (!fault && position == 1 && !strcasecmp(cmd->cmd->name, "FcgiProcesses"))
        fault = one_value(cmd, word, &position);
    return fault;
}

/* httpd has no comments behind a directive; without this they would be arguments of the program. */
static const char *comment_in(cmd_parms *cmd, const char *args)
{
    while (*args) {
        if (*args == '#')
            return apr_psprintf(cmd->pool,
                                "%s ... %s: a comment needs a line of its own; an argument that begins with "
                                "# is written in quotes",
                                cmd->cmd->name, args);
        ap_getword_conf(cmd->temp_pool, &args);
    }
    return NULL;
}

const char *fcgipm_block_value(cmd_parms *cmd, void *dir, const char *args)
{
    const char *name = cmd->cmd->name, *fault;

    (void)dir;
    if (!current)
        return apr_psprintf(cmd->pool, "%s belongs inside a <FcgiServer NAME> block", name);
    if ((fault = comment_in(cmd, args)))
        return fault;
    if (!strcasecmp(name, "FcgiEnv"))
        return env_directive(cmd, args);
    if (!strcasecmp(name, "FcgiPassEnv"))
        return pass_env_directive(cmd, args);
    if (!strcasecmp(name, "FcgiCommand"))
        return command_directive(cmd, args);
    if (!strcasecmp(name, "FcgiSendfile"))
        return sendfile_directive(cmd, args);
    return table_directive(cmd, args);
}

const char *fcgipm_block_outside(const cmd_parms *cmd)
{
    return current ? apr_psprintf(cmd->pool, "%s holds for the whole server; write it outside of %s>",
                                  cmd->cmd->name, current_block)
                   : NULL;
}
