/* This instruction set's kernel table. Compiled, like every file of this folder, once per instruction set (NF_ISA). */
#include "gemm.h"
#include "kernels.h"
#include "vector.h"

#define NF_DECLARE(type, name, arguments) type NF_KERNEL(name) arguments;
#define NF_REAL_DECLARE(suffix, type, name, arguments) type NF_JOIN(nf_##name##_##suffix##_, NF_ISA) arguments;
NF_KERNELS(NF_DECLARE)
NF_REAL_KERNELS(NF_REAL_DECLARE, f32, float)
NF_REAL_KERNELS(NF_REAL_DECLARE, f64, double)

#define NF_ENTRY(type, name, arguments) .name = NF_KERNEL(name),
#define NF_REAL_ENTRY(suffix, type, name, arguments) .name##_##suffix = NF_JOIN(nf_##name##_##suffix##_, NF_ISA),
#define NF_TEXT_OF(name) #name
#define NF_TEXT(name) NF_TEXT_OF(name)

extern const nf_kernels NF_JOIN(nf_kernels_, NF_ISA);
const nf_kernels NF_JOIN(nf_kernels_, NF_ISA) = {.instruction_set = NF_TEXT(NF_ISA),
                                                 .gemm_tile_rows = GEMM_ROWS,
                                                 .gemm_tile_columns = GEMM_COLUMNS,
                                                 NF_KERNELS(NF_ENTRY) NF_REAL_KERNELS(NF_REAL_ENTRY, f32, float)
                                                     NF_REAL_KERNELS(NF_REAL_ENTRY, f64, double)};
