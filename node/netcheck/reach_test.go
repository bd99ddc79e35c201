package netcheck

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"
)

// Through loopback all goes, in both protocols, as long as a packet may be; what nobody listens at is closed and can be asked.
func TestLoopbackIsReachedWithTheLongestPackets(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).AddrPort()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		closed := netip.AddrPortFrom(port.Addr(), 1)
		got, err := Reaches(ctx, []netip.AddrPort{port, closed})
		if err != nil {
			t.Fatal(err)
		}
		want := []Reach{{port.Addr(), true, "lo", 0xFFFF, 0xFFFF}, {port.Addr(), false, "lo", 0xFFFF, 0xFFFF}}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%+v, want %+v", got[i], want[i])
			}
		}
	}
}
