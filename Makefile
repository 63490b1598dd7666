# facescan: `make demo` shows it, `make test` proves it; both install what they need. `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

BIN := facescan
# Debian's packages, by what they are for.
BUILD_DEBS := gcc libc6-dev libturbojpeg0-dev
TEST_DEBS  := $(BUILD_DEBS) chromium e2fsprogs iproute2 pgbouncer postgresql prometheus util-linux
# DATA names folders of annotated photos for `make accuracy`.
DATA ?=
FUZZTIME ?= 20s
# What a first build downloads.
MODULES := 125 MB
# Every package: ./... leaves the programs below testdata out.
PACKAGES := ./... ./testdata/accuracy ./testdata/bench ./testdata/cover ./testdata/demo ./testdata/mutants ./testdata/pictures
GOLANGCI := .bin/golangci-lint-v2.15.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.6.1
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.1.4

.PHONY: help deps deps-test build demo test tests fuzz soak bench bench-peers bench-ways accuracy test-interop test-gpu test-slurm test-arm64 cover pictures install static dist test-packages mutants lint lint-quick licences vuln generate generated clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | awk -F'\t' '{printf "  %-12s %s\n", $$1, $$2}'

deps: ## install what building needs (Debian, macOS)
	@$(call install,$(BUILD_DEBS),jpeg-turbo)

deps-test: ## install what testing needs besides
	@$(call install,$(TEST_DEBS),jpeg-turbo postgresql@17)

# install: packages of Debian, of Homebrew.
install = .ci/packages '$(1)' '$(2)'

build: deps ## build ./facescan
	@.ci/stage 'compiling facescan, with $(MODULES) of Go modules' 150 go build -o $(BIN) .

# For packagers. HOMEPAGE is an address for the User-Agent header, where owners of servers read what this program does.
PREFIX ?= /usr/local
VERSION ?= $(shell .ci/version)
HOMEPAGE ?=
MAINTAINER ?= the facescan authors
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y go.mod)
DIST ?= dist
NFPM := .bin/nfpm-v2.45.2
STAMP = -X facescan/cmd.release=$(VERSION) -X facescan/cmd.homepage=$(HOMEPAGE)

install: ## install ./facescan with manual pages, completions and licences: PREFIX=/usr/local DESTDIR=
	@[ -x $(BIN) ] || $(MAKE) build
	@at=$(DESTDIR)$(PREFIX); pages=$$(mktemp -d); trap 'rm -rf "$$pages"' EXIT; \
	install -D -m 755 $(BIN) "$$at/bin/facescan"; \
	"$$at/bin/facescan" man --dir "$$pages"; \
	for n in 1 7; do install -D -m 644 -t "$$at/share/man/man$$n" "$$pages"/*.$$n; done; \
	put() { install -D -m 644 /dev/stdin "$$at/share/$$1"; }; \
	"$$at/bin/facescan" completion bash | put bash-completion/completions/facescan; \
	"$$at/bin/facescan" completion zsh | put zsh/site-functions/_facescan; \
	"$$at/bin/facescan" completion fish | put fish/vendor_completions.d/facescan.fish; \
	cat LICENSE NOTICE | put doc/facescan/copyright; \
	put doc/facescan/changelog <.github/CHANGELOG.md; \
	echo "facescan is installed in $$at"

# It needs nothing of the system that it runs on, however old. The price: it cannot load the driver of a GPU.
static: deps ## build ./facescan linked statically
	@CGO_ENABLED=1 .ci/stage 'compiling a static facescan $(VERSION)' 150 \
	  go build -trimpath -buildvcs=auto -tags static,netgo,osusergo,sqlite_omit_load_extension \
	  -ldflags "-s -w $(STAMP) -linkmode external -extldflags '-static -Wl,--build-id=none'" -o $(BIN) .

dist: $(NFPM) ## packages in dist/ (tar.gz, .deb, .rpm), to run on any Linux: HOMEPAGE=https://… MAINTAINER='Name <address>'
	@[[ "$(HOMEPAGE)" =~ ^(https?://[A-Za-z0-9._~:/?\#@!\&=+,%-]+)?$$ ]] || \
	  { echo "HOMEPAGE is not a web address: $(HOMEPAGE)" >&2; exit 2; }
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	$(MAKE) -s static BIN="$$dir/facescan"; \
	VERSION="$(VERSION)" HOMEPAGE="$(HOMEPAGE)" MAINTAINER="$(MAINTAINER)" SOURCE_DATE_EPOCH="$(SOURCE_DATE_EPOCH)" \
	  NFPM=$(NFPM) .ci/dist "$$dir/facescan" $(DIST)

test-packages: dist ## install the packages where there is nothing else, and run a job there; as root (Debian)
	@$(call install,debootstrap rpm,)
	@.ci/test-packages $(DIST)

$(NFPM):
	@GOBIN=$(CURDIR)/.bin .ci/stage 'compiling nfpm, which makes packages' 80 \
	  go install github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
	@mv .bin/nfpm $@

demo: build ## serve a few images on loopback, run, kill -9, resume, print the CSV; DEMO=FOLDER for what it leaves
	@testdata/demo/demo.sh ./$(BIN) $(DEMO)

# A process of the race detector waits for a second before it ends, and tests start thousands of them.
export GORACE ?= atexit_sleep_ms=0
# Most tests wait for something most of the time: twice as many as there are cores run side by side. The longest package
# runs beside all others, whose lines would else wait for its own.
TESTING := -race -timeout 30m -parallel $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))
test: deps-test ## every test, with the race detector
	@.ci/stage 'vet, with $(MODULES) of Go modules' 200 go vet $(PACKAGES)
	@.ci/stage 'compiling with the race detector' 250 go build -race ./cmd/... ./detect/... ./pipeline/... ./store/...
	@.ci/stage 'tests, a line per package' 1000 $(MAKE) -s tests

tests:
	@code=0; go test $(TESTING) ./cmd & longest=$$!; \
	go test $(TESTING) $$(go list $(PACKAGES) | grep -vx facescan/cmd) || code=$$?; \
	wait $$longest || code=$$?; \
	exit $$code

fuzz: deps ## every fuzz target for FUZZTIME
	@go list ./... | while read -r p; do \
	  go test -list '^Fuzz' $$p | grep '^Fuzz' | while read -r f; do \
	    echo "== $$p $$f"; go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$p; \
	  done; done

soak: deps-test ## the kill loops and long tests at full count
	FACESCAN_SOAK=1 go test -race -timeout 3h ./...
	FACESCAN_SOAK=1 go test -tags 'crashpoints powercut' -timeout 3h ./store/sqlite

bench: deps ## the benchmarks, as a table
	go run ./testdata/bench $(if $(NAIVE),-naive $(NAIVE))

bench-ways: deps ## three ways to share a list among processes, as tables: speed, and what a death or a newcomer costs
	@$(call install,postgresql,postgresql@17)
	go run ./testdata/bench -ways

# DATA is folders of annotated photos, as for accuracy; without it the pictures of `make bench`, in which any detector
# finds the face. PHOTOS is a folder of JPEGs for the whole runs, instead of those pictures.
PEERS := .bin/peers
bench-peers: deps ## facescan beside pigo's command, OpenCV's Haar cascades and YuNet in Python: time and F1
	@$(call install,python3-opencv opencv-data python3-venv,opencv python)
	@$(call venv,$(PEERS),numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 opencv-python-headless==5.0.0.93 urllib3==2.5.0)
	@cd detect/yunet && go run generate.go -floats $(CURDIR)/$(PEERS)/floats.json
	@$(PEERS)/bin/python testdata/accuracy/yunet_onnx.py $(PEERS)/floats.json $(PEERS)/yunet.onnx
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	[ -n "$(DATA)" ] || go run ./testdata/bench -corpus "$$dir"; \
	go run ./testdata/accuracy -peers -python $(PEERS)/bin/python -onnx $(PEERS)/yunet.onnx $(if $(DATA),$(DATA),"$$dir")
	go run ./testdata/bench -peers $(if $(PHOTOS),-images $(PHOTOS)) -python $(PEERS)/bin/python -onnx $(PEERS)/yunet.onnx

accuracy: deps ## recall, precision and F1 at IoU 0.4 over DATA="FOLDER…" (annotations.csv beside images/)
	@[ -n "$(DATA)" ] || { echo 'make accuracy DATA="FOLDER…": each with images/ and annotations.csv (file,x,y,w,h)' >&2; exit 2; }
	go run ./testdata/accuracy $(DATA)

# Virtual environments of their own, since what they need does not go together. FACESCAN_ONNX may name a YuNet model for the example
# sidecar to be tried with, too.
INTEROP := .bin/interop
test-interop: ## exports, kept images and the sidecar against programs of others, from PyPI into .bin: pyarrow, pandas, duckdb, pycocotools, webdataset, tritonclient, MLServer
	@$(call install,$(BUILD_DEBS) python3-venv,jpeg-turbo python)
	@$(call venv,$(INTEROP)-export,-r store/export/testdata/requirements.txt)
	FACESCAN_PYTHON=$(CURDIR)/$(INTEROP)-export/bin/python go test -count=1 -tags interop -run 'TestInterop' -v ./store/export
	@$(call venv,$(INTEROP)-keep,-r pipeline/keep/testdata/requirements.txt)
	FACESCAN_PYTHON=$(CURDIR)/$(INTEROP)-keep/bin/python go test -count=1 -tags interop -run 'TestWebdataset' -v ./pipeline/keep
	@$(call venv,$(INTEROP)-hash,-r pipeline/decode/testdata/requirements.txt)
	FACESCAN_PYTHON=$(CURDIR)/$(INTEROP)-hash/bin/python go test -count=1 -tags interop -run 'TestInterop' -v ./pipeline/decode
	@$(call venv,$(INTEROP),-r detect/sidecar/example/requirements.txt 'tritonclient[http]==2.73.0')
	FACESCAN_PYTHON=$(CURDIR)/$(INTEROP)/bin/python go test -count=1 -tags interop -run 'TestTriton|TestMLServer' -v ./detect/sidecar

# venv: a folder with packages of Python; made once.
define venv
[ -e $(1)/made ] || { rm -rf $(1) && python3 -m venv $(1) && $(1)/bin/pip install -q $(2) && touch $(1)/made; }
endef

test-gpu: deps ## where there is an NVIDIA GPU: parity with pigo (on the JPEGs below DATA, too), and images/s by batch size
	DATA="$(DATA)" go test -count=1 -tags gpu -run TestGPU -bench GPU -v ./detect/cuda

# It installs nothing: a cluster's software is not for every machine that runs `make test`.
test-slurm: deps ## the scripts of `facescan help many-machines` for array jobs on a real Slurm, started for the test on loopback (Debian: slurm-wlm)
	go test -count=1 -tags slurm -run '^TestSlurm$$' -v ./cmd

# Packages whose native code differs by processor. Their tests are linked statically: under qemu those with C hang otherwise.
ARM64_TESTED := ./detect ./detect/pigo ./detect/yunet
test-arm64: deps ## the detectors' tests for 64-bit Arm, in an emulator (Debian)
	@$(call install,gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static,)
	@dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	for p in $(ARM64_TESTED); do \
	  echo "== $$p"; \
	  GOARCH=arm64 CGO_ENABLED=1 CC=aarch64-linux-gnu-gcc \
	    go test -c -ldflags '-linkmode external -extldflags "-static"' -o "$$dir/test" $$p; \
	  (cd $$p && qemu-aarch64-static "$$dir/test" -test.timeout 20m); \
	done

cover: deps-test ## coverage of each package by its own tests, beside its floor
	go run ./testdata/cover

pictures: build ## the pictures of the README, from a run on loopback; needs Chromium
	go run ./testdata/pictures -facescan ./$(BIN)

# PKGS names packages, all others are left as they are; N is how many changes each package gets, SEED which ones.
PKGS ?= ./detect/... ./pipeline/... ./store/...
N ?= 5
SEED ?= 1
mutants: deps-test ## N random one-token changes per package: which of them do its own tests not notice?
	go run ./testdata/mutants -n $(N) -seed $(SEED) $(PKGS)

lint: lint-quick $(GOLANGCI) ## the linters of .golangci.yml besides
	$(GOLANGCI) run $(PACKAGES)

lint-quick: deps ## gofmt, vet with every build tag, staticcheck, go.mod as tidy leaves it, NOTICE
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these' >&2; exit 1; }
	go vet -tags 'crashpoints gpu interop powercut slurm' $(PACKAGES)
	go vet -tags static ./cmd ./detect/cuda
	go run $(STATICCHECK) $(PACKAGES)
	go mod tidy -diff
	go test -count=1 -run TestNotice ./cmd

# Minutes, once: afterwards it lies in .bin.
$(GOLANGCI):
	GOBIN=$(CURDIR)/.bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	mv .bin/golangci-lint $@

licences: ## NOTICE names every module that is linked into the program
	go test -count=1 -v -run TestNotice ./cmd

vuln: deps ## known vulnerabilities in what the program calls; asks vuln.go.dev, so it is never a gate
	go run $(GOVULNCHECK) ./...

generate: ## regenerate the generated files (the kernel of detect/cuda needs nvcc or clang)
	go generate ./...

generated: ## the generated files are what their sources give; a test holds the kernel to its own
	go generate ./detect/pigo ./detect/yunet
	git diff --exit-code -- detect

clean: ## remove what was built
	rm -f $(BIN)
