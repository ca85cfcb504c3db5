/* SPDX-License-Identifier: Apache-2.0
 * Root works in the folder of a service that runs as another user: what root makes there must be
 * that user's, or the service cannot go on with it. */
#ifndef BASE_OWNER_H
#define BASE_OWNER_H

/* If we are root: new files belong to who owns that folder from now on; no right of root's is lost.
 * For this thread and those that it starts. Without that folder nothing changes. */
void owner_become(const char *folder);
/* New files are our own again. */
void owner_return(void);

#endif
