#include "dispatch.h"

#include <stdlib.h>
#include <string.h>

const nf_kernels *nf_kernel = &nf_kernels_scalar;

nf_status nf_dispatch_init(void) {
    const nf_kernels *available[3] = {&nf_kernels_scalar};
    int count = 1;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        available[count++] = &nf_kernels_avx2;
        if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
            available[count++] = &nf_kernels_avx512;
    }
#endif
    const char *wanted = getenv("NEARFAR_ISA");
    if (!wanted || !*wanted) {
        nf_kernel = available[count - 1];
        return NF_OK;
    }
    for (int i = 0; i < count; i++)
        if (strcmp(available[i]->instruction_set, wanted) == 0) {
            nf_kernel = available[i];
            return NF_OK;
        }
    return nf_fail(NF_BAD_VALUE,
                   "NEARFAR_ISA must name an instruction set that this machine has (best: %s), got \"%s\"",
                   available[count - 1]->instruction_set, wanted);
}

const char *nf_instruction_set(void) {
    return nf_kernel->instruction_set;
}
