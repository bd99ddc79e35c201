package address

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// lock keeps other processes of this machine's network from taking an address
// that this process holds, or from sweeping it up: the name of an abstract
// socket (unix(7)) is one process's, ends with it however it ends, and is known
// in one network namespace only, as the address is. A neighbour's probe could
// not tell two processes with the same interface apart.
func lock(address netip.Addr) (unlock func(), err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, explain("lock", err)
	}
	err = unix.Bind(fd, &unix.SockaddrUnix{Name: "@ashlar/address/" + address.String()})
	if err == nil {
		return func() { unix.Close(fd) }, nil
	}
	unix.Close(fd)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("%s: %w", address, ErrLocked)
	}
	return nil, explain("lock", err)
}
