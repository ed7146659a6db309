/* Answers requests: write inputs, run the model, read outputs and costs. */
#include "board.h"
#include "frames.h"
#include "model.h"
#include "stack.h"
#include "stream.h"

#define PROTOCOL 1u
#define WORD 4u

static struct frame request, reply;
static uint64_t overhead; /* cost of an empty run */

#ifdef MODEL_PROFILE
static uint32_t kernel_counts[MODEL_KERNELS], last_count;

void model_kernel_done(uint32_t index)
{
    const uint32_t now = board_count();
    kernel_counts[index] = now - last_count;
    last_count = board_count();
}
#endif

static void put(uint32_t value)
{
    store32(reply.payload + reply.length, value);
    reply.length += WORD;
}

static void put_text(const char *text)
{
    do
        reply.payload[reply.length++] = (uint8_t)*text;
    while (*text++ != 0 && reply.length < FRAME_PAYLOAD / 2);
}

static void refuse(const char *why)
{
    reply.kind = 'E';
    reply.length = 0;
    put_text(why);
}

static void describe(void)
{
    put(PROTOCOL);
    put(board_clock_hz());
    put(MODEL_KERNELS);
    put(MODEL_INPUTS);
    put(MODEL_OUTPUTS);
    for (uint32_t i = 0; i < MODEL_INPUTS; ++i)
        put(model_input_bytes(i));
    for (uint32_t i = 0; i < MODEL_OUTPUTS; ++i)
        put(model_output_bytes(i));
    put_text(board_unit());
    put_text(MODEL_NAME);
}

/* Numbers in [-1, 1), the same at every run. */
static void fill_inputs(void)
{
    uint32_t state = 1;
    for (uint32_t i = 0; i < MODEL_INPUTS; ++i) {
        float *values = model_input(i);
        for (uint32_t n = 0; n < model_input_bytes(i) / sizeof(float); ++n) {
            state = state * 1664525u + 1013904223u;
            values[n] = (float)((int32_t)state >> 8) * (1.0f / 8388608.0f);
        }
    }
}

static void write_input(void)
{
    const uint32_t index = load32(request.payload), offset = load32(request.payload + WORD);
    const uint32_t count = request.length - 2 * WORD;
    if (request.length < 2 * WORD || index >= MODEL_INPUTS || offset > model_input_bytes(index) ||
        count > model_input_bytes(index) - offset) {
        refuse("no such part of an input");
        return;
    }
    uint8_t *to = (uint8_t *)model_input(index) + offset;
    for (uint32_t i = 0; i < count; ++i)
        to[i] = request.payload[2 * WORD + i];
}

static void read_output(void)
{
    const uint32_t index = load32(request.payload), offset = load32(request.payload + WORD);
    const uint32_t count = load32(request.payload + 2 * WORD);
    if (request.length != 3 * WORD || count > FRAME_PAYLOAD || index >= MODEL_OUTPUTS ||
        offset > model_output_bytes(index) || count > model_output_bytes(index) - offset) {
        refuse("no such part of an output");
        return;
    }
    const uint8_t *from = (const uint8_t *)model_output(index) + offset;
    for (uint32_t i = 0; i < count; ++i)
        reply.payload[i] = from[i];
    reply.length = (uint16_t)count;
}

__attribute__((noinline)) static void run_nothing(void)
{
    __asm__ volatile("");
}

static uint64_t cost_of(void (*run)(void))
{
    const uint32_t before = board_count();
    run();
    return board_cost(board_count() - before);
}

static void put_cost(uint64_t cost)
{
    cost = cost > overhead ? cost - overhead : 0;
    put((uint32_t)cost);
    put((uint32_t)(cost >> 32));
}

static void run_model(void)
{
#ifdef MODEL_PROFILE
    last_count = board_count();
#endif
    put_cost(cost_of(model_run));
    put(stack_used());
}

static void read_kernels(void)
{
#ifdef MODEL_PROFILE
    const uint32_t first = load32(request.payload);
    for (uint32_t i = first; i < MODEL_KERNELS && reply.length + 2 * WORD <= FRAME_PAYLOAD; ++i)
        put_cost(board_cost(kernel_counts[i]));
#else
    refuse("this firmware was built without MODEL_PROFILE");
#endif
}

static void answer(void)
{
    reply.kind = request.kind;
    reply.sequence = request.sequence;
    reply.length = 0;
    switch (request.kind) {
    case 'H': describe(); break;
    case 'G': fill_inputs(); break;
    case 'W': write_input(); break;
    case 'R': run_model(); break;
    case 'K': read_kernels(); break;
    case 'O': read_output(); break;
    default: refuse("unknown request"); break;
    }
}

int main(void)
{
    uint32_t answered = 256;
    stream_open();
    overhead = cost_of(run_nothing);
    overhead = cost_of(run_nothing); /* the first call fills caches */
    for (;;) {
        frame_receive(&request);
        if (request.sequence != answered || request.kind == 'H')
            answer(); /* a repeated request is answered again, not executed again */
        answered = request.sequence;
        frame_send(&reply);
    }
}
