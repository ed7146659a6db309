/* A QEMU plugin that makes the guest's clocks count instructions: one nanosecond for each.
 *
 * Counted is what the libraries execute whose path begins with the argument `counted`, and what
 * they have the C and math libraries do for them (a loop may become a call of memset). What others
 * have the C library do is not: the steps of malloc depend on what happened before. A process that
 * has loaded none of them keeps its clocks. For QEMU's user mode, 64-bit guests on 64-bit hosts,
 * and code that runs in one thread.
 *
 * Debian's QEMU comes without qemu-plugin.h; these are the declarations of plugin API 1 that are
 * used here.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct qemu_info_t qemu_info_t;

enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

typedef void (*translation_callback)(qemu_plugin_id_t id, struct qemu_plugin_tb *block);
typedef void (*execution_callback)(unsigned int cpu, void *data);
typedef void (*syscall_callback)(qemu_plugin_id_t id, unsigned int cpu, int64_t number,
                                 uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5,
                                 uint64_t a6, uint64_t a7, uint64_t a8);
typedef void (*syscall_return_callback)(qemu_plugin_id_t id, unsigned int cpu, int64_t number,
                                        int64_t result);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, translation_callback callback);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, syscall_callback callback);
void qemu_plugin_register_vcpu_syscall_ret_cb(qemu_plugin_id_t id,
                                              syscall_return_callback callback);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, enum qemu_plugin_op op,
                                              void *counter, uint64_t added);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block,
                                          execution_callback callback,
                                          enum qemu_plugin_cb_flags flags, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);
void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *instruction);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

/* System calls of 64-bit Linux guests with the generic table: aarch64, riscv64. */
enum { OPENAT = 56, CLOSE = 57, CLOCK_GETTIME = 113, MUNMAP = 215, MMAP = 222 };

enum { PROT_EXECUTE = 4, MOST_RANGES = 4096, MOST_FILES = 1024 };

enum owner { NOBODY, COUNTED, C_LIBRARY };

struct range {
    uint64_t begin, end;
    enum owner owner;
};

static char counted[4096];
static struct range ranges[MOST_RANGES];
static size_t range_count;
static enum owner opened_for[MOST_FILES]; /* by descriptor */
static bool is_active;           /* a library of `counted` was loaded */
static uint64_t instructions;
static uint64_t instructions_elsewhere; /* when code ran last that nobody counts */
static uint64_t start_seconds;
static ptrdiff_t guest_to_host;
static uint64_t arguments[8]; /* of the system call that is under way */

static void *host(uint64_t guest_address) {
    return (void *)(uintptr_t)(guest_address + (uint64_t)guest_to_host);
}

static enum owner owner_of(uint64_t address) {
    for (size_t i = 0; i < range_count; ++i)
        if (ranges[i].begin <= address && address < ranges[i].end) return ranges[i].owner;
    return NOBODY;
}

static void add(uint64_t begin, uint64_t end, enum owner owner) {
    if (begin < end && range_count < MOST_RANGES)
        ranges[range_count++] = (struct range){begin, end, owner};
}

/* What lies outside of [begin, end) stays. */
static void forget(uint64_t begin, uint64_t end) {
    static struct range before[MOST_RANGES];
    const size_t count = range_count;
    memcpy(before, ranges, count * sizeof(*ranges));
    range_count = 0;
    for (size_t i = 0; i < count; ++i) {
        const struct range old = before[i];
        if (old.end <= begin || end <= old.begin) {
            add(old.begin, old.end, old.owner);
        } else {
            add(old.begin, begin, old.owner);
            add(end, old.end, old.owner);
        }
    }
}

static void remember(uint64_t begin, uint64_t end, enum owner owner) {
    forget(begin, end);
    add(begin, end, owner);
}

static void run_c_library(unsigned int cpu, void *block_instructions) {
    (void)cpu;
    if (instructions != instructions_elsewhere) instructions += (uintptr_t)block_instructions;
}

static void run_elsewhere(unsigned int cpu, void *data) {
    (void)cpu, (void)data;
    instructions_elsewhere = instructions;
}

static void translate(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    struct qemu_plugin_insn *first = qemu_plugin_tb_get_insn(block, 0);
    guest_to_host = (char *)qemu_plugin_insn_haddr(first) -
                    (char *)(uintptr_t)qemu_plugin_insn_vaddr(first);
    const size_t count = qemu_plugin_tb_n_insns(block);
    switch (owner_of(qemu_plugin_tb_vaddr(block))) {
    case COUNTED:
        qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &instructions,
                                                 count);
        break;
    case C_LIBRARY:
        qemu_plugin_register_vcpu_tb_exec_cb(block, run_c_library, QEMU_PLUGIN_CB_NO_REGS,
                                             (void *)(uintptr_t)count);
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

static void opened(int64_t file) {
    const char *path = host(arguments[1]);
    if (file < 0 || file >= MOST_FILES) return;
    const bool is_ours = counted[0] != 0 && strncmp(path, counted, strlen(counted)) == 0;
    /* TVM's runtime has no use for the math library. */
    opened_for[file] = is_ours || ends_with(path, "/libm.so.6") ? COUNTED
                       : ends_with(path, "/libc.so.6")          ? C_LIBRARY
                                                                : NOBODY;
    if (is_ours && ends_with(path, ".so")) is_active = true;
}

static void mapped(int64_t address) {
    const uint64_t begin = (uint64_t)address, end = begin + arguments[1];
    const uint64_t file = arguments[4];
    if (address < 0 && address > -4096) return;
    if ((arguments[2] & PROT_EXECUTE) && file < MOST_FILES && opened_for[file] != NOBODY)
        remember(begin, end, opened_for[file]);
    else if (!(arguments[2] & PROT_EXECUTE))
        forget(begin, end); /* data, or something else where a library was */
}

static void answer_time(void) {
    uint64_t *time = host(arguments[1]);
    if (start_seconds == 0) start_seconds = time[0];
    time[0] = start_seconds + instructions / 1000000000u;
    time[1] = instructions % 1000000000u;
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
        if (arguments[0] < MOST_FILES) opened_for[arguments[0]] = NOBODY;
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
        if (value == NULL || strncmp(given[i], "counted=", 8) != 0 ||
            strlen(value + 1) >= sizeof(counted)) {
            fprintf(stderr, "instruction_clock: unknown argument %s\n", given[i]);
            return -1;
        }
        strcpy(counted, value + 1);
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    qemu_plugin_register_vcpu_syscall_cb(id, before_syscall);
    qemu_plugin_register_vcpu_syscall_ret_cb(id, after_syscall);
    return 0;
}
