/* SPDX-License-Identifier: Apache-2.0
 * The table of commands; help derives from it. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "cli/cli.h"

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *sentence;
} commands[] = {
    {"serve", cmd_serve, "runs the mirror"},
    {"pull", cmd_pull, "fetches images ahead of their use"},
    {"list", cmd_list, "tells which images are held"},
    {"pin", cmd_pin, "keeps images from being evicted"},
    {"unpin", cmd_unpin, "takes a pin back"},
    {"remove", cmd_remove, "forgets a tag, an image or a blob"},
    {"evict", cmd_evict, "frees space now"},
    {"export", cmd_export, "writes images into a bundle for another site"},
    {"import", cmd_import, "takes a bundle, or another tool's archive, in"},
    {"receipt", cmd_receipt, "says what is held here, for export --since"},
    {"keygen", cmd_keygen, "makes a key pair for bundles"},
    {"verify", cmd_verify, "hashes all that is held, and repairs it"},
    {"explain", cmd_explain, "tells why a pull of an image goes as it does"},
    {"status", cmd_status, "tells what the running mirror is doing"},
    {"check-config", cmd_check_config, "tells every mistake of a configuration file"},
};

enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static void print_help(FILE *to)
{
    fputs("Usage: tranship COMMAND [options]\n\nA mirror and accelerator for container image "
          "registries.\n\n",
          to);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(to, "  %-14s %s\n", commands[i].name, commands[i].sentence);
    fputs("\n  --help, --version; `tranship COMMAND --help` tells a command's options.\n", to);
}

static int unknown(const char *word)
{
    const char *names[COMMAND_COUNT + 1] = {0};
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        names[i] = commands[i].name;
    const char *nearest = str_nearest(word, names);
    fprintf(stderr, "tranship: unknown command \"%s\"; %s%s\n", word,
            nearest ? "the nearest is " : "see tranship --help", nearest ? nearest : "");
    return 2;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("tranship " PACKAGE_VERSION);
        return 0;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    return unknown(argv[1]);
}
