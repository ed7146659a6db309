/* A QEMU plugin that makes the guest's clocks count instructions, one nanosecond for each, or what
 * they are estimated to cost, one nanosecond for each thousandth of a cycle.
 *
 * Counted is what the libraries execute whose path begins with the argument `counted`, and what
 * they have the C and math libraries do for them (a loop may become a call of memset). What others
 * have the C library do is not: the steps of malloc depend on what happened before. A process that
 * has loaded none of them keeps its clocks. For QEMU's user mode, 64-bit guests on 64-bit hosts,
 * and code that runs in one thread.
 *
 * With the arguments `libc` and `libm`, files that tell the cost of each instruction of the C and
 * math libraries, costs are counted; those of another library lie beside it, in a file that has
 * ".costs" after its name. Each is a magic of 8 bytes, 56 bytes for people, the place in the
 * library where its code begins and the number of entries (two uint64), and for every two bytes of
 * code a uint32, the cost of the instruction that begins there.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu_plugin.h"

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

/* System calls of 64-bit Linux guests with the generic table: aarch64, riscv64. */
enum { OPENAT = 56, CLOSE = 57, CLOCK_GETTIME = 113, MUNMAP = 215, MMAP = 222 };

enum { PROT_EXECUTE = 4, MOST_RANGES = 4096, MOST_FILES = 1024 };

enum owner { NOBODY, COUNTED, C_LIBRARY };

enum { GRANULE = 2, NAME_BYTES = 56, UNKNOWN_COST = 1000 };

struct costs {
    uint64_t begin, count; /* the first place, and for how many granules */
    uint32_t *each;
};

struct library {
    enum owner owner;
    const struct costs *costs;
    char *path; /* where its costs are not known yet */
};

struct range {
    uint64_t begin, end;
    uint64_t place; /* what to take off an address for its place in the library */
    enum owner owner;
    const struct costs *costs;
};

static char counted[4096];
static struct costs libc_costs, libm_costs;
static bool has_costs;
static struct range ranges[MOST_RANGES];
static size_t range_count;
static struct library opened_as[MOST_FILES]; /* by descriptor */
static bool is_active;           /* a library of `counted` was loaded */
static uint64_t passed;
static uint64_t passed_elsewhere; /* when code ran last that nobody counts */
static uint64_t start_seconds;
static ptrdiff_t guest_to_host;
static uint64_t arguments[8]; /* of the system call that is under way */

static void *host(uint64_t guest_address) {
    return (void *)(uintptr_t)(guest_address + (uint64_t)guest_to_host);
}

static bool read_costs(const char *path, struct costs *costs) {
    char magic[8], name[NAME_BYTES];
    uint64_t extent[2];
    FILE *file = fopen(path, "rb");
    bool is_read = file != NULL && fread(magic, sizeof(magic), 1, file) == 1 &&
                   memcmp(magic, "cycles01", sizeof(magic)) == 0 &&
                   fread(name, sizeof(name), 1, file) == 1 &&
                   fread(extent, sizeof(extent), 1, file) == 1 && extent[1] < UINT32_MAX;
    if (is_read) {
        costs->begin = extent[0], costs->count = extent[1];
        costs->each = calloc(extent[1] + 1, sizeof(*costs->each));
        is_read = costs->each != NULL &&
                  fread(costs->each, sizeof(*costs->each), extent[1], file) == extent[1];
    }
    if (file != NULL) fclose(file);
    if (!is_read) fprintf(stderr, "instruction_clock: %s tells no costs\n", path);
    return is_read;
}

static uint64_t cost_of(const struct costs *costs, uint64_t place) {
    if (place < costs->begin || (place - costs->begin) / GRANULE >= costs->count)
        return UNKNOWN_COST;
    return costs->each[(place - costs->begin) / GRANULE];
}

static const struct range *range_of(uint64_t address) {
    static const struct range nobodys = {.owner = NOBODY};
    for (size_t i = 0; i < range_count; ++i)
        if (ranges[i].begin <= address && address < ranges[i].end) return &ranges[i];
    return &nobodys;
}

static void add(uint64_t begin, uint64_t end, const struct range *like) {
    if (begin < end && range_count < MOST_RANGES)
        ranges[range_count++] =
            (struct range){begin, end, like->place, like->owner, like->costs};
}

/* What lies outside of [begin, end) stays. */
static void forget(uint64_t begin, uint64_t end) {
    static struct range before[MOST_RANGES];
    const size_t count = range_count;
    memcpy(before, ranges, count * sizeof(*ranges));
    range_count = 0;
    for (size_t i = 0; i < count; ++i) {
        const struct range *old = &before[i];
        if (old->end <= begin || end <= old->begin) {
            add(old->begin, old->end, old);
        } else {
            add(old->begin, begin, old);
            add(end, old->end, old);
        }
    }
}

static void run_c_library(unsigned int cpu, void *cost) {
    (void)cpu;
    if (passed != passed_elsewhere) passed += (uintptr_t)cost;
}

static void run_elsewhere(unsigned int cpu, void *data) {
    (void)cpu, (void)data;
    passed_elsewhere = passed;
}

static uint64_t cost_of_block(const struct qemu_plugin_tb *block, const struct range *where) {
    const size_t count = qemu_plugin_tb_n_insns(block);
    uint64_t cost = 0;
    if (!has_costs) return count;
    for (size_t i = 0; i < count; ++i) {
        const struct qemu_plugin_insn *each = qemu_plugin_tb_get_insn(block, i);
        cost += cost_of(where->costs, qemu_plugin_insn_vaddr(each) - where->place);
    }
    return cost;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    struct qemu_plugin_insn *first = qemu_plugin_tb_get_insn(block, 0);
    guest_to_host = (char *)qemu_plugin_insn_haddr(first) -
                    (char *)(uintptr_t)qemu_plugin_insn_vaddr(first);
    const struct range *where = range_of(qemu_plugin_tb_vaddr(block));
    switch (where->owner) {
    case COUNTED:
        qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &passed,
                                                 cost_of_block(block, where));
        break;
    case C_LIBRARY:
        qemu_plugin_register_vcpu_tb_exec_cb(block, run_c_library, QEMU_PLUGIN_CB_NO_REGS,
                                             (void *)(uintptr_t)cost_of_block(block, where));
        break;
    case NOBODY:
        qemu_plugin_register_vcpu_tb_exec_cb(block, run_elsewhere, QEMU_PLUGIN_CB_NO_REGS, NULL);
        break;
    }
}

static bool ends_with(const char *text, const char *ending) {
    const size_t length = strlen(text), tail = strlen(ending);
    return length >= tail && strcmp(text + length - tail, ending) == 0;
}

static void closed(uint64_t file) {
    if (file >= MOST_FILES) return;
    free(opened_as[file].path);
    opened_as[file] = (struct library){.owner = NOBODY};
}

static void opened(int64_t file) {
    const char *path = host(arguments[1]);
    if (file < 0 || file >= MOST_FILES) return;
    closed((uint64_t)file);
    struct library *library = &opened_as[file];
    if (counted[0] != 0 && strncmp(path, counted, strlen(counted)) == 0) {
        *library = (struct library){COUNTED, NULL, strdup(path)};
        if (ends_with(path, ".so")) is_active = true;
    } else if (ends_with(path, "/libm.so.6")) { /* TVM's runtime has no use for it */
        *library = (struct library){COUNTED, &libm_costs, NULL};
    } else if (ends_with(path, "/libc.so.6")) {
        *library = (struct library){C_LIBRARY, &libc_costs, NULL};
    }
}

/* Costs of a library that was uploaded; they stay as long as the process. */
static const struct costs *uploaded_costs(const char *path) {
    char beside[sizeof(counted) + 256];
    struct costs *costs = calloc(1, sizeof(*costs));
    snprintf(beside, sizeof(beside), "%s.costs", path);
    if (costs == NULL || !read_costs(beside, costs)) _Exit(1);
    return costs;
}

static void mapped(int64_t address) {
    const uint64_t begin = (uint64_t)address, end = begin + arguments[1];
    const uint64_t file = arguments[4];
    if (address < 0 && address > -4096) return;
    const bool is_code = arguments[2] & PROT_EXECUTE;
    if (is_code && file < MOST_FILES && opened_as[file].owner != NOBODY) {
        const struct library *library = &opened_as[file];
        const struct range range = {
            .place = begin - arguments[5],
            .owner = library->owner,
            .costs = has_costs && library->path != NULL ? uploaded_costs(library->path)
                                                        : library->costs,
        };
        forget(begin, end);
        add(begin, end, &range);
    } else if (!is_code) {
        forget(begin, end); /* data, or something else where a library was */
    }
}

static void answer_time(void) {
    uint64_t *time = host(arguments[1]);
    if (start_seconds == 0) start_seconds = time[0];
    time[0] = start_seconds + passed / 1000000000u;
    time[1] = passed % 1000000000u;
}

static void before_syscall(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t a1,
                           uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6,
                           uint64_t a7, uint64_t a8) {
    (void)id, (void)cpu, (void)number;
    const uint64_t given[8] = {a1, a2, a3, a4, a5, a6, a7, a8};
    memcpy(arguments, given, sizeof(arguments));
}

static void after_syscall(qemu_plugin_id_t id, unsigned int cpu, int64_t number, int64_t result) {
    (void)id, (void)cpu;
    switch (number) {
    case OPENAT:
        opened(result);
        break;
    case CLOSE:
        closed(arguments[0]);
        break;
    case MMAP:
        mapped(result);
        break;
    case MUNMAP:
        if (result == 0) forget(arguments[0], arguments[0] + arguments[1]);
        break;
    case CLOCK_GETTIME:
        if (is_active && result == 0) answer_time();
        break;
    default:
        break;
    }
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id,
                                                               const qemu_info_t *info, int count,
                                                               char **given) {
    (void)info;
    for (int i = 0; i < count; ++i) {
        const char *value = strchr(given[i], '=');
        if (value != NULL && strncmp(given[i], "counted=", 8) == 0 &&
            strlen(value + 1) < sizeof(counted)) {
            strcpy(counted, value + 1);
        } else if (value != NULL && (strncmp(given[i], "libc=", 5) == 0 ||
                                     strncmp(given[i], "libm=", 5) == 0)) {
            has_costs = true;
            if (!read_costs(value + 1, given[i][3] == 'c' ? &libc_costs : &libm_costs)) return -1;
        } else {
            fprintf(stderr, "instruction_clock: unknown argument %s\n", given[i]);
            return -1;
        }
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_vcpu_syscall_cb(id, before_syscall);
    qemu_plugin_register_vcpu_syscall_ret_cb(id, after_syscall);
    return 0;
}
