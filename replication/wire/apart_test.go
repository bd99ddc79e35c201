package wire

import (
	"bytes"
	"testing"
)

// What is sent apart is what Marshal makes, and the data is where it was.
func TestLongDataIsSentFromWhereItIs(t *testing.T) {
	for _, n := range []int{0, 1 << 12, Apart - 1, Apart, 1 << 20} {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i * 7)
		}
		for _, m := range []Message{
			&Write{Req: 1, Volume: 2, Block: 3, Count: uint32(n / BlockSize), CRC: make([]uint32, n/BlockSize), Data: data},
			&Blocks{Req: 1, Bad: []uint32{5}, Data: data},
			&Submit{Req: 1, Nexus: Nexus{Host: "iqn"}, Cached: true, Data: data},
			&Done{Req: 1, Runs: []uint32{4}, Data: data},
			&Ack{Req: 1},
		} {
			head, apart := MarshalApart([]byte("before"), m)
			if got, want := append(head, apart...), Marshal([]byte("before"), m); !bytes.Equal(got, want) {
				t.Fatalf("%v with %d bytes is sent as %d bytes, not %d", m.Kind(), n, len(got), len(want))
			}
			if _, answer := m.(*Ack); apart != nil && (&apart[0] != &data[0] || len(apart) != n) || (apart != nil) != (n >= Apart && !answer) {
				t.Errorf("%v with %d bytes has %d of them apart", m.Kind(), n, len(apart))
			}
		}
	}
}
