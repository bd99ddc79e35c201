package nvmetcp

import (
	"testing"

	"ashlar/target/targettest"
	"ashlar/target/targettest/nvmehost"
)

func TestMemoryThatADeviceKeepsIsLeftAlone(t *testing.T) {
	r := newRig(t, nil)
	s := r.host(nvmehost.Options{}).IO[0]
	targettest.MemoryIsKept(t, r.device,
		func(at int, b []byte) error { return s.Write(r.ctx, 1, uint64(at/512), b, 512) },
		func(at int, b []byte) error { return s.Read(r.ctx, 1, uint64(at/512), b, 512) })
}
