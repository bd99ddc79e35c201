package address

import (
	"errors"
	"fmt"
	"syscall"
)

// Why an address cannot be held, or is held in vain.
var (
	// ErrPermission: the process may not change addresses, or not speak ARP.
	ErrPermission = errors.New("moving addresses needs CAP_NET_ADMIN and CAP_NET_RAW: start ashlar as root, " +
		"or under systemd with AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW")
	// ErrNoInterface: this machine has no address of its own in the fabric's subnet.
	ErrNoInterface = errors.New("no Ethernet interface that is up has an address in the subnet")
	// ErrForeign: the address is configured here, and not by us.
	ErrForeign = errors.New("configured on this machine by somebody else: a portal address that moves may be configured nowhere")
	// ErrLocked: another process of this machine holds the address.
	ErrLocked = errors.New("another process of this machine holds it")
	// ErrDown: no host can reach the address, since its interface has no carrier.
	ErrDown = errors.New("has no carrier")
	// ErrContested: a neighbour answers for it.
	ErrContested = errors.New("in use by a neighbour")
)

// explain puts the operation before an error of the kernel.
func explain(operation string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EPERM):
		return fmt.Errorf("%s: %w (%w)", operation, ErrPermission, err)
	case errors.Is(err, syscall.EACCES): // so says the kernel where IPv6 is disabled
		return fmt.Errorf("%s: is IPv6 disabled on the interface? (%w)", operation, err)
	}
	return fmt.Errorf("%s: %w", operation, err)
}
