# Sourced: puts the Go that go.mod asks for on the PATH, or says what is missing.
# Debian 12's own is older: as root it is installed to fetch the right one, as
# the module that Go publishes its toolchains as.
go_wanted=go1.26.8

go_suits() {
	command -v go >/dev/null && go version | grep -qE "go1\.(2[6-9]|[3-9][0-9])"
}

if ! go_suits; then
	if ! command -v go >/dev/null; then
		[ "$(id -u)" = 0 ] || { echo "missing: go 1.26 or later" >&2; exit 1; }
		apt-get -qq update
		DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends golang-go ca-certificates >/dev/null
	fi
	# Outside of any module, so that an older Go does not read our go.mod.
	go_said=$(cd / && go mod download -json "golang.org/toolchain@v0.0.1-$go_wanted.linux-amd64") || true
	go_root=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$go_said")
	[ -d "$go_root" ] || { echo "missing: go 1.26 or later, and it could not be fetched: $go_said" >&2; exit 1; }
	# A module's files are not executable.
	chmod +x "$go_root"/bin/* "$go_root"/pkg/tool/*/*
	PATH=$go_root/bin:$PATH
	export PATH GOTOOLCHAIN=local
	go_suits || { echo "missing: go 1.26 or later" >&2; exit 1; }
fi
