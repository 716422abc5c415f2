# Everything one does with a checkout. Each target does its own set-up; `make` alone says what there is.

export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin
SECONDS ?=
FUZZ_SECONDS ?= 60
BINARY ?=
MDBOOK = 0.5.4

.DEFAULT_GOAL := help
.PHONY: help setup build test lint advisories notices format golden book demo screenshots browser kernels chart alerts dashboards scraping opencost otlp clickhouse dist image images image-test attack servers syns bench soak siege fuzz clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## */  make \1\t/p' Makefile | expand -t 16

setup:  ## install and mount what is missing (Debian; root or sudo)
	@scripts/setup

build: setup  ## target/release/webb
	cargo build --release --locked

test:  ## every check; the last line counts them
	@scripts/setup kernels chart alerts image servers browser
	@scripts/check

lint: setup  ## format, licences, clippy and tidy
	@scripts/check lint

advisories: setup  ## known vulnerabilities of dependencies, from the RustSec database on GitHub
	cargo deny --locked check advisories

notices:  ## target/THIRD-PARTY-NOTICES: licences of all that is linked into the program
	@scripts/notices target/THIRD-PARTY-NOTICES

format:  ## format all Rust files
	@scripts/format

golden:  ## write every golden file, pages that are made from code included: read the diff
	@scripts/setup chart
	INSTA_UPDATE=always cargo test --locked --features fault-injection \
		--test command --test agent --test cluster --test metrics
	@scripts/chart golden

book:  ## target/book: docs as a book; builds mdBook first, which takes minutes
	@test -x target/mdbook/bin/mdbook || cargo install --locked --root target/mdbook --version $(MDBOOK) --no-default-features --features search mdbook
	target/mdbook/bin/mdbook build

# bash counts in a variable of that name, so it travels under another.
demo:  ## the lab, the agent, the page and webb top; SECONDS=20 ends by itself
	@env -u SECONDS DEMO_SECONDS="$(SECONDS)" lab/demo

screenshots:  ## the pictures in docs, of a page that runs (PAGE=http://127.0.0.1:9966); needs Chromium
	@scripts/screenshots $(PAGE)

browser:  ## the page in Chromium, in the lab: all views, figures, hostile names, axe-core; root
	@scripts/setup browser
	@cargo build --locked --features fault-injection --bin webb
	@scripts/browser

kernels:  ## the kernel tests on Debian's kernels, in virtual machines; a table
	@scripts/setup kernels
	@scripts/kernels

alerts:  ## every alert fired in a real Prometheus with Alertmanager, and ended; root
	@scripts/setup alerts
	@scripts/chart install
	@cargo build --locked --features fault-injection --bin webb
	@lab/alerts

chart:  ## checks of charts/webb alone
	@scripts/setup chart
	@scripts/chart

dashboards:  ## which panels of webb's dashboards have data, by a Prometheus beside the agent in the lab; root
	@scripts/setup dashboards
	@scripts/dashboards

scraping:  ## the chart's targets in Prometheus, 2 and 3, with the labels that Cilium's have; root
	@scripts/setup scraping
	@scripts/scraping

opencost:  ## OpenCost's three queries about the network in a Prometheus that scrapes webb alone; root
	@scripts/setup scraping
	@cargo build --locked --features fault-injection --bin webb
	@scripts/opencost

clickhouse: setup  ## the questions of docs/rollups.md, asked of ClickHouse's engine about rows of the lab; root
	@scripts/clickhouse

otlp: setup  ## OTLP logs delivered to rotel, to Google's gRPC in Python and to librdkafka's brokers of Kafka
	@scripts/otlp

dist: setup  ## target/dist: the program in an archive with completions and manual pages, its SBOM, checksums
	@scripts/dist $(BINARY)

image:  ## target/image: the container image (OCI layout), its SBOM and notices; root (BINARY=target/debug/webb)
	@scripts/setup image
	@scripts/image $(BINARY)

images:  ## target/images: the image for amd64 and arm64 as one index, on x86-64; root (BINARY=: amd64 from this binary)
	@scripts/setup images
	@scripts/images $(BINARY)

image-test:  ## the image run by runc as the chart says, in the lab; root (BINARY=target/debug/webb)
	@scripts/setup chart image
	@scripts/image-test $(BINARY)

attack: setup  ## attacks on the agent at full load, in namespaces of their own; a table
	@scripts/attack

servers: setup  ## layer 7 of real servers against their logs, with twenty times the load; root
	@scripts/setup servers
	WEBB_SERVERS=full cargo test --locked --features fault-injection --test live servers:: -- --test-threads=1

syns: setup  ## a flood of a million SYNs through the kernel's table, each with an outcome; root
	WEBB_SYNS=1000000 cargo test --locked --features fault-injection --test kernel flood_of_syns -- --nocapture

bench: setup  ## benchmarks
	cargo bench --locked

soak: setup  ## an hour of churn in 20 minutes; fails if memory, descriptors or eBPF objects grow (SECONDS=120; root)
	env -u SECONDS SOAK_SECONDS="$(or $(SECONDS),1200)" benches/agent.sh soak

siege: setup  ## all attacks in turn under 128 MiB and a quarter of a core, 20 minutes; fails if it does not hold (SECONDS=120; root)
	env -u SECONDS SIEGE_SECONDS="$(or $(SECONDS),1200)" benches/agent.sh siege

fuzz: setup  ## every fuzz target for FUZZ_SECONDS=60 (needs a nightly Rust)
	@FUZZ_SECONDS="$(FUZZ_SECONDS)" scripts/fuzz

clean:  ## remove what was built
	cargo clean
	rm -rf fuzz/target fuzz/corpus fuzz/artifacts
