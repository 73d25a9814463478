# TRM Server. `make help` lists what there is.
BUILD   ?= build
CC      ?= cc
PREFIX  ?= /usr/local
VERSION := 0.1.0

CFLAGS  ?= -O3 -g
WARN    := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes \
           -Wpointer-arith -Wvla -Werror
ALL_CFLAGS  = -std=gnu17 -I. -DTRM_VERSION='"$(VERSION)"' $(WARN) -fno-math-errno -fno-trapping-math -pthread $(CFLAGS)
ALL_LDFLAGS = -pthread $(LDFLAGS)

ENGINE_LIBS := -ldnnl -lgomp -ljansson -lm
SERVER_LIBS := -lmicrohttpd -luv $(ENGINE_LIBS)
TEST_LIBS   := -lcmocka $(ENGINE_LIBS)

# Every .c is part of a library but the mains: one program each.
MAINS       := server/main.c engine/train/main.c engine/train/eval_main.c engine/data/main.c engine/bench_main.c
ENGINE_SRCS := $(filter-out $(MAINS),$(wildcard engine/*.c engine/*/*.c config/*.c))
SERVER_SRCS := $(filter-out $(MAINS),$(wildcard server/*.c proto/*.c))
TEST_SRCS   := $(wildcard tests/unit/test_*.c)

ENGINE_OBJS := $(ENGINE_SRCS:%.c=$(BUILD)/obj/%.o)
SERVER_OBJS := $(SERVER_SRCS:%.c=$(BUILD)/obj/%.o)
ENGINE_LIB  := $(BUILD)/libtrm_engine.a
SERVER_LIB  := $(BUILD)/libtrm_server.a

PROGRAMS := $(BUILD)/trm-server $(BUILD)/trm-train $(BUILD)/trm-eval $(BUILD)/trm-data $(BUILD)/trm-bench
TESTS    := $(TEST_SRCS:tests/unit/%.c=$(BUILD)/tests/%)

.PHONY: all build-tests
all: $(PROGRAMS)

build-tests: $(TESTS) $(BUILD)/tests/parity

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(ENGINE_LIB): $(ENGINE_OBJS)
	@rm -f $@ && ar rcs $@ $^

$(SERVER_LIB): $(SERVER_OBJS)
	@rm -f $@ && ar rcs $@ $^

$(BUILD)/trm-server: $(BUILD)/obj/server/main.o $(SERVER_LIB) $(ENGINE_LIB)
	$(CC) $^ -o $@ $(ALL_LDFLAGS) $(SERVER_LIBS)

$(BUILD)/trm-train: $(BUILD)/obj/engine/train/main.o $(ENGINE_LIB)
$(BUILD)/trm-eval: $(BUILD)/obj/engine/train/eval_main.o $(ENGINE_LIB)
$(BUILD)/trm-data: $(BUILD)/obj/engine/data/main.o $(ENGINE_LIB)
$(BUILD)/trm-bench: $(BUILD)/obj/engine/bench_main.o $(ENGINE_LIB)
$(BUILD)/trm-train $(BUILD)/trm-eval $(BUILD)/trm-data $(BUILD)/trm-bench:
	$(CC) $^ -o $@ $(ALL_LDFLAGS) $(ENGINE_LIBS)

$(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(SERVER_LIB) $(ENGINE_LIB)
	@mkdir -p $(@D)
	$(CC) $^ -o $@ $(ALL_LDFLAGS) $(TEST_LIBS) $(SERVER_LIBS)

$(BUILD)/tests/parity: $(BUILD)/obj/tests/parity.o $(ENGINE_LIB)
	@mkdir -p $(@D)
	$(CC) $^ -o $@ $(ALL_LDFLAGS) $(ENGINE_LIBS)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
