/* SPDX-License-Identifier: MIT */
#ifndef SHM_VICTIM_LIBRARY_H
#define SHM_VICTIM_LIBRARY_H

void *library_make(void);

#endif
