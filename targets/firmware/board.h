/* What a board provides to the measuring firmware. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

/* Clocks, caches and the serial port; called before anything else. */
void board_init(void);

/* A free-running counter; its difference over a run, modulo 2^32, is passed to board_cost. */
uint32_t board_count(void);

/* Cost, in board_unit, of so many counts. */
uint64_t board_cost(uint32_t counts);

/* "instructions" or "cycles". */
const char *board_unit(void);

/* Frequency of the processor in Hz; 0 where time means nothing. */
uint32_t board_clock_hz(void);

/* One byte over the serial port; both wait. */
void board_put(uint8_t byte);
uint8_t board_get(void);

#endif
