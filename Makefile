# Thin: each target is one or two commands that can be typed by hand. `.ci/run` calls the same targets.
# UPDATE=1 rewrites generated files, ONCE=1 lets the demo end by itself.

CARGO ?= cargo
SOAK_MINUTES ?= 30
IMAGE ?= bytefreezer-proxy
ARCH ?= $(shell dpkg --print-architecture 2>/dev/null || echo amd64)
VERSION ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

.PHONY: help demo test packages lint lint-shell deny generate chart e2e demo-k8s cluster-up cluster-down soak bench bench-write guard \
	fuzz image image-check image-docker clean

help: ## This list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | expand -t 14

demo: ## Real traffic through the proxy to an embedded Receiver, with an outage in the middle
	$(CARGO) build --release --locked --package bytefreezer-proxy --package e2e --bin bytefreezer-proxy --bin demo
	target/release/demo

packages: ## The Debian packages that the tests use as peers
	.ci/packages

test: packages ## Everything that needs no cluster
	e2e/cluster/cluster build goflow2
	$(CARGO) build --locked --workspace --bins
	$(CARGO) test --locked --workspace

lint: ## Format and clippy, warnings are errors
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --workspace --all-targets --features e2e/k8s -- -D warnings

lint-shell: packages ## shellcheck over all scripts
	shellcheck --external-sources --check-sourced --source-path=SCRIPTDIR $$(git grep --files-with-matches -E '^#!(/usr/bin/env bash|/bin/sh)')

deny: ## Licences, bans and sources of all dependencies
	command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny --locked check bans licenses sources

generate: ## Generated files: compared, or rewritten with UPDATE=1
	.ci/generate

chart: ## helm lint, renderings against charts/tests/golden (UPDATE=1 writes them), kubeconform; without a cluster
	.ci/chart

demo-k8s: packages ## A real cluster, the chart and logger traffic through failures, and a count of every event; as root
	.ci/demo-k8s

cluster-up: ## A real Kubernetes, as root (CLUSTER=name, NODES=1); the first time it is built, for 15 minutes
	e2e/cluster/cluster up $(NODES)

cluster-down: ## The end of it
	e2e/cluster/cluster down

e2e: ## The tests on a real cluster (TEST=name for one), as root; E2E_KUBECONFIG takes another cluster than ours
	.ci/e2e $(TEST)

soak: ## The long ones: 500 kills; SOAK_MINUTES (30) of load with outages
	$(CARGO) build --release --locked --package bytefreezer-proxy --bin bytefreezer-proxy
	SOAK=1 PROXY_BINARY=$(CURDIR)/target/release/bytefreezer-proxy $(CARGO) test --locked --release --package e2e --test crash -- --nocapture
	SOAK_MINUTES=$(SOAK_MINUTES) PROXY_BINARY=$(CURDIR)/target/release/bytefreezer-proxy $(CARGO) test --locked --release --package e2e --test soak -- --nocapture

bench: packages ## Speed beside peers and a null receiver, in one run (half an hour); PART=lines or PART=flows for a part of it
	e2e/cluster/cluster build goflow2
	$(CARGO) build --release --locked --package bytefreezer-proxy --package e2e --bins
	PATH="$$(e2e/cluster/cluster path):$$PATH" target/release/bench $(PART) $(WRITE)

bench-write: WRITE = --write
bench-write: bench ## The same, and its tables into README.md and docs/performance.md

guard: packages ## Instructions of the hot loops against proxy/benches/limits.txt; UPDATE=1 writes that
	$(CARGO) bench --locked --package bytefreezer-proxy --bench instructions

fuzz: ## Every fuzz target under libFuzzer for FUZZ_SECONDS (20), or FUZZ_RUNS inputs; `make test` has a short run of each
	.ci/fuzz

image: ## Container images without an engine, as root: target/image/*.tar for containerd, podman, kind, k3d, Docker
	ARCH=$(ARCH) TAG=$(VERSION) packaging/image
	@if e2e/cluster/cluster status | grep -q '^kubelet'; then e2e/cluster/cluster load target/image/bytefreezer-*.tar; fi
	@echo "into kind: kind load image-archive FILE; into k3d: k3d image import FILE; FILE: target/image/bytefreezer-proxy.tar, -operator.tar"

image-docker: ## The same with Docker
	docker build --file packaging/Dockerfile --tag $(IMAGE):$(VERSION) .
	docker build --file packaging/Dockerfile --target operator --tag bytefreezer-operator:$(VERSION) .

image-check: packages ## The image's last stage, built with the static program and run, without a Docker engine; minutes, as root
	packaging/build-static $(ARCH) target/image/bin
	IMAGE_BINARY=$(CURDIR)/target/image/bin/bytefreezer-proxy $(CARGO) test --locked --package e2e --test packaging -- image

clean: ## Build products
	$(CARGO) clean
