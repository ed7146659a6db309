/* Arm MPS3 with the FPGA image AN547 (Cortex-M55) as QEMU emulates it. */
#define FPGAIO 0x59302000u
#define UART 0x59303000u
#define NANOSECONDS_PER_COUNT 50u
#include "mps.h"
