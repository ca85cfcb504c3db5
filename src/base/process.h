/* SPDX-License-Identifier: Apache-2.0
 * What the system says of this process: memory, descriptors, processor time. Any thread; reads
 * /proc, which waits for nothing. What cannot be read is left out. */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

struct str;

/* Their families, for /metrics. */
void process_print(struct str *out);

#endif
