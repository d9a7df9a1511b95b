# make demo   four replicas on this machine, serving a small signed zone
# make test   every test, with real resolvers and clients
# make simulate  2,000 universes of whole replicas, each from a seed
# make twins  a sample of the Twins family: one replica twice, every partition and coin of three rounds
# make mutants  planted bugs: which checker finds each, after how many seeds
SHELL := /bin/bash
.DEFAULT_GOAL := help

PACKAGES := build-essential clang libclang-dev pkg-config bind9-dnsutils bind9-utils unbound openssl curl procps
# What the tests set beside ours, and nothing else needs.
TEST_PACKAGES := bind9 nsd knot knot-dnsutils knot-dnssecutils ldnsutils iproute2

# RocksDB's C++ takes ten minutes to compile. Its archive is kept outside the clone and linked from there.
ROCKSDB_VERSION := $(shell sed -n '/^name = "librocksdb-sys"/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
ROCKSDB_DIR ?= $(HOME)/.cache/torrens/rocksdb-$(ROCKSDB_VERSION)
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
CARGO := ROCKSDB_LIB_DIR=$(ROCKSDB_DIR) ROCKSDB_STATIC=1 cargo

DEMO_DIR ?= demo
ZONES ?= zones/names.example.zone
PORT_BASE ?= 5300
SEED ?= 0
SEEDS ?= 2000
SCENARIOS ?= 2000

.PHONY: help setup demo build release test simulate twins mutants lint bench

help:
	@sed -n '1,5s/^# //p' Makefile

# Asks for what is missing, once; does nothing when all is there.
setup:
	@missing=$$(for package in $(PACKAGES) $(if $(filter test,$(MAKECMDGOALS)),$(TEST_PACKAGES)); do dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; done); \
	if [ -n "$$missing" ]; then \
	  echo "installing: $$missing"; \
	  if [ $$(id -u) = 0 ]; then as_root=; else as_root=sudo; fi; \
	  $$as_root apt-get update -q && \
	  DEBIAN_FRONTEND=noninteractive $$as_root apt-get install -y -q --no-install-recommends $$missing; \
	fi
	@command -v cargo >/dev/null || { echo "Rust is missing: install cargo 1.95 or later"; exit 1; }

$(ROCKSDB_DIR)/librocksdb.a:
	@echo "compiling RocksDB, once (about ten minutes on two cores)"
	cargo build --release -p librocksdb-sys
	mkdir -p $(ROCKSDB_DIR)
	archive=$$(find $(TARGET_DIR)/release/build -path '*librocksdb-sys*' -name librocksdb.a | head -n 1) && \
	  cp "$$archive" $@.part && mv $@.part $@

release: setup $(ROCKSDB_DIR)/librocksdb.a
	$(CARGO) build --release

demo: release
	$(TARGET_DIR)/release/torrens testbed --dir $(DEMO_DIR) --port-base $(PORT_BASE) $(foreach zone,$(ZONES),--zone $(zone))

build: setup $(ROCKSDB_DIR)/librocksdb.a
	$(CARGO) build --all-targets --features misbehave,fixtures

test: setup $(ROCKSDB_DIR)/librocksdb.a
	$(CARGO) test --features misbehave,fixtures $(TESTS)

# Whole replicas under virtual time, one universe for each seed. In CI the build is that of `make test`.
simulate: setup $(ROCKSDB_DIR)/librocksdb.a
	$(CARGO) run --quiet --features misbehave,fixtures -- simulate --seed $(SEED) --seeds $(SEEDS)

twins: setup $(ROCKSDB_DIR)/librocksdb.a
	$(CARGO) run --quiet --features misbehave,fixtures -- simulate --twins --seed $(SEED) --count $(SCENARIOS)

# Prints a line for each as it is found; `src/mutants.rs` says how to choose some.
mutants: setup $(ROCKSDB_DIR)/librocksdb.a
	$(CARGO) test --lib --features misbehave,fixtures,mutants no_planted_bug_survives -- --nocapture

lint: setup $(ROCKSDB_DIR)/librocksdb.a
	cargo fmt --check
	$(CARGO) clippy --all-targets --features misbehave,fixtures -- -D warnings
	$(CARGO) clippy -- -D warnings

bench: setup $(ROCKSDB_DIR)/librocksdb.a
	$(CARGO) bench
