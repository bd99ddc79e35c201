//go:build conformance

package conformance

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ashlar/appliance/api"
	"ashlar/scripts/internal/clusters"
)

const qemuIQN = "iqn.2026-11.com.example:qemu"

// image names a volume to QEMU, through one node.
func image(n *clusters.Node, v api.Volume) string {
	return fmt.Sprintf("driver=iscsi,transport=tcp,portal=%s,target=%s,lun=0,initiator-name=%s,discard=unmap", n.Portals()[0], v.IQN, qemuIQN)
}

// testQEMU runs QEMU through a node that is not the head.
func testQEMU(t *testing.T, c *clusters.Cluster) {
	v := c.Publish("disk", "256M", 2, qemuIQN)
	head, portal := c.Head(v.Name), c.NotHead(v.Name)
	t.Run("Map", func(t *testing.T) { testMap(t, image(portal, v), int64(v.Size)) })
	t.Run("Convert", func(t *testing.T) { testConvert(t, image(portal, v), int64(v.Size)) })
	if now := c.Head(v.Name); now != head {
		t.Errorf("the head moved from %s to %s", head.Name, now.Name)
	}
	t.Run("Reconnect", func(t *testing.T) { testReconnect(t, portal, image(portal, v)) })
	c.AwaitInSync(v.Name, time.Minute)
	c.Verify(v.Name)
}

// extent is a piece of what qemu-img map prints.
type extent struct {
	Start, Length int64
	Zero, Data    bool
}

// extents is which parts of an image hold data.
func extents(t *testing.T, options string) (all []extent) {
	t.Helper()
	if err := json.Unmarshal([]byte(qemu(t, "qemu-img", "map", "--output", "json", "--image-opts", options)), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// testMap has QEMU ask where data is (GET LBA STATUS) on a volume that is new.
func testMap(t *testing.T, options string, size int64) {
	expect := func(what string, want ...extent) {
		t.Helper()
		if got := extents(t, options); !slices.Equal(got, want) {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	zeros := func(from, to int64) extent { return extent{from, to - from, true, false} }
	data := func(from, to int64) extent { return extent{from, to - from, false, true} }
	const kib, mib = 1 << 10, 1 << 20
	expect("a new volume", zeros(0, size))
	do := func(commands ...string) {
		t.Helper()
		args := []string{"--image-opts", options}
		for _, c := range commands {
			args = append(args, "-c", c)
		}
		qemu(t, "qemu-io", args...)
	}
	// The second is over the border of two segments.
	do("write -P 0xaa 64k 1M", "write -P 0xbb 63M 2M", "write -P 0xcc 200M 4k")
	expect("after writes", zeros(0, 64*kib), data(64*kib, mib+64*kib), zeros(mib+64*kib, 63*mib), data(63*mib, 65*mib), zeros(65*mib, 200*mib),
		data(200*mib, 200*mib+4*kib), zeros(200*mib+4*kib, size))
	do("discard 128k 256k", "write -z -u 63M 1536k", "discard 200M 4k")
	expect("after a discard", zeros(0, 64*kib), data(64*kib, 128*kib), zeros(128*kib, 384*kib), data(384*kib, mib+64*kib), zeros(mib+64*kib, 64*mib+512*kib),
		data(64*mib+512*kib, 65*mib), zeros(65*mib, size))
	do("read -P 0xaa 64k 64k", "read -P 0 128k 256k", "read -P 0xaa 384k 704k", "read -P 0 63M 1536k", "read -P 0xbb 66048k 512k", "read -P 0 200M 4k",
		"discard 0 256M")
	expect("after all was discarded", zeros(0, size))
}

// testConvert copies an image with holes over a volume that is full of something
// else: the holes are to be zeros, and to take no space.
func testConvert(t *testing.T, options string, size int64) {
	source, back := filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "back")
	makeImage(t, source, size)
	qemu(t, "qemu-io", "--image-opts", options, "-c", fmt.Sprintf("write -P 0xee %d 32M", size-32<<20))
	qemu(t, "qemu-img", "convert", "-n", "-f", "raw", "--target-image-opts", source, options)
	qemu(t, "qemu-img", "convert", "--image-opts", options, "-O", "raw", back)
	if want, got := sum(t, source), sum(t, back); want != got {
		t.Error("what was read is not what was written")
	}
	var want []extent
	for at := int64(0); at < size; at += 4 * imagePiece {
		want = append(want, extent{at, 3 * imagePiece, false, true}, extent{at + 3*imagePiece, imagePiece, true, false})
	}
	if got := extents(t, options); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// testReconnect kills the node that a running QEMU has its only path to, and
// starts it again: QEMU repeats what had no answer.
func testReconnect(t *testing.T, portal *clusters.Node, options string) {
	cmd := exec.CommandContext(t.Context(), "qemu-io", "--image-opts", options)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	session := &dialogue{t: t, in: in, out: out}
	session.say("write -P 0x11 1M 1M", "wrote 1048576/1048576")
	portal.Kill()
	fmt.Fprintln(in, "write -P 0x22 1536k 1M") // finds nobody at first
	portal.Start()
	session.expect("wrote 1048576/1048576")
	session.say("read -P 0x11 1M 512k", "read 524288/524288")
	session.say("read -P 0x22 1536k 1M", "read 1048576/1048576")
	in.Close()
	io.Copy(&session.seen, out)
	if err := cmd.Wait(); err != nil || strings.Contains(session.seen.String(), "verification failed") {
		t.Errorf("qemu-io: %v\n%s", err, session.seen.String())
	}
}

// dialogue is what one says to a program that answers.
type dialogue struct {
	t    *testing.T
	in   io.Writer
	out  io.Reader
	seen bytes.Buffer
	from int // of seen: what no expect has consumed
}

func (d *dialogue) say(line, answer string) {
	d.t.Helper()
	fmt.Fprintln(d.in, line)
	d.expect(answer)
}

// expect reads until the program has answered. The test's own limit ends the
// program, and so the wait.
func (d *dialogue) expect(answer string) {
	d.t.Helper()
	buffer := make([]byte, 4096)
	for {
		if at := strings.Index(d.seen.String()[d.from:], answer); at >= 0 {
			d.from += at + len(answer)
			return
		}
		n, err := d.out.Read(buffer)
		d.seen.Write(buffer[:n])
		if err != nil {
			d.t.Fatalf("no %q: %v\n%s", answer, err, d.seen.String())
		}
	}
}

// qemu runs one of QEMU's programs, and returns what it printed.
func qemu(t *testing.T, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	// qemu-io tells of a pattern that is not there in its output alone.
	if err != nil || strings.Contains(string(out), "verification failed") {
		t.Fatalf("%s %s: %v\n%s%s", program, strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

const imagePiece = 8 << 20

// makeImage makes a file of random data, each fourth piece of it a hole, as
// images have.
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
	source := rand.NewChaCha8([32]byte{1})
	data := make([]byte, imagePiece)
	for at := int64(0); at < size; at += imagePiece {
		if at/imagePiece%4 == 3 {
			continue
		}
		source.Read(data)
		if _, err := f.WriteAt(data, at); err != nil {
			t.Fatal(err)
		}
	}
}

func sum(t *testing.T, path string) [sha256.Size]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}
