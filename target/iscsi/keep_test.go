package iscsi

import (
	"testing"

	"ashlar/target/targettest"
	"ashlar/target/targettest/initiator"
)

func TestMemoryThatADeviceKeepsIsLeftAlone(t *testing.T) {
	r := newRig(t, nil)
	s := r.host(1, initiator.Options{})
	targettest.MemoryIsKept(t, r.device,
		func(at int, b []byte) error { return s.Write(r.ctx, 0, uint64(at/512), b, 512) },
		func(at int, b []byte) error { return s.Read(r.ctx, 0, uint64(at/512), b, 512) })
}
