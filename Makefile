# Each target does all its own set-up. CARGO_TARGET_DIR is honoured.
# Everything is built with --workspace: the features of dependencies are then the same for all, and built once.

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
DENY := $(TARGET)/tools/bin/cargo-deny
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)

.PHONY: run test check bench beside growth steps soak fuzz sbom confidence compat

# The demo: a real data set, a live factory, three lines to copy.
run:
	$(CARGO) build --release --workspace --bins --locked
	$(TARGET)/release/weir demo

# Every test of the house; the real binary included. Some need tools of Debian, which root installs.
test:
	tests/install.sh
	$(CARGO) build --workspace --all-targets --locked
ifeq ($(NEXTEST),yes)
	$(CARGO) nextest run --workspace --locked --no-fail-fast
else
	$(CARGO) test --workspace --locked --no-fail-fast
endif

# Format, lints, docs, dependencies.
check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
	@test -x $(DENY) || $(CARGO) install --quiet --locked --root $(TARGET)/tools cargo-deny --version 0.20.2 \
	 || echo "can't be installed: cargo-deny; bans, licences and sources are not checked"
# It looks at the crates of all platforms, and those of others are not here yet.
	@test ! -x $(DENY) || $(CARGO) fetch --quiet --locked
	@test ! -x $(DENY) || $(DENY) --offline check bans licenses sources
	@if test -x $(DENY) && $(DENY) fetch db >/dev/null 2>&1; then $(DENY) check advisories; \
	 else echo "the database of advisories can't be had here: they are not checked"; fi

# The figures of the README, on this machine.
bench:
	$(CARGO) build --release --workspace --bins --locked
	$(TARGET)/release/weir-bench
	@echo "Beside other engines, in one run on this machine: make beside"

# Weir beside other servers (of Debian, installed as root) and batch engines (of PyPI). BESIDE="--rounds 5" and such.
beside:
	$(CARGO) build --release --workspace --bins --locked
	bench/peers/install.sh
	$(TARGET)/release/weir-bench beside $(BESIDE)

# How figures grow with readings, series and history (with the plot of docs/performance.md), and limits of memory and time.
growth:
	$(CARGO) build --release --workspace --bins --locked
	$(TARGET)/release/weir-bench growth --plot docs/plots/growth.svg
	$(TARGET)/release/weir-bench limits

# Single steps of the hot path, by Criterion.
steps:
	$(CARGO) bench --workspace --locked --bench steps

# The law, crashes, power cuts, faults and damage for longer; each variable says how long.
soak:
	tests/install.sh
	$(CARGO) build --workspace --all-targets --locked
	WEIR_LAW_CASES=$${WEIR_LAW_CASES:-20000} $(CARGO) test --workspace --locked --test law -- --nocapture
	WEIR_KILL_CYCLES=$${WEIR_KILL_CYCLES:-1000} WEIR_KILL_CHAINS=$${WEIR_KILL_CHAINS:-200} $(CARGO) test --workspace --locked --test kill -- --nocapture
	WEIR_POWER_CYCLES=$${WEIR_POWER_CYCLES:-1000} $(CARGO) test --workspace --locked --test power -- --nocapture
	WEIR_POWER_STATES=$${WEIR_POWER_STATES:-10000} $(CARGO) test --workspace --locked --test blocks -- --nocapture
	WEIR_SWEEP=$${WEIR_SWEEP:-all} $(CARGO) test --workspace --locked --test sweep -- --nocapture
	WEIR_FLIPS=$${WEIR_FLIPS:-1000000} $(CARGO) test --workspace --locked --test corruption -- --nocapture
	WEIR_TEXTS=$${WEIR_TEXTS:-10000000} $(CARGO) test --workspace --locked --lib -- made_up_at_random
	WEIR_STORM_SECONDS=$${WEIR_STORM_SECONDS:-600} WEIR_DUELS=$${WEIR_DUELS:-100} $(CARGO) test --workspace --locked --test s3 -- --nocapture

# Decoders, frames, selectors, statements, settings and stored files against inputs that cargo-fuzz makes up. FUZZ_RUNS of each.
fuzz:
	fuzz/run.sh

# What a release consists of, as CycloneDX, into target/sbom.
sbom:
	tests/sbom.sh

# How right confidence is on the data sets with arrival times, with the diagrams of docs/confidence.md.
confidence:
	$(CARGO) build --release --workspace --bins --locked
	tests/confidence/run.sh $(TARGET)/release/weir $(DATA) $(TARGET)/confidence docs/plots

# Answers beside those of DuckDB and Polars on the real data sets, where they lie beside the project.
DATA ?= ../shared/data
compat:
	$(CARGO) build --release --workspace --bins --locked
	test -x $(TARGET)/compat/bin/pip || python3 -m venv $(TARGET)/compat
	$(TARGET)/compat/bin/pip install --quiet duckdb==2.0.0 polars==2.1.0 pyarrow==26.0.1
	$(TARGET)/compat/bin/python tests/compat/real_data.py --weir $(TARGET)/release/weir --data $(DATA)
