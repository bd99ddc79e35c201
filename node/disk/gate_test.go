package disk

import (
	"errors"
	"testing"
)

// scripted is a device whose writes and syncs end as the test says.
type scripted struct {
	Device
	calls   int
	written int
	err     error
}

func (s *scripted) WriteAt(p []byte, _ int64) (int, error)      { s.calls++; return s.written, s.err }
func (s *scripted) WriteThrough(p []byte, _ int64) (int, error) { s.calls++; return s.written, s.err }
func (s *scripted) Sync() error                                 { s.calls++; return s.err }

// Not even a goroutine that does not know of the failure yet gives the device another write.
func TestFirstFailedWriteOrSyncIsTheLastThatTheDeviceGets(t *testing.T) {
	b := make([]byte, blockSize)
	broken := errors.New("broken")
	for name, fail := range map[string]func(g *gate) error{
		"write":         func(g *gate) error { _, err := g.WriteAt(b, 0); return err },
		"write through": func(g *gate) error { _, err := g.WriteThrough(b, 0); return err },
		"sync":          func(g *gate) error { return g.Sync() },
	} {
		for _, dev := range []*scripted{{err: broken}, {written: blockSize - 512}} {
			if name == "sync" && dev.err == nil {
				continue // there is no short sync
			}
			g := &gate{Device: dev}
			if err := fail(g); err == nil || dev.err != nil && err != dev.err {
				t.Errorf("%s: %v", name, err)
			}
			dev.written, dev.err = blockSize, nil
			_, err := g.WriteAt(b, 0)
			_, err2 := g.WriteThrough(b, 0)
			for _, err := range []error{err, err2, g.Sync()} {
				if !errors.Is(err, ErrFailed) {
					t.Errorf("after a failed %s: %v", name, err)
				}
			}
			if dev.calls != 1 {
				t.Errorf("after a failed %s the device got %d more", name, dev.calls-1)
			}
		}
	}
}
