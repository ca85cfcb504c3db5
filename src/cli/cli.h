/* SPDX-License-Identifier: Apache-2.0
 * The commands: each parses its arguments, makes one call into the engine, prints. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

/* argv[0] is the command's name. Returns the exit status. */
int cmd_serve(int argc, char **argv);
int cmd_pull(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_pin(int argc, char **argv);
int cmd_unpin(int argc, char **argv);
int cmd_remove(int argc, char **argv);
int cmd_evict(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_check_config(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_import(int argc, char **argv);
int cmd_receipt(int argc, char **argv);
int cmd_keygen(int argc, char **argv);
int cmd_verify(int argc, char **argv);

#endif
