# Everything a person or CI runs. `make setup` installs what a minimal Debian
# lacks; all else needs Go alone.

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.0.0-dev)
BIN      ?= bin
FUZZTIME ?= 30s
BENCH    ?= .
# Packages tested at a time. Real hosts and fuzz corpora share the machine, so
# more than the cores only lengthens each.
P        ?= $(shell nproc 2>/dev/null || echo 2)

.PHONY: all build deb sbom reproducible demo recording setup test check check-long format vet staticcheck layers race vulnerabilities bench fuzz golden clean
all: build

# The same bytes wherever and whenever: no paths, no state of the checkout, which the version names anyway.
build:
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN)/dunlin ./cmd/dunlin

# The Debian package, beside the program. Its tool has modules of its own
# (.packaging/go.mod): what that is made of is none of the program's business.
deb: export DEB_VERSION ?= $(shell .packaging/version '$(VERSION)' "$$(git rev-list --count HEAD 2>/dev/null)")
deb: export DEB_ARCH ?= $(shell go env GOARCH)
deb: export DEB_PROGRAM = $(abspath $(BIN))/dunlin
deb: export DEB_SBOM = $(abspath $(BIN))/dunlin.cdx.json
deb: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || date +%s)
deb: sbom
	GOOS= GOARCH= go -C .packaging tool nfpm package --config nfpm.yaml --packager deb --target $(abspath $(BIN))

# What the program is made of, as CycloneDX: the modules that Go has put into it, the standard library among them, with
# their checksums. It has no time and no number of its own, nor the checksum of the tool that made it, which differs from
# machine to machine, so that it is the same each time.
sbom: build
	GOOS= GOARCH= CGO_ENABLED=0 GOFLAGS=-trimpath go -C .packaging tool cyclonedx-gomod bin -json -std -noserial -notimestamp \
	  -version '$(VERSION)' $(abspath $(BIN))/dunlin | sed '/^        "hashes": \[$$/,/^        \],$$/d' >$(BIN)/dunlin.cdx.json
	@grep -q '"github.com/dunlin-dev/dunlin"' $(BIN)/dunlin.cdx.json

# Program, list and package built twice, under circumstances as different as two machines', are the same bytes.
# COLD=1 compiles everything anew for the second.
reproducible:
	@.ci/reproducible

# The main job on simulated hosts: no root, no network, nothing left behind.
demo: build
	$(BIN)/dunlin demo

# Draws the demo as it runs here; look at the picture before committing it.
recording: build
	go run ./cmd/recording -o docs/demo.svg $(BIN)/dunlin demo

# Debian packages, listed in one place; as root.
setup:
	apt-get update -q
	grep -v '^#' .ci/packages | DEBIAN_FRONTEND=noninteractive xargs apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends

# Tests that need root, overlayfs or nf_tables fail without them and say so.
test:
	go test -timeout 30m -p $(P) ./...

# What CI runs; the tests come last, so that their summary ends the output.
check: format vet staticcheck layers vulnerabilities build reproducible race

format:
	@bad=$$(gofmt -l agent cmd examples policies reconciler schema); \
	if [ -n "$$bad" ]; then echo "not formatted (run gofmt -w): $$bad"; exit 1; fi

vet:
	GOOS=linux go vet ./...
	GOOS=windows go vet ./...

staticcheck:
	go tool staticcheck ./...

layers:
	go test -run 'Layers|Banned|StandardLibrary|Pure|Registers|Variables|TopLevel|OneSubject|Described|Parts|House' ./schema

# The race detector's own runtime gives up in a process that simulates fleets of fifty for long ("ThreadSanitizer: CHECK
# failed"). So agenttest is tested whole without it, and its smaller fleets once more with it; the agents of real hosts
# are other processes in any case.
SMALL_FLEETS = APush|CutOff|AForcePush|AClockAnHour|LastGood|AReadOnlyRemote|ALostReport|OnlyTheGossipKey|ClonedIdentity|NotInTheRoster|ALyingFetcher|AWrongGossipKey|GossipHints|AwayForAnHour

# The loader against CUE at full count: the race detector makes each of its thousands of mutations ten times as slow, so
# that it sees few of them.
AGAINST_CUE = Mutants|Adversarial|VerdictOfCUE

# A program with the race detector sleeps a second before it ends, lest it cut off reports of its own threads; here
# hundreds of commands are run one after another. A race is reported when it is seen, and fails the command all the same.
race: export GORACE = atexit_sleep_ms=0
race:
	@command -v $${CC:-gcc} >/dev/null || { echo "the race detector needs a C compiler: run make setup"; exit 1; }
	CGO_ENABLED=1 go test -race -timeout 30m -p $(P) $$(go list ./... | grep -v '/agent/agenttest$$')
	CGO_ENABLED=1 go test -race -timeout 30m -run '$(SMALL_FLEETS)' ./agent/agenttest
	go test -timeout 30m -run '$(AGAINST_CUE)' ./schema/load
	go test -timeout 30m ./agent/agenttest

# The database of known vulnerabilities is on the network. Without it there is
# one line, or with DUNLIN_ONLINE=1 a failure; with it, a vulnerability that the
# program reaches is a failure.
vulnerabilities:
	@.ci/vulnerabilities

# Everything at full count; hours rather than minutes.
check-long: check
	COLD=1 .ci/reproducible
	DUNLIN_LONG=1 go test -timeout 4h -count=1 -p $(P) ./...
	$(MAKE) fuzz FUZZTIME=10m

bench:
	go test -run '^$$' -bench '$(BENCH)' -benchmem -p 1 ./...

# Each fuzz target for FUZZTIME. An input that finds new code is kept as it is: to make it smaller takes up to a minute, and a run
# whose time is over meanwhile fails with "context deadline exceeded".
fuzz:
	@set -e; grep -rl --include='*_test.go' '^func Fuzz' agent cmd reconciler schema | xargs -n1 dirname | sort -u | while read -r pkg; do \
	  for target in $$(grep -h -o '^func Fuzz[A-Za-z0-9_]*' $$pkg/*_test.go | cut -d' ' -f2); do \
	    echo "$$pkg $$target"; go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x ./$$pkg; \
	  done; \
	done

# Writes expected outputs anew; read the diff before committing it.
golden:
	DUNLIN_GOLDEN=1 go test ./cmd/... ./schema/... ./agent/report
	git diff --stat

clean:
	rm -rf bin
