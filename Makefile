# TRM Server. `make help` lists what there is.
BUILD   ?= $(if $(MPI),build-mpi,build)
CC      ?= cc
PREFIX  ?= /usr/local
VERSION := 0.1.0

# Where `make install` puts units and settings.
UNITS = $(PREFIX)/lib/systemd/system
ETC   = /etc/trm-server

# What `make run` serves, and where.
PORT  ?= 8080
MODEL ?= $(BUNDLED_MODEL)

CFLAGS  ?= -O3 -g
WARN    := -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion -Wstrict-prototypes -Wmissing-prototypes \
           -Wpointer-arith -Wvla -Werror
ALL_CFLAGS  = -std=gnu17 -I. -DTRM_VERSION='"$(VERSION)"' $(WARN) -fno-math-errno -fno-trapping-math -fopenmp-simd -pthread $(MPI_CFLAGS) $(CFLAGS)
ALL_LDFLAGS = -pthread $(LDFLAGS)

# `make MPI=1` lets trm-train run as several processes, in build-mpi/; see engine/train/comm.h.
MPI        ?=
COMM_OUT   := engine/train/$(if $(MPI),comm_alone.c,comm_mpi.c)
MPI_LIBS   := $(if $(MPI),$(shell mpicc --showme:link))
MPI_CFLAGS := $(if $(MPI),$(shell mpicc --showme:compile))

ENGINE_LIBS := -ldnnl -lgomp -ljansson -lnettle -lm
SERVER_LIBS := -lmicrohttpd -lgnutls -luv $(ENGINE_LIBS)
IMPORT_LIBS := -lzip
TEST_LIBS   := -lcmocka $(IMPORT_LIBS) $(SERVER_LIBS) $(MPI_LIBS)
LOAD_LIBS   := -lcurl -luv $(MPI_LIBS) $(ENGINE_LIBS)

# Every .c is part of a library but the mains: one program each.
MAINS       := server/main.c engine/train/main.c engine/train/eval_main.c engine/data/main.c engine/bench_main.c
ENGINE_SRCS := $(filter-out $(MAINS) $(COMM_OUT),$(wildcard engine/*.c engine/*/*.c config/*.c))
SERVER_SRCS := $(filter-out $(MAINS),$(wildcard server/*.c proto/*.c))
TEST_SRCS   := $(wildcard tests/unit/test_*.c)
PARITY_SRCS := $(wildcard tests/parity*.c)
LOAD_SRCS   := $(wildcard tests/load/*.c)

ENGINE_OBJS := $(ENGINE_SRCS:%.c=$(BUILD)/obj/%.o)
WEB_FILES   := $(sort $(wildcard $(foreach kind,html css js svg json,server/web/*.$(kind))))
SERVER_OBJS := $(SERVER_SRCS:%.c=$(BUILD)/obj/%.o) $(BUILD)/obj/gen/proto/openapi.o $(BUILD)/obj/gen/server/web.o
TEST_OBJS   := $(TEST_SRCS:%.c=$(BUILD)/obj/%.o)
ENGINE_LIB  := $(BUILD)/libtrm_engine.a
SERVER_LIB  := $(BUILD)/libtrm_server.a

PROGRAMS := $(if $(wildcard server/main.c),$(BUILD)/trm-server) \
            $(if $(wildcard engine/train/main.c),$(BUILD)/trm-train) \
            $(if $(wildcard engine/train/eval_main.c),$(BUILD)/trm-eval) \
            $(if $(wildcard engine/data/main.c),$(BUILD)/trm-data) \
            $(if $(wildcard engine/bench_main.c),$(BUILD)/trm-bench)
TESTS    := $(TEST_SRCS:tests/unit/%.c=$(BUILD)/tests/%)
PARITY   := $(if $(PARITY_SRCS),$(BUILD)/tests/parity)
LOAD     := $(BUILD)/tests/load

# Fuzz targets: libFuzzer's where clang has it, else programs that replay a corpus.
FUZZ_SECONDS ?= 600
FUZZ_SRCS    := $(wildcard tests/fuzz/fuzz_*.c)
FUZZERS      := $(FUZZ_SRCS:tests/fuzz/%.c=$(BUILD)/fuzz/%)
FUZZ_MAIN    ?= $(BUILD)/obj/tests/fuzz/replay.o
FUZZ_FLAGS    = $(SANITIZE)
HAVE_FUZZER   = $(shell echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' \
                        | clang -fsanitize=fuzzer -x c - -o /dev/null 2>/dev/null && echo yes)
FUZZ_BUILD    = $(if $(HAVE_FUZZER),build-fuzz,$(BUILD))

# The virtual environment of `make bench-peers`, and what it is asked: see tests/bench/peers.py --help.
PEERS := $(BUILD)/peers
PEERS_FLAGS ?=

# The paper's comparison: CPU minutes a run, seeds, and what else tests/bench/compare.py --help has.
COMPARE_MINUTES ?= 20
COMPARE_SEEDS   ?= 3
COMPARE_FLAGS   ?=

# Of each task that `make arc-unseen` adapts a model to, and what else tests/bench/unseen.py --help has.
SECONDS      ?= 120
UNSEEN_FLAGS ?=

# What `make load` is asked: see tests/load/measure.py --help.
LOAD_FLAGS ?=

# V=1 shows the commands.
Q := $(if $(V),,@)

# What `make train-data` trains on, and what it keeps out of that in every disguise.
SUDOKU      ?= ../shared/data/sudoku/train.csv
SUDOKU_TEST ?= $(wildcard ../shared/data/sudoku/test.csv)
ARC         ?= ../shared/data/arc/arc-agi
ARC_UNSEEN  ?= config/data/arc-unseen.txt
BUNDLED_MODEL := $(firstword $(wildcard server/models/sudoku*.safetensors))
OTHER_MODELS  := $(filter-out $(BUNDLED_MODEL),$(sort $(wildcard server/models/*.safetensors)))

# What CI and newcomers call uses every core, unless make was already told how many.
PARALLEL = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))
MAKEFLAGS += --no-print-directory

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

# ThreadSanitizer dies in functions that are chosen when the program is loaded, which are the kernels: they work on
# what is their thread's own, and like oneDNN go unwatched.
TSAN      := -fsanitize=thread -fno-omit-frame-pointer
TSAN_ONLY := "-Dtarget_clones(...)=no_sanitize_thread"
# Its shadow memory wants addresses where they always were.
STILL      = $(shell setarch -R true 2>/dev/null && echo setarch -R)
# How long each fault of `make faults` goes on.
FAULT_SECONDS ?= 20

C_FILES  = $(shell find server engine proto config tests -name '*.[ch]' | sort)
# Not asked of cppcheck: readdir_r, which POSIX withdrew; and some compound literals it cannot read.
CPPCHECK_OFF := readdirCalled internalAstError
SH_FILES = docker/install-deps.sh docker/fresh-debian.sh docker/healthy tests/run.sh tests/chroot.sh .ci/run \
           $(addprefix docker/prove-,arm64.sh common.sh compose.sh image.sh manifests.sh)

.DELETE_ON_ERROR:
.PHONY: all build-tests help run test lint sanitize faults fuzz fuzz-smoke fuzz-smoke-targets fuzz-targets bench bench-peers load compare curve demo-train train-data train-sudoku train-maze-hard arc-data arc-hour-data arc-unseen man install install-files readme print-bundled-model clean FORCE

all: $(PROGRAMS) ## Build every program into build/ (the default)

build-tests: $(TESTS) $(PARITY) $(LOAD) ## Build the test programs into build/tests/

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

run: SERVED = $(if $(filter file,$(origin MODEL)),$(MODEL) $(OTHER_MODELS),$(MODEL))
run: ## Install what is missing, build, serve the bundled models (PORT=8080 MODEL=FILE for that one alone)
	@test -f "$(MODEL)" || { echo "make run: no checkpoint '$(MODEL)'; name one with MODEL=FILE" >&2; exit 1; }
	@docker/install-deps.sh build client
	@$(MAKE) $(PARALLEL) all
	@printf '\nServing %s. In another terminal:\n\n  curl -s localhost:%s/solve -d %s\n\n' '$(SERVED)' '$(PORT)' \
	    "'"'{"grid":"53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"}'"'"
	@$(BUILD)/trm-server $(SERVED:%=--model '%') --tasks-dir $(BUILD)/tasks --port '$(PORT)'

test: ## Install what is missing, build, run every test
	@docker/install-deps.sh build man test
	@$(MAKE) $(PARALLEL) all build-tests man
	@$(MAKE) fuzz-smoke-targets
	@FUZZ_BUILD=$(FUZZ_BUILD) tests/run.sh $(BUILD) unit fuzz parity behaviour

lint: ## clang-format, clang-tidy, cppcheck and shellcheck, all without a finding
	@docker/install-deps.sh build test mpi lint
	clang-format --dry-run -Werror $(C_FILES)
	shellcheck $(SH_FILES)
	cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability --inline-suppr \
	    --library=posix --library=tests/cppcheck.cfg $(CPPCHECK_OFF:%=--suppress=%) \
	    -j$(shell nproc) -I. $(filter %.c,$(C_FILES))
	clang-tidy --quiet engine/status.c -- $(ALL_CFLAGS)
	printf '%s\n' $(filter-out engine/status.c %.h,$(C_FILES)) | xargs -P$(shell nproc) -I{} \
	    clang-tidy --quiet {} -- $(ALL_CFLAGS) $$(mpicc --showme:compile) -include tests/lint.h

sanitize: ## Unit and behaviour tests under AddressSanitizer and UBSan, in build-sanitize/
	@docker/install-deps.sh build man test
	@$(MAKE) $(PARALLEL) BUILD=build-sanitize CFLAGS='-O1 -g $(SANITIZE)' LDFLAGS='$(SANITIZE)' all build-tests man fuzz-targets
	@FUZZ_BUILD=build-sanitize tests/run.sh build-sanitize unit fuzz behaviour

faults: ## Faults under load, FAULT_SECONDS=20 each, under AddressSanitizer and UBSan, then ThreadSanitizer
	@docker/install-deps.sh build test
	@$(MAKE) $(PARALLEL) BUILD=build-sanitize CFLAGS='-O1 -g $(SANITIZE)' LDFLAGS='$(SANITIZE)' \
	    build-sanitize/trm-server build-sanitize/tests/load
	@$(MAKE) $(PARALLEL) BUILD=build-tsan CFLAGS='-O2 -g $(TSAN) $(TSAN_ONLY)' LDFLAGS='$(TSAN)' \
	    build-tsan/trm-server build-tsan/tests/load
	@TRM_PATIENCE_S=300 TRM_FAULT_SECONDS=$(FAULT_SECONDS) tests/run.sh build-sanitize faults
	@TRM_PATIENCE_S=300 TRM_FAULT_SECONDS=$(FAULT_SECONDS) TSAN_OPTIONS=suppressions=$(CURDIR)/tests/tsan.supp \
	    $(STILL) tests/run.sh build-tsan faults

fuzz: ## Fuzz each reader of foreign bytes for FUZZ_SECONDS=600, with clang, in build-fuzz/
	@docker/install-deps.sh build fuzz
	@$(MAKE) fuzz-smoke-targets
	@for target in $(FUZZ_SRCS:tests/fuzz/fuzz_%.c=%); do \
	    mkdir -p build-fuzz/corpus/$$target && echo "== $$target" && \
	    build-fuzz/fuzz/fuzz_$$target -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -verbosity=0 -timeout=10 \
	        -rss_limit_mb=2048 -artifact_prefix=build-fuzz/$$target- \
	        build-fuzz/corpus/$$target tests/fuzz/corpus/$$target || exit 1; \
	done

fuzz-smoke: fuzz-smoke-targets ## Replay every corpus, and fuzz shortly where clang can
	@FUZZ_BUILD=$(FUZZ_BUILD) tests/run.sh $(BUILD) fuzz

fuzz-smoke-targets:
	@$(if $(HAVE_FUZZER),$(MAKE) $(PARALLEL) BUILD=build-fuzz CC=clang FUZZ_MAIN= fuzz-targets \
	    CFLAGS='-O1 -g -Wno-pass-failed -fsanitize=fuzzer-no-link $(FUZZ_FLAGS)' LDFLAGS='-fsanitize=fuzzer $(FUZZ_FLAGS)',\
	    $(MAKE) $(PARALLEL) fuzz-targets)

fuzz-targets: $(FUZZERS)

bench: $(BUILD)/trm-bench ## Measure the bundled model and both large shapes at every dtype (MODEL=FILE)
	@$(BUILD)/trm-bench --compare --model '$(MODEL)' --arch sudoku-mlp --arch arc-attention

bench-peers: $(BUILD)/trm-bench $(BUILD)/trm-eval $(PEERS)/ready ## Compare with PyTorch and ONNX Runtime, from PyPI into build/ (6 GB)
	@$(PEERS)/bin/python tests/bench/peers.py --build $(BUILD) --model '$(MODEL)' $(PEERS_FLAGS)

# PyTorch without CUDA where its own index can be reached, else the one on PyPI.
$(PEERS)/ready:
	@docker/install-deps.sh build peers
	/usr/bin/python3 -m venv $(PEERS)
	$(PEERS)/bin/pip install -q --retries 0 --index-url https://download.pytorch.org/whl/cpu torch || \
	    $(PEERS)/bin/pip install -q torch
	$(PEERS)/bin/pip install -q numpy onnx onnxruntime onnxscript safetensors
	@touch $@

load: ## Measure servers that are idle, saturated, overloaded, and full of slow readers (LOAD_FLAGS=)
	@docker/install-deps.sh build test load
	@$(MAKE) $(PARALLEL) all $(LOAD)
	@TRM_BUILD=$(BUILD) /usr/bin/python3 tests/load/measure.py $(LOAD_FLAGS)

compare: $(BUILD)/trm-train $(BUILD)/trm-eval $(BUILD)/trm-data ## Train the paper's variants with equal budgets, some 8 hours, resumable; print the table (COMPARE_MINUTES=20)
	@/usr/bin/python3 tests/bench/compare.py --build $(BUILD) --minutes $(COMPARE_MINUTES) --seeds $(COMPARE_SEEDS) $(COMPARE_FLAGS)

# The data and the picture of README's curve.
CURVE_DATA  ?= ../shared/data/sudoku/test.csv
CURVE_FLAGS ?= --no-halt --max-steps 32
curve: $(BUILD)/trm-eval ## Draw accuracy by step, as build/curve.png (MODEL=FILE CURVE_DATA=FILE CURVE_FLAGS=)
	@docker/install-deps.sh build plot
	@$(BUILD)/trm-eval --model '$(MODEL)' --data '$(CURVE_DATA)' $(CURVE_FLAGS) --csv $(BUILD)/curve.csv
	@gnuplot -e "csv='$(BUILD)/curve.csv'; picture='$(BUILD)/curve.png'" tests/bench/curve.gp
	@echo 'drawn: $(BUILD)/curve.png'

demo-train: $(BUILD)/trm-train ## Train a 6x6 Sudoku model from nothing, in two minutes
	@rm -rf $(BUILD)/demo
	@$(BUILD)/trm-train --config config/train/demo.json --out $(BUILD)/demo

train-data: TESTS_OF_DATA = --test $(BUILD)/data/sudoku-heldout.csv $(SUDOKU_TEST:%=--test %)
train-data: $(BUILD)/trm-data ## Make the puzzles that config/train/sudoku.json trains on, from SUDOKU=train.csv
	@mkdir -p $(BUILD)/data
	(head -n 1 $(SUDOKU); tail -n 400 $(SUDOKU)) > $(BUILD)/data/sudoku-heldout.csv
	head -n -400 $(SUDOKU) > $(BUILD)/data/sudoku-known.csv
	$(BUILD)/trm-data clean --csv $(BUILD)/data/sudoku-known.csv $(TESTS_OF_DATA) --out $(BUILD)/data/sudoku-train.csv
	$(BUILD)/trm-data generate sudoku --count 300000 --seed 1 $(TESTS_OF_DATA) --out $(BUILD)/data/sudoku-generated.csv

SUDOKU_LONG_AVERAGED  = 16 17 18 19 20 21 22 23 24
SUDOKU_HINTS_AVERAGED = 11 12 13 14 15 16 17 18 19 20 21 22 23
SUDOKU_HARD_AVERAGED  = 10 15 20 25 30 35 40 45 50 55 60 65 70 75 80
train-sudoku: train-data $(BUILD)/trm-train ## Train the bundled Sudoku model in five runs, which go on where they were stopped, as runs/sudoku.safetensors
	set -e; for stage in sudoku sudoku-wide sudoku-long; do \
	    $(BUILD)/trm-train --config config/train/$$stage.json --out runs/$$stage --resume; done
	$(BUILD)/trm-train --average --out runs/sudoku-long.safetensors \
	    $(SUDOKU_LONG_AVERAGED:%=runs/sudoku-long/step_%000.safetensors)
	$(BUILD)/trm-train --config config/train/sudoku-hints.json --out runs/sudoku-hints --resume
	$(BUILD)/trm-train --average --out runs/sudoku-hints.safetensors \
	    $(SUDOKU_HINTS_AVERAGED:%=runs/sudoku-hints/step_%000.safetensors)
	$(BUILD)/trm-train --config config/train/sudoku-hard.json --out runs/sudoku-hard --resume
	$(BUILD)/trm-train --average --out runs/sudoku.safetensors \
	    $(SUDOKU_HARD_AVERAGED:%=runs/sudoku-hard/step_%00.safetensors)

MAZE_HARD_STAGES = maze-hard-10 maze-hard-18 maze-hard-30 maze-hard-30-low maze-hard-30-lower maze-hard-30-longer maze-hard-30-explore maze-hard
train-maze-hard: $(BUILD)/trm-train ## Train the bundled model for 30x30 mazes in eight runs, smaller mazes first; as runs/maze-hard.safetensors
	set -e; for stage in $(MAZE_HARD_STAGES); do \
	    $(BUILD)/trm-train --config config/train/$$stage.json --out runs/$$stage --resume; done
	$(BUILD)/trm-train --average --out runs/maze-hard.safetensors runs/maze-hard-30-explore/step_2500.safetensors \
	    runs/maze-hard/step_1600.safetensors

arc-data: $(BUILD)/trm-data ## Make the data set that config/train/arc.json trains on, from ARC=arc-agi (a prefix)
	$(BUILD)/trm-data arc --from $(ARC) --subsets training,evaluation,concept --test evaluation --augment 8 --seed 1 \
	    --without $(ARC_UNSEEN) --out $(BUILD)/data/arc

arc-hour-data: $(BUILD)/trm-data ## Make the smaller one that config/train/arc-hour.json trains on, of grids up to 14x14
	$(BUILD)/trm-data arc --from $(ARC) --subsets training,evaluation,concept --test evaluation --augment 3 --seed 1 \
	    --size 14 --without $(ARC_UNSEEN) --out $(BUILD)/data/arc-hour

arc-unseen: $(BUILD)/trm-server ## Adapt an ARC model to 20 tasks that it has not seen, print how many it solves (MODEL=FILE SECONDS=120 UNSEEN_FLAGS=)
	@/usr/bin/python3 tests/bench/unseen.py --build $(BUILD) --model '$(MODEL)' --from $(ARC) --tasks $(ARC_UNSEEN) \
	    --seconds $(SECONDS) $(UNSEEN_FLAGS)

man: $(PROGRAMS:$(BUILD)/%=$(BUILD)/man/%.1) ## Write manual pages into build/man/, from what the programs say of themselves

install: all man ## Install programs, models, manual pages and a systemd unit (DESTDIR= PREFIX=/usr/local)
	@$(MAKE) install-files

install-files:
	install -d $(addprefix $(DESTDIR),$(PREFIX)/bin $(PREFIX)/share/trm-server/models $(PREFIX)/share/man/man1 $(UNITS) $(ETC))
	install -m 755 $(PROGRAMS) $(DESTDIR)$(PREFIX)/bin
	install -m 644 $(wildcard server/models/*.safetensors) $(DESTDIR)$(PREFIX)/share/trm-server/models
	install -m 644 $(PROGRAMS:$(BUILD)/%=$(BUILD)/man/%.1) $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 docker/systemd/trm-server.service docker/systemd/trm-server.socket $(DESTDIR)$(UNITS)
	sed -i 's,/usr/local,$(PREFIX),g; s,/etc/trm-server,$(ETC),g' $(DESTDIR)$(UNITS)/trm-server.service
	[ -e $(DESTDIR)$(ETC)/server.json ] || \
	    sed 's,/usr/local,$(PREFIX),g' config/server/production.json >$(DESTDIR)$(ETC)/server.json

readme: $(BUILD)/trm-server ## Bring README's table of options up to date with the program
	@TABLE="$$($(BUILD)/trm-server --help-markdown)" awk \
	    '/^<!-- end of options/ { skip = 0 } !skip { print } /^<!-- options/ { skip = 1; print ENVIRON["TABLE"] }' \
	    README.md >$(BUILD)/README.new
	@cmp -s $(BUILD)/README.new README.md || cp $(BUILD)/README.new README.md

print-bundled-model: ## Print the path of the checkpoint that `make run` serves
	@test -n '$(BUNDLED_MODEL)' || { echo 'no server/models/sudoku*.safetensors' >&2; exit 1; }
	@echo '$(BUNDLED_MODEL)'

clean: ## Remove build/, build-sanitize/, build-tsan/ and build-fuzz/
	rm -rf $(BUILD) build-sanitize build-tsan build-fuzz

# Objects are made again when the compiler or its flags change.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(subst ',,$(ALL_CFLAGS))' >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	@echo '  CC   $<'
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# Debian's Python, which knows its packages, also where another one comes first in PATH.
$(BUILD)/gen/proto/openapi.c: proto/openapi.yaml proto/openapi.py $(BUILD)/flags
	@mkdir -p $(@D)
	@echo '  GEN  $@'
	$(Q)/usr/bin/python3 proto/openapi.py '$(VERSION)' <$< >$@

# The directory is newer when a file has come or gone.
$(BUILD)/gen/server/web.c: server/web/embed.py $(WEB_FILES) server/web $(BUILD)/flags
	@mkdir -p $(@D)
	@echo '  GEN  $@'
	$(Q)/usr/bin/python3 $< $(WEB_FILES) >$@

$(BUILD)/obj/gen/%.o: $(BUILD)/gen/%.c
	@mkdir -p $(@D)
	@echo '  CC   $<'
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# An archive is made anew: one that is updated keeps the members whose sources are gone.
$(ENGINE_LIB): $(ENGINE_OBJS)
	@rm -f $@ && ar rcs $@ $^

$(SERVER_LIB): $(SERVER_OBJS)
	@rm -f $@ && ar rcs $@ $^

$(BUILD)/trm-server: $(BUILD)/obj/server/main.o $(SERVER_LIB) $(ENGINE_LIB)
	@echo '  LINK $@'
	$(Q)$(CC) $^ -o $@ $(ALL_LDFLAGS) $(SERVER_LIBS)

$(BUILD)/trm-train: $(BUILD)/obj/engine/train/main.o $(ENGINE_LIB)
$(BUILD)/trm-train: PROGRAM_LIBS := $(MPI_LIBS)
$(BUILD)/trm-eval: $(BUILD)/obj/engine/train/eval_main.o $(ENGINE_LIB)
$(BUILD)/trm-data: $(BUILD)/obj/engine/data/main.o $(ENGINE_LIB)
$(BUILD)/trm-data: PROGRAM_LIBS := $(IMPORT_LIBS)
$(BUILD)/trm-bench: $(BUILD)/obj/engine/bench_main.o $(ENGINE_LIB)
$(BUILD)/trm-train $(BUILD)/trm-eval $(BUILD)/trm-data $(BUILD)/trm-bench:
	@echo '  LINK $@'
	$(Q)$(CC) $^ -o $@ $(ALL_LDFLAGS) $(PROGRAM_LIBS) $(ENGINE_LIBS)

# From --help, and so from the programs' own tables of options. help2man wants one line for each way of use.
USAGE := s/^usage:/Usage:/; s/\n +\[/ [/g; s/\n {7}trm-/\n  or:  trm-/g
NAME_trm-server := serve tiny recursive reasoning models over HTTP
NAME_trm-train  := train tiny recursive reasoning models
NAME_trm-eval   := measure how good a model is on a collection of puzzles
NAME_trm-data   := make, convert and check puzzles and data sets
NAME_trm-bench  := measure how fast a model is on this machine
$(BUILD)/man/%.1: $(BUILD)/%
	@mkdir -p $(@D)
	@echo '  MAN  $@'
	$(Q)help2man --no-info --name='$(NAME_$*)' --help-option='--help | sed -zE "$(USAGE)"' $< >$@

$(TESTS): $(BUILD)/tests/%: $(BUILD)/obj/tests/unit/%.o $(SERVER_LIB) $(ENGINE_LIB)
	@mkdir -p $(@D)
	@echo '  LINK $@'
	$(Q)$(CC) $^ -o $@ $(ALL_LDFLAGS) $(WRAP) $(TEST_LIBS)

# The test of failing allocations stands between our code and malloc.
comma := ,
$(BUILD)/tests/test_chaos: WRAP := $(foreach name,malloc calloc realloc free strdup strndup,-Wl$(comma)--wrap=$(name))

$(FUZZERS): $(BUILD)/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $(BUILD)/obj/tests/fuzz/file.o $(FUZZ_MAIN) $(SERVER_LIB) \
            $(ENGINE_LIB)
	@mkdir -p $(@D)
	@echo '  LINK $@'
	$(Q)$(CC) $^ -o $@ $(ALL_LDFLAGS) $(IMPORT_LIBS) $(SERVER_LIBS)

$(BUILD)/tests/parity: ENGINE_LIBS += $(MPI_LIBS)
$(BUILD)/tests/parity: $(PARITY_SRCS:%.c=$(BUILD)/obj/%.o) $(ENGINE_LIB)
	@mkdir -p $(@D)
	@echo '  LINK $@'
	$(Q)$(CC) $^ -o $@ $(ALL_LDFLAGS) $(ENGINE_LIBS)

$(LOAD): $(LOAD_SRCS:%.c=$(BUILD)/obj/%.o) $(ENGINE_LIB)
	@mkdir -p $(@D)
	@echo '  LINK $@'
	$(Q)$(CC) $^ -o $@ $(ALL_LDFLAGS) $(LOAD_LIBS)

-include $(patsubst %.c,$(BUILD)/obj/%.d,$(MAINS) $(ENGINE_SRCS) $(SERVER_SRCS) $(TEST_SRCS) $(PARITY_SRCS) $(LOAD_SRCS) \
           $(wildcard tests/fuzz/*.c))
