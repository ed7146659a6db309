#ifndef STACK_H
#define STACK_H

#include <stdint.h>

/* Most bytes of the stack that were ever in use. */
uint32_t stack_used(void);

#endif
