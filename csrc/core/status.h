/* Failing with a message. Included by every operation; the message is thread-local. */
#ifndef NF_CORE_STATUS_H
#define NF_CORE_STATUS_H

#include "../nearfar.h"

/* Stores the formatted message and returns `status`:  return nf_fail(NF_BAD_VALUE, "temperature must be > 0, got %g",
 * t); */
nf_status nf_fail(nf_status status, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* Returns from the calling function if `expression` fails. */
#define NF_TRY(expression)                \
    do {                                  \
        nf_status status_ = (expression); \
        if (status_ != NF_OK)             \
            return status_;               \
    } while (0)

#endif
