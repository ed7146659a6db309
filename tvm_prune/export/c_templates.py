"""Build files and instructions of a C project; ``$$`` stands for a dollar sign."""

from __future__ import annotations

from string import Template

MAKEFILE = Template("""\
# The model as a library (make), and a firmware for $board that runs it (make firmware).
# PROFILE=1 lets the firmware tell what each kernel costs.
CROSS ?= $prefix
CC = $$(CROSS)gcc
AR = $$(CROSS)ar
SIZE = $$(CROSS)size
FLAGS ?= $flags
OPTIMIZE ?= -O2
CFLAGS = $$(FLAGS) $$(OPTIMIZE) -std=c11 -Wall -ffunction-sections -fdata-sections -I. -Ifirmware
LDFLAGS = $$(FLAGS) -T firmware/linker.ld -nostartfiles --specs=nano.specs -Wl,--gc-sections
BUILD = build

ifdef PROFILE
CFLAGS += -DMODEL_PROFILE
BUILD = build/profile
endif

MODEL = $$(BUILD)/model.o $$(BUILD)/weights.o $kernel_object
HARNESS = $$(patsubst %.c,$$(BUILD)/%.o,$$(wildcard firmware/*.c))

.PHONY: all firmware clean
all: $$(BUILD)/libmodel.a
firmware: $$(BUILD)/firmware.elf

$$(BUILD)/libmodel.a: $$(MODEL)
	rm -f $$@
	$$(AR) rcs $$@ $$^

$$(BUILD)/firmware.elf: $$(HARNESS) $$(MODEL) firmware/linker.ld
	$$(CC) $$(LDFLAGS) $$(HARNESS) $$(MODEL) -lm -o $$@
	$$(SIZE) $$@

$$(BUILD)/weights.o: weights.S weights.bin
	@mkdir -p $$(@D)
	$$(CC) $$(FLAGS) -c weights.S -o $$@

$$(BUILD)/%.o: %.c model.h
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) -c $$< -o $$@

clean:
	rm -rf build
""")

CMAKE = Template("""\
# Alone:   cmake -B build -DCMAKE_TOOLCHAIN_FILE=toolchain.cmake && cmake --build build
# In a firmware of yours:   add_subdirectory(this-folder)
#                           target_link_libraries(my_firmware PRIVATE model)
cmake_minimum_required(VERSION 3.16)
project($identifier C ASM)

set(MODEL_KERNELS $kernels)
add_library(model STATIC model.c weights.S $${MODEL_KERNELS})
target_include_directories(model PUBLIC $${CMAKE_CURRENT_SOURCE_DIR})
target_compile_options(model PRIVATE $$<$$<COMPILE_LANGUAGE:C>:-O2 -std=c11 -ffunction-sections>)
target_link_libraries(model PUBLIC m)
set_source_files_properties(weights.S PROPERTIES
  OBJECT_DEPENDS $${CMAKE_CURRENT_SOURCE_DIR}/weights.bin
  COMPILE_OPTIONS -Wa,-I$${CMAKE_CURRENT_SOURCE_DIR})
if(MODEL_KERNELS MATCHES "[.]o$$")
  set_source_files_properties($${MODEL_KERNELS} PROPERTIES EXTERNAL_OBJECT TRUE)
endif()

if(CMAKE_SOURCE_DIR STREQUAL CMAKE_CURRENT_SOURCE_DIR)
  file(GLOB HARNESS firmware/*.c)
  set(SCRIPT $${CMAKE_CURRENT_SOURCE_DIR}/firmware/linker.ld)
  add_executable(firmware $${HARNESS})
  set_target_properties(firmware PROPERTIES SUFFIX .elf LINK_DEPENDS $${SCRIPT})
  target_include_directories(firmware PRIVATE firmware)
  target_compile_options(firmware PRIVATE -O2 -std=c11 -ffunction-sections -fdata-sections)
  target_link_options(firmware PRIVATE
    -T $${SCRIPT} -nostartfiles --specs=nano.specs -Wl,--gc-sections)
  target_link_libraries(firmware PRIVATE model)
endif()
""")

TOOLCHAIN = Template("""\
# The cross compiler for $board.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR arm)
set(CMAKE_C_COMPILER $compiler)
set(CMAKE_ASM_COMPILER $compiler)
set(CMAKE_C_FLAGS_INIT "$flags")
set(CMAKE_ASM_FLAGS_INIT "$flags")
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
""")

README = Template("""\
# $name for $board

The model as plain C for: $description. Static memory only: no heap, no runtime, no constructors.

$tensors

| | bytes |
| --- | --- |
| weights (flash) | $weights |
| arena (RAM): inputs, outputs, everything between | $arena (at least $bound in any layout) |

| File | |
| --- | --- |
| `model.h` | all that you call |
| `model.c` | calls one kernel after the other; holds the arena |
| `$kernels` | the kernels, as $how |
| `weights.bin`, `weights.S` | the weights; they go to the section `.rodata.model_weights` |
| `firmware/` | start-up code, linker script and a program that runs the model for `tvm-prune run` |
| `project.json` | what was compiled for what, with the SHA-256 of every file |

## Call it from your firmware

```c
#include <string.h>
#include "model.h"

void classify(const float *samples, float *scores)
{
    memcpy(model_input(0), samples, model_input_bytes(0)); /* before every run */
    model_run();
    memcpy(scores, model_output(0), model_output_bytes(0));
}
```

The memory of an input is used for other things while the model runs, so write all inputs before
every `model_run`. Outputs stay until you write inputs again. The floating-point unit has to be on.
`model_run` is not reentrant: there is one arena.

## Build it

```
make                # build/libmodel.a: link it with -lm
make firmware       # build/firmware.elf for $board
make PROFILE=1 firmware
```

or with CMake, alone (`cmake -B build -DCMAKE_TOOLCHAIN_FILE=toolchain.cmake`) or inside your own
project (`add_subdirectory`, then `target_link_libraries(... model)`). Nothing but `$compiler` is
needed. The arena lies in the section `.bss.model_arena`: your linker script may put it where it
likes.

## Run it

```
tvm-prune run . --input samples.npz
```
""")
