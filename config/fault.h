/* SPDX-License-Identifier: MIT
 *
 * Where a policy's text is wrong and what was expected there.
 */
#ifndef SHM_FAULT_H
#define SHM_FAULT_H

struct policy_error {
    unsigned line, column; /* from 1; the column counts bytes */
    char message[320];     /* what was expected and the offending text; no newline */
};

#endif
