//go:build conformance

package conformance

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"ashlar/scripts/internal/require"
)

// newerVariable hands the path of the tool to the process that the tests run in.
const newerVariable = "ASHLAR_TEST_NEWER_LIBISCSI"

// The newest libiscsi that Debian has the source of. Its tool is built as it is:
// nothing of it is part of the product.
const (
	newerName   = "libiscsi-1.20.0"
	newerSource = "libiscsi_1.20.0.orig.tar.gz"
	newerSHA256 = "6321d802103f2a363d3afd9a5ae772de0b4052c84fe6a301ecb576b34e853caa"
	newerSuite  = "trixie"
)

// newerConfig is what libiscsi's configure script finds on Debian.
const newerConfig = `#define HAVE_ARPA_INET_H 1
#define HAVE_CLOCK_GETTIME 1
#define HAVE_CU_SUITEINFO_PSETUPFUNC 1
#define HAVE_INTTYPES_H 1
#define HAVE_NETINET_IN_H 1
#define HAVE_NETINET_TCP_H 1
#define HAVE_POLL_H 1
#define HAVE_SG_IO 1
#define HAVE_SOCKADDR_IN6 1
#define HAVE_STDINT_H 1
#define HAVE_STDLIB_H 1
#define HAVE_STRINGS_H 1
#define HAVE_STRING_H 1
#define HAVE_SYS_SELECT_H 1
#define HAVE_SYS_SOCKET_H 1
#define HAVE_SYS_STAT_H 1
#define HAVE_SYS_TIME_H 1
#define HAVE_SYS_TYPES_H 1
#define HAVE_SYS_UIO_H 1
#define HAVE_UNISTD_H 1
#define SELECT_TIMEVAL_TYPE struct timeval
`

// newerExcuses are those of the newer tool besides.
var newerExcuses = []excuse{
	// What it is to change in the command it changes in all but commands, so the
	// command is a good one.
	{"CompareAndWrite.InvalidDataOutSize", "failed: COMPAREANDWRITE failed with wrong sense. Should have failed with ILLEGAL_REQUEST(0x05)/NO ASCQ(0x0000) " +
		"but failed with Sense: (null)(0x0e)/(0x1d00)", writable512},
	// The test before leaves no session behind, so they have runs of their own.
	{"iSCSITMF.LUNResetSimpleAsync", "skipped: Not an iSCSI device.", anyWritable},
	{"iSCSITMF.LogoutDuringIOAsync", "skipped: Not an iSCSI device.", anyWritable},
	// Likewise, by a host that has a secret.
	{"iSCSICHAP.", "skipped: This test requires an iSCSI session with CHAP_A=5", anyWritable},
}

// buildNewer builds the newer tool where long tests are wanted, once for all time.
func buildNewer() error {
	if os.Getenv("ASHLAR_TEST_LONG") == "" {
		return nil
	}
	cache := os.Getenv("ASHLAR_LAB_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return err
		}
		cache = filepath.Join(dir, "ashlar-lab")
	}
	path := filepath.Join(cache, newerName, "iscsi-test-cu")
	os.Setenv(newerVariable, path)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := require.Programs(require.Building); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "ashlar-libiscsi-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := errors.Join(fetchNewer(work), os.MkdirAll(filepath.Dir(path), 0o755)); err != nil {
		return fmt.Errorf("%s: %w", newerName, err)
	}
	if err := compileNewer(work, path+".new"); err != nil {
		return fmt.Errorf("%s: %w", newerName, err)
	}
	return os.Rename(path+".new", path)
}

// fetchNewer gets the source by a state of apt's own, so that the machine's is
// left alone, and unpacks it.
func fetchNewer(work string) error {
	if err := os.MkdirAll(filepath.Join(work, "apt/lists/partial"), 0o755); err != nil {
		return err
	}
	apt := filepath.Join(work, "apt")
	if err := errors.Join(
		os.WriteFile(filepath.Join(apt, "status"), nil, 0o644),
		os.WriteFile(filepath.Join(apt, "sources"), []byte("deb-src http://deb.debian.org/debian "+newerSuite+" main\n"), 0o644)); err != nil {
		return err
	}
	options := []string{"-qq", "-o", "Dir::Etc::SourceList=" + apt + "/sources", "-o", "Dir::Etc::SourceParts=/dev/null",
		"-o", "Dir::State=" + apt, "-o", "Dir::State::status=" + apt + "/status", "-o", "Dir::Cache=" + apt}
	if err := in(work, "apt-get", append(options, "update")...); err != nil {
		return err
	}
	// A mirror may lack the packaging beside the source, which is all that is needed.
	failed := in(work, "apt-get", append(options, "source", "--download-only", "libiscsi")...)
	source, err := os.ReadFile(filepath.Join(work, newerSource))
	if err != nil {
		return errors.Join(failed, err)
	}
	if sum := sha256.Sum256(source); hex.EncodeToString(sum[:]) != newerSHA256 {
		return fmt.Errorf("the SHA-256 of %s is %x", newerSource, sum)
	}
	return in(work, "tar", "-xf", newerSource)
}

// compileNewer compiles the library and the tool into one program. The tool's
// files are named as Debian's build names them, because it prints their names.
func compileNewer(work, path string) error {
	dir := filepath.Join(work, newerName, "test-tool")
	if err := os.WriteFile(filepath.Join(dir, "config.h"), []byte(newerConfig), 0o644); err != nil {
		return err
	}
	args := []string{"-w", "-DHAVE_CONFIG_H", "-D_GNU_SOURCE", "-I.", "-I../include", "-I../lib/include", "-o", path}
	for _, pattern := range []string{"../lib/*.c", "*.c"} {
		sources, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, source := range sources {
			name, err := filepath.Rel(dir, source)
			if err != nil {
				return err
			}
			if name != "../lib/iser.c" { // of RDMA, which wants more libraries
				args = append(args, name)
			}
		}
	}
	return in(dir, "gcc", append(args, "-lcunit", "-ldl")...)
}

// in runs a command in a folder; what it printed is part of the error.
func in(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, bytes.TrimSpace(out))
	}
	return nil
}
