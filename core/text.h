/* SPDX-License-Identifier: MIT
 *
 * What a name may be made of: printable UTF-8.
 */
#ifndef SHM_TEXT_H
#define SHM_TEXT_H

#include "base.h"

/* Well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates) without control characters: U+0000 to
 * U+001F, U+007F to U+009F, and the two line separators U+2028 and U+2029. */
bool text_is_printable(const char *text, size_t length);

#endif
