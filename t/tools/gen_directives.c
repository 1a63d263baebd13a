/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints conf/DIRECTIVES.md from core/setting_table.h: gen_directives >conf/DIRECTIVES.md. Linked with
 * modules/core only; t/03-docs.t builds it and compares.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "core/setting.h"
#include "core/setting_table.h"

#define BLOCK "FcgiServer block"

typedef struct plain {
    const char *name, *scope, *syntax, *value, *doc;
} plain_t;

static const plain_t plain_directives[] = {
#define X(name_, scope_, syntax_, value_, doc_)                                                              \
    {.name = name_, .scope = scope_, .syntax = syntax_, .value = value_, .doc = doc_},
    FCGIPM_DIRECTIVES(X)
#undef X
#define X(name_, kind_, member_, min_, max_, value_, words_, syntax_, doc_)                                  \
    {.name = name_, .scope = "server config", .syntax = name_ " " syntax_, .value = value_, .doc = doc_},
        FCGIPM_GLOBALS(X)
#undef X
};
static const size_t plain_count = sizeof plain_directives / sizeof *plain_directives;

typedef struct unit {
    const char *name;
    int64_t factor;
} unit_t;

static const unit_t times[] = {{"d", 86400 * FCGIPM_S}, {"h", 3600 * FCGIPM_S}, {"m", 60 * FCGIPM_S},
                               {"s", FCGIPM_S},         {"ms", FCGIPM_MS},      {"us", 1}};
static const unit_t sizes[] = {{"M", FCGIPM_M}, {"K", FCGIPM_K}, {"", 1}};

static const char *const kind_names[] = {
    [FCGIPM_KIND_COUNT] = "whole number", [FCGIPM_KIND_DURATION] = "time",
    [FCGIPM_KIND_SIZE] = "size",          [FCGIPM_KIND_PERCENT] = "percent",
    [FCGIPM_KIND_OCTAL] = "octal number", [FCGIPM_KIND_INTEGER] = "whole number",
    [FCGIPM_KIND_CHOICE] = "one word",    [FCGIPM_KIND_STRING] = "text",
    [FCGIPM_KIND_ADDRESS] = "address",    [FCGIPM_KIND_LIST] = "words",
};

/* Markdown: a bar would end the cell, and < begin a tag. */
static void put_escaped(const char *text)
{
    for (; *text; text++) {
        if (strchr("|<>*_", *text))
            putchar('\\');
        putchar(*text);
    }
}

static void put_code(const char *text, bool cell)
{
    putchar('`');
    for (; *text; text++) {
        if (cell && *text == '|')
            putchar('\\');
        putchar(*text);
    }
    putchar('`');
}

static void put_scaled(int64_t number, const unit_t *units)
{
    while (number % units->factor)
        units++;
    printf("%" PRId64 "%s", number / units->factor, units->name);
}

static void put_number(const fcgipm_setting_row_t *row, int64_t number)
{
    if (row->kind == FCGIPM_KIND_DURATION && number)
        put_scaled(number, times);
    else if (row->kind == FCGIPM_KIND_SIZE && number)
        put_scaled(number, sizes);
    else if (row->kind == FCGIPM_KIND_OCTAL)
        printf("%03" PRIo64, (uint64_t)number);
    else
        printf("%" PRId64, number);
}

static bool has_bounds(const fcgipm_setting_row_t *row)
{
    return row->kind <= FCGIPM_KIND_INTEGER;
}

static bool first_of_its_directive(unsigned i)
{
    return i == 0 || strcmp(fcgipm_setting_rows[i].directive, fcgipm_setting_rows[i - 1].directive) != 0;
}

static unsigned end_of_directive(unsigned i)
{
    do
        i++;
    while (i < fcgipm_setting_row_count && !first_of_its_directive(i));
    return i;
}

/* Keys may be given alone and in any order; a second word is optional. */
static void put_syntax(unsigned first, unsigned end)
{
    printf("`%s", fcgipm_setting_rows[first].directive);
    for (unsigned i = first; i < end; i++) {
        const fcgipm_setting_row_t *row = &fcgipm_setting_rows[i];
        bool optional = row->key ? end - first > 1 : i > first;

        printf(optional && row->syntax[0] != '[' ? " [%s]" : " %s", row->syntax);
    }
    putchar('`');
}

static void put_default(unsigned first, unsigned end)
{
    bool any = false;

    for (unsigned i = first; i < end; i++) {
        const fcgipm_setting_row_t *row = &fcgipm_setting_rows[i];

        if (!row->value)
            continue;
        printf("%s%s%s%s", any ? " " : "`", row->key ? row->key : "", row->key ? "=" : "", row->value);
        any = true;
    }
    fputs(any ? "`" : has_bounds(&fcgipm_setting_rows[first]) ? "see below" : "none", stdout);
}

static bool any_bounds(unsigned first, unsigned end)
{
    while (first < end)
        if (has_bounds(&fcgipm_setting_rows[first++]))
            return true;
    return false;
}

static void put_values(unsigned first, unsigned end)
{
    bool bounds = any_bounds(first, end);

    printf("\n| Value | Is | Default |%s Meaning |\n|---|---|---|%s---|\n", bounds ? " From | To |" : "",
           bounds ? "---|---|" : "");
    for (unsigned i = first; i < end; i++) {
        const fcgipm_setting_row_t *row = &fcgipm_setting_rows[i];

        fputs("| ", stdout);
        put_code(row->key ? row->key : row->syntax, true);
        printf(" | %s | %s%s%s | ", kind_names[row->kind], row->value ? "`" : "",
               row->value ? row->value : "none", row->value ? "`" : "");
        if (bounds) {
            put_number(row, row->min);
            fputs(" | ", stdout);
            put_number(row, row->max);
            fputs(" | ", stdout);
        }
        put_escaped(row->doc);
        puts(" |");
    }
}

static void put_one(const fcgipm_setting_row_t *row)
{
    if (has_bounds(row)) {
        printf("- Value: %s, from ", kind_names[row->kind]);
        put_number(row, row->min);
        fputs(" to ", stdout);
        put_number(row, row->max);
        putchar('\n');
    } else {
        printf("- Value: %s\n", kind_names[row->kind]);
    }
    putchar('\n');
    put_escaped(row->doc);
    putchar('\n');
}

static void put_setting(unsigned first)
{
    unsigned end = end_of_directive(first);

    printf("\n### %s\n\n- Syntax: ", fcgipm_setting_rows[first].directive);
    put_syntax(first, end);
    fputs("\n- Default: ", stdout);
    put_default(first, end);
    puts("\n- Context: " BLOCK);
    if (end - first > 1 || fcgipm_setting_rows[first].key)
        put_values(first, end);
    else
        put_one(&fcgipm_setting_rows[first]);
}

static void put_plain(const plain_t *d)
{
    fputs("\n### ", stdout);
    put_escaped(d->name);
    fputs("\n\n- Syntax: ", stdout);
    put_code(d->syntax, false);
    printf("\n- Default: %s\n- Context: %s\n\n", *d->value ? d->value : "none", d->scope);
    put_escaped(d->doc);
    putchar('\n');
}

/* What a directive's heading is called in a link: letters and digits in lower case. */
static void put_anchor(const char *name)
{
    fputs("](#", stdout);
    for (; *name; name++)
        if (!strchr("<>", *name))
            putchar(*name >= 'A' && *name <= 'Z' ? *name + 32 : *name);
    fputs(") | ", stdout);
}

static void put_handlers(void)
{
    puts("\n## Handlers\n\n"
         "| Handler | What it does |\n|---|---|\n"
         "| `fcgipm:NAME` | as `FcgiPass NAME`; the way for `AddHandler` and for `<If>` |\n"
         "| `fcgipm-script` | the file that httpd finds is itself the FastCGI program: started by its first "
         "request as httpd's User, with the defaults of all directives above and no process when idle; needs "
         "`Options ExecCGI`, and is refused (500, FPM0630) where SuexecUserGroup names another user |\n"
         "| `fcgipm-status` | the status page; `?json`, `?openmetrics` and `?auto` for programs; not from "
         ".htaccess |");
}

static void put_index(void)
{
    fputs("\n| Directive | Default | Context |\n|---|---|---|\n", stdout);
    for (size_t i = 0; i < plain_count; i++) {
        fputs("| [", stdout);
        put_escaped(plain_directives[i].name);
        put_anchor(plain_directives[i].name);
        printf("%s | %s |\n", *plain_directives[i].value ? plain_directives[i].value : "none",
               plain_directives[i].scope);
    }
    for (unsigned i = 0; i < fcgipm_setting_row_count; i = end_of_directive(i)) {
        printf("| [%s", fcgipm_setting_rows[i].directive);
        put_anchor(fcgipm_setting_rows[i].directive);
        put_default(i, end_of_directive(i));
        puts(" | " BLOCK " |");
    }
}

int main(void)
{
    puts("# Directives of mod_fcgipm\n\n"
         "Made from modules/core/setting_table.h by t/tools/gen_directives.c; not written by hand.\n\n"
         "- A **time** is a number with `ms`, `s`, `m`, `h` or `d`; without a unit it is seconds. `off` is "
         "0.\n"
         "- A **size** is a number of bytes, or one with `K`, `M` or `G` (1024 each).\n"
         "- A number or size whose default is `off` can be `off` again: then it is as httpd has it.\n"
         "- `FcgiServer block` is inside `<FcgiServer>` or `<FcgiServerTemplate>`.\n"
         "- A comment needs a line of its own, as everywhere in httpd's configuration.\n"
         "- A block that leaves a directive out has the default; nothing is inherited from another block.\n"
         "- `name=value` pairs may be given alone, in any order, and over several lines.\n"
         "- A value that is out of bounds is refused by `apachectl configtest`, with a sentence that says "
         "what is right.");
    put_index();
    puts("\n## Applications, and where they answer");
    for (size_t i = 0; i < plain_count; i++)
        if (strcmp(plain_directives[i].scope, BLOCK))
            put_plain(&plain_directives[i]);
    puts("\n## Inside \\<FcgiServer\\>");
    for (unsigned i = 0; i < fcgipm_setting_row_count; i = end_of_directive(i))
        put_setting(i);
    for (size_t i = 0; i < plain_count; i++)
        if (!strcmp(plain_directives[i].scope, BLOCK))
            put_plain(&plain_directives[i]);
    put_handlers();
    return fflush(stdout) || ferror(stdout);
}
