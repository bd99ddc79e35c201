package node

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"ashlar/target/targettest/initiator"
)

// luns is REPORT LUNS.
func luns(t *testing.T, s *initiator.Session) (all []uint64) {
	t.Helper()
	in := make([]byte, 1024)
	cdb := make([]byte, 12)
	cdb[0] = 0xA0
	binary.BigEndian.PutUint32(cdb[6:], uint32(len(in)))
	must(t, s.Do(limit(t), &initiator.Command{CDB: cdb, In: in}))
	for at := 8; at < 8+int(binary.BigEndian.Uint32(in)); at += 8 {
		all = append(all, binary.BigEndian.Uint64(in[at:]))
	}
	return all
}

func number(lun uint16) uint64 { // SAM-5 4.7.7.2: peripheral device addressing, up to 255
	return uint64(lun) << 48
}

func TestAHostFindsItsNumberedVolumesBesideEachOther(t *testing.T) {
	t.Parallel()
	n := newCluster(t)
	_, err := n.AddDisk(limit(t), filepath.Join(t.TempDir(), "disk"), 64<<20, false)
	must(t, err)
	for _, v := range []string{"a", "b", "c"} {
		createVolume(t, n, v, 8<<20, 1)
	}
	must(t, n.AddHost(limit(t), "web", webIQN))
	must(t, n.AddHost(limit(t), "mail", "iqn.2026-11.com.example:mail"))
	must(t, n.PublishAs(limit(t), "a", "web", 5, false))
	must(t, n.PublishAs(limit(t), "a", "mail", 1, false))
	must(t, n.Publish(limit(t), "c", "web", false))

	iqn := state(t, n).ClusterIQN()
	found, err := initiator.Discover(limit(t), n.Config().PortalTexts()[0], initiator.Options{Name: webIQN})
	must(t, err)
	if len(found) != 2 || found[0].Name != iqn || found[1].Name != iqn+".c" {
		t.Errorf("discovered: %+v", found)
	}
	s, err := login(t, n, "web", iqn)
	must(t, err)
	for attention(t, s, number(5)) != 0 {
	}
	if got := luns(t, s); !slices.Equal(got, []uint64{number(5)}) {
		t.Errorf("logical units %x", got)
	}
	must(t, s.Write(limit(t), number(5), 0, pattern(4096, 1), 512))

	must(t, n.PublishAs(limit(t), "b", "web", 7, true))
	expectAttentions(t, "LUN 5, of what was mapped,", s, number(5), inventoryChanged)
	if got := luns(t, s); !slices.Equal(got, []uint64{number(5), number(7)}) {
		t.Errorf("logical units %x", got)
	}
	for attention(t, s, number(7)) != 0 {
	}
	var status *initiator.StatusError
	if err := s.Write(limit(t), number(7), 0, pattern(4096, 1), 512); !errors.As(err, &status) || status.Code != 0x2700 {
		t.Errorf("a write to what is read-only: %v", err)
	}
	must(t, n.ResizeVolume(limit(t), "b", 12<<20))
	expectAttentions(t, "LUN 7, which grew,", s, number(7), capacityChanged)

	must(t, n.Withdraw(limit(t), "a", "web"))
	expectAttentions(t, "LUN 7, of what was unmapped,", s, number(7), inventoryChanged)
	if got := luns(t, s); !slices.Equal(got, []uint64{number(7)}) {
		t.Errorf("logical units %x", got)
	}
	if err := s.Read(limit(t), number(5), 0, make([]byte, 512), 512); !errors.As(err, &status) || status.Code != 0x2500 {
		t.Errorf("a read of what was taken back: %v", err)
	}
	if s.Err() != nil {
		t.Errorf("the session: %v", s.Err())
	}
	must(t, n.Withdraw(limit(t), "b", "web"))
	if _, err := login(t, n, "web", iqn); err == nil {
		t.Error("a host to which nothing is published logs in")
	}
	if mail, err := login(t, n, "mail", iqn); err != nil || len(luns(t, mail)) != 1 {
		t.Errorf("the other host: %v", err)
	}
}
