/* A QEMU plugin that weights every instruction that a firmware executes with what it costs.
 *
 * Arguments: `costs`, a file of pairs of 32-bit words, address and cost, sorted by address; `begin`
 * and `end`, addresses in hexadecimal; `output`, a file. Each time that execution has reached
 * `begin` and then reaches `end`, the sum of the costs between them is written as a line of text.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu_plugin.h"

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

struct entry {
    uint32_t address, cost;
};

static struct entry *entries;
static size_t entry_count;
static uint64_t begin, end;
static FILE *output;
static uint64_t total, total_at_begin;
static bool is_running;

static int compare(const void *left, const void *right) {
    const uint32_t a = ((const struct entry *)left)->address;
    const uint32_t b = ((const struct entry *)right)->address;
    return (a > b) - (a < b);
}

static uint32_t cost_of(uint64_t address) {
    const struct entry wanted = {(uint32_t)address, 0};
    const struct entry *found =
        bsearch(&wanted, entries, entry_count, sizeof(*entries), compare);
    return found == NULL ? 0 : found->cost;
}

static void began(unsigned int cpu, void *data) {
    (void)cpu, (void)data;
    total_at_begin = total;
    is_running = true;
}

static void ended(unsigned int cpu, void *data) {
    (void)cpu, (void)data;
    if (!is_running) return;
    fprintf(output, "%llu\n", (unsigned long long)(total - total_at_begin));
    fflush(output);
    is_running = false;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); ++i) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        const uint64_t address = qemu_plugin_insn_vaddr(instruction);
        const uint32_t cost = cost_of(address);
        if (address == begin || address == end)
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, address == begin ? began : ended,
                                                   QEMU_PLUGIN_CB_NO_REGS, NULL);
        if (cost != 0)
            qemu_plugin_register_vcpu_insn_exec_inline(instruction, QEMU_PLUGIN_INLINE_ADD_U64,
                                                       &total, cost);
    }
}

static bool read_costs(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) return false;
    fseek(file, 0, SEEK_END);
    entry_count = (size_t)ftell(file) / sizeof(*entries);
    rewind(file);
    entries = malloc((entry_count + 1) * sizeof(*entries));
    const bool is_whole = fread(entries, sizeof(*entries), entry_count, file) == entry_count;
    fclose(file);
    return is_whole;
}

static bool take(const char *name, const char *value) {
    if (strcmp(name, "costs") == 0) return read_costs(value);
    if (strcmp(name, "output") == 0) return (output = fopen(value, "w")) != NULL;
    if (strcmp(name, "begin") == 0) return (begin = strtoull(value, NULL, 16)) != 0;
    if (strcmp(name, "end") == 0) return (end = strtoull(value, NULL, 16)) != 0;
    return false;
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id,
                                                               const qemu_info_t *info, int count,
                                                               char **given) {
    (void)info;
    for (int i = 0; i < count; ++i) {
        char *value = strchr(given[i], '=');
        if (value != NULL) *value++ = 0;
        if (value == NULL || !take(given[i], value)) {
            fprintf(stderr, "cycle_counter: cannot use the argument %s\n", given[i]);
            return -1;
        }
    }
    if (output == NULL) {
        fprintf(stderr, "cycle_counter: no output is named\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    return 0;
}
