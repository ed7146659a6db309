/* Runs a kernel without TVM's runtime: run_kernel LIBRARY N FILE..., where each file holds an
 * N x N float32 matrix, an argument of the kernel, and the last one takes the result. */

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <tvm/ffi/c_api.h>

enum { MOST_ARGUMENTS = 8 };

struct environment {
    void *handle;
    int32_t tasks;
};

/* What kernels want of TVM's runtime, which puts it into variables of the library. */

static int launch(int (*task)(int, struct environment *, void *), void *data, int count) {
    struct environment alone = {NULL, 1};
    (void)count;
    return task(0, &alone, data);
}

static void *allocate(int type, int device, uint64_t size, int code, int bits) {
    (void)type, (void)device, (void)code, (void)bits;
    return aligned_alloc(64, (size + 63) / 64 * 64);
}

static int release(int type, int device, void *workspace) {
    (void)type, (void)device;
    free(workspace);
    return 0;
}

static void offer(void *library, const char *name, void *function) {
    void **place = dlsym(library, name);
    if (place != NULL) *place = function;
}

static void transfer(const char *path, const char *mode, float *values, size_t count) {
    FILE *file = fopen(path, mode);
    const size_t done = file == NULL      ? 0
                        : mode[0] == 'r' ? fread(values, sizeof(float), count, file)
                                         : fwrite(values, sizeof(float), count, file);
    if (done != count || fclose(file) != 0) exit(2);
}

int main(int given, char **arguments) {
    void *library = dlopen(arguments[1], RTLD_NOW);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    offer(library, "__TVMBackendParallelLaunch", launch);
    offer(library, "__TVMBackendAllocWorkspace", allocate);
    offer(library, "__TVMBackendFreeWorkspace", release);
    TVMFFISafeCallType kernel = (TVMFFISafeCallType)dlsym(library, "__tvm_ffi_main");
    const int64_t n = atoi(arguments[2]);
    const int count = given - 3;
    int64_t shape[2] = {n, n};
    DLTensor tensors[MOST_ARGUMENTS];
    TVMFFIAny values[MOST_ARGUMENTS] = {0}, result = {0};
    for (int i = 0; i < count; ++i) {
        float *data = aligned_alloc(64, (size_t)(n * n) * sizeof(float));
        if (i < count - 1) transfer(arguments[3 + i], "rb", data, (size_t)(n * n));
        tensors[i] = (DLTensor){data, {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, shape, NULL, 0};
        values[i].type_index = kTVMFFIDLTensorPtr;
        values[i].v_ptr = &tensors[i];
    }
    if (kernel == NULL || kernel(NULL, values, count, &result) != 0) return 3;
    transfer(arguments[given - 1], "wb", tensors[count - 1].data, (size_t)(n * n));
    return 0;
}
