//go:build lab

package hosts

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"ashlar/scripts/internal/fabric"
	"ashlar/scripts/internal/memory"
)

func TestHostTakesTheTargetForADisk(t *testing.T) {
	url := startMemoryTarget(t, 1, "10.1.0.1:3260", 64<<20)
	target, _, _ := strings.Cut(strings.TrimPrefix(url, "iscsi://10.1.0.1:3260/"), "/")
	h := startHost(t, 1)
	if out := h.must("iscsiadm -m discovery -t sendtargets -p 10.1.0.1"); out != "10.1.0.1:3260,1 "+target+"\n" {
		t.Errorf("discovery says %q", out)
	}
	h.must("iscsiadm -m node -T " + target + " --login && udevadm settle")
	out := h.script("disk", "DISK=/dev/sda", "BYTES=33554432")
	for _, want := range []string{
		"handler alua, state active/optimized",
		"cache write through, provisioning unmap",
		"sectors 512 4096",
		"Vendor identification: ASHLAR",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("not there: %q", want)
		}
	}
	h.must("iscsiadm -m node --logout && iscsiadm -m node -o delete && ! lsscsi | grep .")
}

// startMemoryTarget serves a memory device from node k until the test ends, and
// returns its URL. The working directory is within the module.
func startMemoryTarget(t *testing.T, k int, listen string, bytes uint64) (url string) {
	t.Helper()
	if err := fabric.AddNode(k); err != nil {
		t.Fatal(err)
	}
	command := func(binary string, args ...string) *exec.Cmd { return fabric.Command(k, binary, args...) }
	return memory.Serve(t, command, "-listen", listen, "-size", strconv.FormatUint(bytes, 10))
}
