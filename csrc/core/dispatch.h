/* The kernel table in use. Picked once, before any operation runs. */
#ifndef NF_CORE_DISPATCH_H
#define NF_CORE_DISPATCH_H

#include "../kernels/kernels.h"
#include "status.h"

extern const nf_kernels *nf_kernel; /* nf_kernel->exp_sum_f32(...) */

/* Picks the best table that the machine can run, or the one that NEARFAR_ISA asks for. Fails if that is unknown or not
 * available here. */
nf_status nf_dispatch_init(void);

#endif
