# Two commands do everything: `make run` and `make test`. The rest is for those
# who change Postern. Each target fetches what it needs.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOFLAGS_BUILD = -trimpath -ldflags "-s -w -X main.version=$(VERSION)"
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
export GOTOOLCHAIN = local

# Pinned here, not in go.mod: they are no part of the product.
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK = golang.org/x/vuln/cmd/govulncheck@v1.9.0
LICENSES    = github.com/google/go-licenses@v1.6.0
# The last one whose modules every proxy has; what came later is for Windows and RPM.
NFPM        = github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
GRAFANA     = @grafana/schema@13.2.3
TYPESCRIPT  = typescript@5.9.3

# Where tests run with the race detector: the packages with concurrency.
RACE = ./cluster ./node ./node/queue ./node/submission ./node/delivery ./node/admin ./node/dnsbl ./node/doctor

.PHONY: build run test race soak bench culprit check fuzz packages bench-packages package image test-package test-same test-dashboards pictures test-ansible lint-ansible ansible-packages

build:
	CGO_ENABLED=0 go build $(GOFLAGS_BUILD) -o bin/postern ./cmd/postern

run: build
	bin/postern demo

test: packages
	go test ./...
	$(MAKE) --no-print-directory race

race:
	go test -race -short $(RACE)

# The long proofs: hundreds of kills and power cuts, a million messages.
soak: packages
	POSTERN_SOAK=1 go test -timeout 120m ./...

# A thousand towns with one spammer: is he found, is nobody else held?
culprit:
	POSTERN_SOAK=1 go test -timeout 120m -run 'Test(Culprit|Nobody)InTown' -v ./tenant

bench: build bench-packages
	go run ./node/lab/bench $(BENCH)

check:
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "not gofmt-ed: $$unformatted"; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	go mod verify
	.ci/licences $(LICENSES)
	.ci/vulnerabilities $(GOVULNCHECK)
	@if command -v ansible-lint >/dev/null; then $(MAKE) --no-print-directory lint-ansible; fi

# Every fuzz target for FUZZTIME. Minimizing is kept short: by default one slow
# input may take a minute of it, and the run then fails at its deadline.
FUZZTIME ?= 20s
fuzz:
	@for pkg in $$(go list ./...); do \
		for f in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
			echo "$$pkg $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x $$pkg || exit 1; \
		done; \
	done

# dist/postern_VERSION_ARCH.deb and SHA256SUMS; the same commit gives the same bytes.
ARCHS ?= amd64 arm64
package:
	deploy/package/build $(NFPM) $(ARCHS)

# dist/postern_VERSION_ARCH.oci.tar: container images from scratch. As root.
image:
	@.ci/packages buildah crun
	deploy/package/image $(ARCHS)

# A real systemd and apt install the package, start, reload, upgrade and purge it,
# and restart a process that stands still; lintian finds no error. As root.
test-package:
	@.ci/packages systemd-container debootstrap openssl lintian
	$(MAKE) --no-print-directory package ARCHS=$$(go env GOARCH)
	lintian --allow-root --fail-on error dist/postern_*.deb
	deploy/package/trial

# Two clones of this commit give the same packages and images. As root.
test-same:
	@.ci/packages buildah crun
	deploy/package/same $(NFPM) $(ARCHS)

# Are the dashboards what Grafana's own types say? By TypeScript, from npm.
test-dashboards:
	@command -v npm >/dev/null || .ci/packages npm
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
		npm install --prefix "$$dir" --silent --no-audit --no-fund --ignore-scripts $(GRAFANA) $(TYPESCRIPT) && \
		POSTERN_GRAFANA_SCHEMA=$$dir go test -count=1 -run TestSchema -v ./deploy/grafana

# Draws the dashboards of a running cluster, which goes on for a while.
pictures: packages
	go run ./deploy/grafana
	POSTERN_PICTURES=150s go test -count=1 -timeout 10m -run TestMonitoring -v ./cmd/postern

# The playbooks of ansible/ on three machines that systemd boots, as root: from
# bare Debian to mail, through kills, a listing, an upgrade, a restore, and back.
# The tree they boot from is made once, below MACHINES.
MACHINES ?= /var/cache/postern-ansible
test-ansible: ansible-packages lint-ansible
	ansible/base $(MACHINES)/machines
	VERSION=1 OUT=$(MACHINES)/debs/1 deploy/package/build $(NFPM) amd64
	VERSION=2 OUT=$(MACHINES)/debs/2 deploy/package/build $(NFPM) amd64
	POSTERN_ANSIBLE=1 POSTERN_ANSIBLE_BASE=$(MACHINES)/machines POSTERN_ANSIBLE_DEBS=$(MACHINES)/debs \
		go test -count=1 -timeout 60m -v ./ansible $(ANSIBLE)

# Does every playbook read well? In CI it is asked where ansible-lint is.
lint-ansible:
	cd ansible && ansible-lint --offline --profile production playbooks roles
	cd ansible && ansible-playbook --syntax-check -i inventory.example playbooks/*.yml >/dev/null

ansible-packages:
	@.ci/packages ansible ansible-lint systemd-container debootstrap openssh-client iproute2 util-linux haproxy

# Debian packages the tests talk to: real clients and servers.
packages:
	@.ci/packages curl swaks libnet-ssleay-perl msmtp python3 postfix iproute2 nftables openssl rbldnsd prometheus prometheus-blackbox-exporter haproxy systemd

bench-packages:
	@.ci/packages postfix sasl2-bin libsasl2-modules libsasl2-modules-db
