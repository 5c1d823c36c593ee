/* SPDX-License-Identifier: MIT
 *
 * For the files of the room `os` alone: how a system call's result becomes an answer of ours.
 */
#ifndef SHM_OS_ANSWER_H
#define SHM_OS_ANSWER_H

#include <errno.h>

#include "base.h"

/* Turns the C convention into ours and leaves errno alone. */
#define ANSWER(call)                                                                                         \
    __extension__({                                                                                          \
        const int kept_errno = errno;                                                                        \
        const int64_t returned = (int64_t)(call);                                                            \
        const int64_t answer_ = returned == -1 ? -errno : returned;                                          \
        errno = kept_errno;                                                                                  \
        answer_;                                                                                             \
    })

#endif
