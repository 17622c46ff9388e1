/* For operations in both precisions: setup.py compiles their files a second time with NF_DOUBLE. `real` is float or
 * double; NF_REAL(name) is name_f32 or name_f64, for what they define, call and look up in nf_kernel. */
#ifndef NF_CORE_REAL_H
#define NF_CORE_REAL_H

#ifdef NF_DOUBLE
typedef double real;
#define NF_REAL(name) name##_f64
#else
typedef float real;
#define NF_REAL(name) name##_f32
#endif

#endif
