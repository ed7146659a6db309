/* Arm MPS2 with the FPGA image AN500 (Cortex-M7) as QEMU emulates it. */
#define FPGAIO 0x40028000u
#define UART 0x40004000u
#define NANOSECONDS_PER_COUNT 40u
#define RECEIVED_INTERRUPT 1u /* number 0 */
#include "mps.h"
