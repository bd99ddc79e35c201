//go:build conformance

package conformance

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"ashlar/scripts/internal/clusters"
)

func TestMain(m *testing.M) { clusters.Main(m) }

// iqns of the hosts that the tools are.
const (
	libiscsiIQN  = "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test"
	libiscsi2IQN = "iqn.2007-10.com.github:sahlberg:libiscsi:iscsi-test-2"
	qemuIQN      = "iqn.2026-11.com.example:qemu"
)

// A portal that is not the head's forwards every command, so this tests both.
func TestLibiscsiThroughANodeThatIsNotTheHead(t *testing.T) {
	c := clusters.New(t, clusters.Plan{})
	v := c.Publish("v", "96M", 2, libiscsiIQN, libiscsi2IQN)
	portal := c.NotHead("v").Portals()[0]
	runSuites(t, fmt.Sprintf("iscsi://%s/%s/0", portal, v.IQN))
	c.Verify("v")
}

func TestQEMUWritesAndReadsAnImageThroughANodeThatIsNotTheHead(t *testing.T) {
	const bytes = 1 << 30
	c := clusters.New(t, clusters.Plan{SegmentSize: "64M", DiskSize: "3G"})
	v := c.Publish("v", "1G", 2, qemuIQN)
	image, back := filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "back")
	makeImage(t, image, bytes)
	head := c.Head("v")
	options := fmt.Sprintf("driver=iscsi,transport=tcp,portal=%s,target=%s,lun=0,initiator-name=%s", c.NotHead("v").Portals()[0], v.IQN, qemuIQN)
	qemu(t, "convert", "-n", "-f", "raw", "--target-image-opts", image, options)
	qemu(t, "convert", "--image-opts", options, "-O", "raw", back)
	if want, got := sum(t, image), sum(t, back); want != got {
		t.Error("what was read is not what was written")
	}
	if now := c.Head("v"); now != head {
		t.Errorf("the head moved from %s to %s", head.Name, now.Name)
	}
	c.Verify("v")
}

func qemu(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %v: %v\n%s", args, err, out)
	}
}

// makeImage makes a file of random data, a quarter of it holes, as images have.
func makeImage(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	const piece = 8 << 20
	source := rand.NewChaCha8([32]byte{1})
	for at := int64(0); at < size; at += piece {
		if at/piece%4 == 3 {
			continue
		}
		var data bytes.Buffer
		io.CopyN(&data, source, piece)
		if _, err := f.WriteAt(data.Bytes(), at); err != nil {
			t.Fatal(err)
		}
	}
}

func sum(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
