/* The USART of STM32 families L4, F7 and H7 (and the LPUART, but for its divider), polled. */
#ifndef USART_H
#define USART_H

#include "processor.h"

#define USART_ENABLED_BOTH_WAYS (1u << 0 | 1u << 2 | 1u << 3)
#define USART_RECEIVED (1u << 5)
#define USART_MAY_TRANSMIT (1u << 7)
#define USART_FORGET_OVERRUN (1u << 3)

static inline void usart_start(uint32_t base, uint32_t divider)
{
    REGISTER(base + 0x0cu) = divider;
    REGISTER(base) = USART_ENABLED_BOTH_WAYS;
}

static inline void usart_put(uint32_t base, uint8_t byte)
{
    wait_for(&REGISTER(base + 0x1cu), USART_MAY_TRANSMIT);
    REGISTER(base + 0x28u) = byte;
}

static inline uint8_t usart_get(uint32_t base)
{
    while (!(REGISTER(base + 0x1cu) & USART_RECEIVED))
        REGISTER(base + 0x20u) = USART_FORGET_OVERRUN;
    return (uint8_t)REGISTER(base + 0x24u);
}

/* Pin of a GPIO port to an alternate function. */
static inline void pin_to(uint32_t port, uint32_t pin, uint32_t function)
{
    volatile uint32_t *mode = &REGISTER(port), *select = &REGISTER(port + 0x20u + pin / 8 * 4);
    *select = (*select & ~(0xfu << (pin % 8 * 4))) | function << (pin % 8 * 4);
    *mode = (*mode & ~(3u << (2 * pin))) | 2u << (2 * pin);
}

#endif
