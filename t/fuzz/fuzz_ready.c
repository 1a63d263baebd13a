/* SPDX-License-Identifier: Apache-2.0 */
/* What a process answers to the manager's questions (FcgiReady, FcgiProbe): first byte: bits 0-1 the kind of
 * question, bit 2 whether it hangs up then, bits 3-7 where the answer is cut in two. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/addr.h"
#include "pm/ready.h"

#include "fuzz_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int listener = -1;
static fcgipm_addr_t address;

static void set_up(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};

    snprintf(at.sun_path, sizeof at.sun_path, "/tmp/fcgipm-fuzz-%d", (int)getpid());
    unlink(at.sun_path);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 4) == 0);
    CHECK(fcgipm_addr_unix(&address, at.sun_path) == APR_SUCCESS);
}

static void clean_up(void)
{
    char path[64];

    snprintf(path, sizeof path, "/tmp/fcgipm-fuzz-%d", (int)getpid());
    unlink(path);
}

static fcgipm_ready_verdict_t look(fcgipm_question_t *question)
{
    char why[128];
    fcgipm_ready_verdict_t verdict;

    memset(why, 'x', sizeof why);
    verdict = fcgipm_ready_check(question, why, sizeof why);
    CHECK(verdict == FCGIPM_READY_WAIT || verdict == FCGIPM_READY_YES || verdict == FCGIPM_READY_NO);
    CHECK(verdict != FCGIPM_READY_NO || memchr(why, 0, sizeof why));
    return verdict;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const fcgipm_ready_mode_t modes[] = {FCGIPM_READY_SIGN, FCGIPM_READY_VALUES, FCGIPM_READY_REQUEST,
                                                FCGIPM_READY_REQUEST};
    fcgipm_ready_verdict_t verdict;
    fcgipm_mux_values_t values;
    fcgipm_question_t *question;
    size_t cut;
    int peer;

    if (size == 0 || size > 60000)
        return 0;
    if (listener < 0) {
        set_up();
        atexit(clean_up);
    }
    question = fcgipm_ready_ask(&address, modes[data[0] & 3], "/ping?x");
    peer = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    CHECK(question && peer >= 0);
    cut = (data[0] >> 3) * (size - 1) / 31;
    CHECK(send(peer, data + 1, cut, MSG_NOSIGNAL) == (ssize_t)cut);
    verdict = look(question);
    if (verdict == FCGIPM_READY_WAIT) {
        CHECK(send(peer, data + 1 + cut, size - 1 - cut, MSG_NOSIGNAL) == (ssize_t)(size - 1 - cut));
        if (data[0] & 4)
            close(peer);
        verdict = look(question);
        /* Who has hung up is not waited for. */
        CHECK(!(data[0] & 4) || verdict != FCGIPM_READY_WAIT);
        if (data[0] & 4)
            peer = -1;
    }
    if (verdict == FCGIPM_READY_YES && fcgipm_ready_values(question, &values))
        CHECK(modes[data[0] & 3] == FCGIPM_READY_VALUES);
    fcgipm_ready_close(question);
    if (peer >= 0)
        close(peer);
    return 0;
}
