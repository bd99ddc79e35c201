package nvmetcp

import (
	"bytes"
	"testing"

	"ashlar/target/targettest/nvmehost"
)

// What a device keeps of a command's memory is never another command's, and what it has read is sent from where it is.
func TestMemoryThatADeviceKeepsIsLeftAlone(t *testing.T) {
	r := newRig(t, nil)
	q := r.host(nvmehost.Options{}).IO[0]
	r.device.Keep()
	n := 0
	for _, size := range []int{512, 4096, 64 << 10, 1 << 20} {
		for i := range 8 {
			want, got := bytes.Repeat([]byte{byte(n + 1)}, size), make([]byte, size)
			lba := uint64(i * size / 512)
			if err := q.Write(r.ctx, 1, lba, want, 512); err != nil {
				t.Fatal(err)
			}
			if err := q.Read(r.ctx, 1, lba, got, 512); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%d bytes at LBA %d are not what was written", size, lba)
			}
			n += 2
		}
	}
	if pieces, intact := r.device.Kept(); pieces != n || !intact {
		t.Errorf("of %d commands the device has the memory of %d; it has not changed: %v", n, pieces, intact)
	}
}
