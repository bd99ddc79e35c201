package freeport

import (
	"net"
	"strconv"
	"testing"
)

func TestTakenPortsAreFreeOnEveryAddressAndNeverGivenTwice(t *testing.T) {
	ips := []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}
	seen := map[uint16]bool{}
	for range 50 {
		ports, err := Take(ips, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, port := range ports {
			if seen[port] {
				t.Errorf("port %d was given twice", port)
			}
			seen[port] = true
			for _, ip := range ips {
				l, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(int(port))))
				if err != nil {
					t.Error(err)
					continue
				}
				l.Close()
			}
		}
	}
}

func TestAPortThatIsUsedOnOneOfTheAddressesIsNotFree(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if take([]string{"127.0.0.1", "127.0.0.2"}, l.Addr().(*net.TCPAddr).Port) == nil {
		t.Error("it was taken")
	}
}
