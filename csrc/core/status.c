#include "status.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char message[512];

nf_status nf_fail(nf_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return status;
}

const char *nf_last_message(void) {
    return message;
}
